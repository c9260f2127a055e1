"""A'4: |change of (within − between) over training|, median over networks, at the deepest cell, at criticality."""

from ntk_atlas.claims import DEEP, Claim, Threshold
from ntk_atlas.study.claim_needs import classes, deep_networks, settling_phase

CLAIM = Claim(
    statement="The block structure of the kernel matrix changes in training, in the median network.",
    statistic=(
        "|Change over training of (mean within-class − mean between-class entry)/mean diagonal| of the kernel, median "
        "over the deepest, narrowest critical networks"
    ),
    compared=(
        (
            (
                "|change of (within-class − between-class)/diagonal| over training, median over networks, deepest "
                "critical cell"
            ),
            "> 0.05",
        ),
    ),
    source="abstract and released code; the median network is our reading",
    thresholds={
        # Least change of (within − between), in units of the mean diagonal.
        "change": Threshold(
            value=0.05,
            reason=(
                "A twentieth of the diagonal; at initialization deep kernels have all entries alike, so that the "
                "difference starts near zero and 0.05 can be seen in a heat map."
            ),
        ),
        # λ from which a network counts as deep.
        "least_lambda": DEEP,
    },
    needs=(
        classes,
        settling_phase,
        deep_networks("grid"),
    ),
)

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.dictionary import TEST_PROBE
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    cell_median,
    cell_text,
    deepest_cell,
    final_values,
    need,
    scales_of,
)
from ntk_atlas.judging.kernels import conditions


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """A'4: |change of (within − between) over training|, median over networks, at the deepest cell, at criticality.

    Absolute, because the claim is that the structure changes, not whether classes grow apart in it; a kernel that does
    not move has exactly 0, so that nothing of it is noise. The signed change stands in the remark.

    Where no init scale is critical, the chaotic one closest to it; a network of the user's own: all init scales.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = at_largest_n(evidence.cube)
    need(cube, "within_class_ratio", "between_class_ratio")
    place = deepest_cell(cube, thresholds.least_lambda.value)
    places = next(
        (scales_of(cube, phase)[:1] for phase in ("critical", "chaotic") if len(scales_of(cube, phase))), None
    )
    if places is None:  # a network of the user's own
        places = np.arange(cube.sizes["init_scale"])
    change, bound = _block_change(cube), thresholds.change.value
    cells = [place | {"init_scale": int(scale)} for scale in places]
    comparisons = [
        Comparison(
            f"median |change of (within − between)/diagonal| at {cell_text(cube, cell)}",
            cell_median(abs(change.isel(cell))),
            Region(lower=bound),
            trained=True,
        )
        for cell in cells
    ]
    signed = f"mean change with its sign {', '.join(f'{float(change.isel(cell).mean()):.2g}' for cell in cells)}"
    if f"within_class_ratio{TEST_PROBE}" in cube:
        other = [f"{float(abs(_block_change(cube, TEST_PROBE).isel(cell)).median()):.2g}" for cell in cells]
        signed = remarks(signed, f"median |change| on test samples {', '.join(other)}")
    return Measurement(
        comparisons, ["within_class_ratio", "between_class_ratio"], remarks(signed, conditions(evidence))
    )


def _block_change(cube: xr.Dataset, suffix: str = "") -> xr.DataArray:
    """Change over training of (within − between)/diagonal of each network."""
    names = [f"{name}_class_ratio{suffix}" for name in ("within", "between")]
    within, between = (final_values(cube, name) for name in names)
    return (within - between) - (cube[names[0]] - cube[names[1]]).sel(epoch=0, drop=True)
