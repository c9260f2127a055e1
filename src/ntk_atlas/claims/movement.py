"""Claims about the kernel in training, and about the regime as a whole: A1, A3, A4, A'3, A'4."""

from dataclasses import replace

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.dispersion import LOG_VARIANCE, inputs_text, log_variance
from ntk_atlas.claims.estimates import combination
from ntk_atlas.claims.evidence import (
    Evidence,
    cell_text,
    deepest_cell,
    need,
    need_dispersion,
    need_settings,
    scales_of,
    settled_depths,
    unsettled_reason,
)
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.medians import cell_median, ratio_median
from ntk_atlas.claims.networks import at_largest_n, final_values, replicate_remark, trained
from ntk_atlas.config.claims.finite_width import (
    BlockStructureSettings,
    ConstantKernelSettings,
    MovingKernelSettings,
    OrderedRegimeSettings,
    RegimeSettings,
)
from ntk_atlas.cubes.schema import TEST_PROBE
from ntk_atlas.study.claim_needs import PHASES

DRIFT, EQUAL_LOSS = "kernel_drift", "kernel_drift_at_equal_loss"
TARGETS = {"unit": "targets of size one", "initial_output": "targets of the size of f₀"}
"""`training.target_scale` in words."""
_BEYOND_ALL = 1e8
"""More than any drift; negative so that the mean of two seeds, of which one has no drift, is below all others too."""


def measure_regime(evidence: Evidence, thresholds: RegimeSettings) -> Measurement:
    """A1: chaotic against ordered at the deepest cell, and deep against shallow in chaos; dispersion and drift.

    The ordered cell must have settled (`evidence.settled_depths`): before, it is as random as a critical one.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A1", evidence, thresholds)
    dispersion, cube = need_dispersion(evidence), at_largest_n(evidence.cube)
    need(dispersion, LOG_VARIANCE)
    need(cube, DRIFT)
    comparisons = []
    for text, high, low in _contrasts(dispersion, thresholds, "dispersion.depth"):
        difference = combination([log_variance(evidence, high), log_variance(evidence, low)], [1.0, -1.0])
        region = Region(lower=thresholds.log_variance_difference.value)
        comparisons.append(Comparison(f"Var log Θ, {text}, difference", difference, region))
    drift = final_values(cube, DRIFT).clip(min=thresholds.drift_floor.value)
    factor = thresholds.drift_factor.value
    for text, high, low in _contrasts(cube, thresholds, "grid.depth"):
        ratio = ratio_median(drift.isel(high), drift.isel(low))
        region = Region(1.0 / factor, factor, outside=True)
        comparisons.append(Comparison(f"drift, {text}, median ratio", ratio, region, trained=True))
    remark = remarks(inputs_text(dispersion), conditions(evidence))
    return Measurement(comparisons, [LOG_VARIANCE, DRIFT], remark)


def measure_moving_kernel(evidence: Evidence, thresholds: MovingKernelSettings) -> Measurement:
    """A3: median drift of the deepest chaotic networks, at the last epoch and at equal training loss.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A3", evidence, thresholds)
    cube = at_largest_n(evidence.cube)
    need(cube, DRIFT)
    place = deepest_cell(cube, thresholds.least_lambda.value)
    region = Region(lower=thresholds.drift.value)
    cells = [place | {"init_scale": int(scale)} for scale in scales_of(cube, "chaotic")]
    comparisons, remark = _drifts(cube, cells, region, all_cells=True)
    beside = ""
    if DRIFT + TEST_PROBE in cube:
        found = final_values(cube, DRIFT + TEST_PROBE)
        beside = f"median drift on test samples {', '.join(f'{float(found.isel(c).median()):.2g}' for c in cells)}"
    return Measurement(comparisons, [DRIFT, EQUAL_LOSS], remarks(remark, beside, conditions(evidence)))


def measure_ordered_regime(evidence: Evidence, thresholds: OrderedRegimeSettings) -> Measurement:
    """A4: Var log Θ and median drift of all ordered cells that have settled, drift at equal epoch and loss.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A4", evidence, thresholds)
    dispersion, cube = need_dispersion(evidence), at_largest_n(evidence.cube)
    need(dispersion, LOG_VARIANCE)
    need(cube, DRIFT)
    most = thresholds.unsettled.value
    calm = Region(upper=thresholds.log_variance.value)
    comparisons = [
        Comparison(f"Var log Θ at {cell_text(dispersion, cell)}", log_variance(evidence, cell, logarithmic=True), calm)
        for cell in _settled_cells(dispersion, most)
    ]
    still = Region(upper=thresholds.drift.value)
    drifts, remark = _drifts(cube, _settled_cells(cube, most), still, all_cells=False)
    if not comparisons or not drifts:
        where = "dispersion.depth" if not comparisons else "grid.depth"
        raise NotJudgedError("not run", unsettled_reason(most, where))
    remark = remarks(remark, inputs_text(dispersion), conditions(evidence))
    return Measurement([*comparisons, *drifts], [LOG_VARIANCE, DRIFT, EQUAL_LOSS], remark)


def measure_constant_kernel(evidence: Evidence, thresholds: ConstantKernelSettings) -> Measurement:
    """A'3: median drift of the deepest networks, small if ordered, large if critical or chaotic.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A'3", evidence, thresholds)
    cube = at_largest_n(evidence.cube)
    need(cube, DRIFT)
    place = deepest_cell(cube, thresholds.least_lambda.value)
    drift, comparisons = final_values(cube, DRIFT), []
    for scale in scales_of(cube, *PHASES):
        ordered = cube["phase"].values[scale] == "ordered"
        settled = settled_depths(cube, int(scale), place["width"], thresholds.unsettled.value)
        if ordered and place["depth"] not in settled:
            continue
        bound = thresholds.ordered_drift.value if ordered else thresholds.drift.value
        region = Region(upper=bound) if ordered else Region(lower=bound)
        comparisons.append(_drift(cube, drift, place | {"init_scale": int(scale)}, region))
    if not any(says_small(comparison.region) for comparison in comparisons):
        raise NotJudgedError("not run", unsettled_reason(thresholds.unsettled.value, "grid.depth"))
    return Measurement(comparisons, [DRIFT], conditions(evidence))


def measure_block_structure(evidence: Evidence, thresholds: BlockStructureSettings) -> Measurement:
    """A'4: |change of (within − between) over training|, median over networks, at the deepest cell, at criticality.

    Absolute, because the claim is that the structure changes, not whether classes grow apart in it; a kernel that does
    not move has exactly 0, so that nothing of it is noise. The signed change stands in the remark.

    Where no init scale is critical, the chaotic one closest to it; a network of the user's own: all init scales.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A'4", evidence, thresholds)
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


def conditions(evidence: Evidence) -> str:
    """What a verdict on movement holds for: samples of the kernel, size of the targets, and what replicates are."""
    samples = str(evidence.cube.attrs.get("kernel_probe", "")).partition(" and ")[0]
    of_samples = f"kernel of the {samples}" if samples else ""
    return remarks(TARGETS[evidence.settings.training.target_scale], of_samples, replicate_remark(evidence.cube))


def says_small(region: Region) -> bool:
    """Whether a region says "small"."""
    return bool(np.isfinite(region.upper))


def _contrasts(
    dataset: xr.Dataset, thresholds: RegimeSettings, where: str
) -> list[tuple[str, dict[str, int], dict[str, int]]]:
    """(words, cell that should be larger, cell that should be smaller): across phases, and across depths in chaos.

    Raises:
        NotJudgedError: if the deepest cell of the most ordered init scale has not settled; `where` are its depths.
    """
    deep, most = deepest_cell(dataset, thresholds.least_lambda.value), thresholds.unsettled.value
    ordered, chaotic = int(scales_of(dataset, "ordered")[0]), int(scales_of(dataset, "chaotic")[-1])
    if deep["depth"] not in settled_depths(dataset, ordered, deep["width"], most):
        raise NotJudgedError("not run", unsettled_reason(most, where))
    top = deep | {"init_scale": chaotic}
    return [
        (f"chaotic to ordered at {cell_text(dataset, deep)}", top, deep | {"init_scale": ordered}),
        (f"deepest to shallowest in chaos at {cell_text(dataset, top)}", top, top | {"depth": 0}),
    ]


def _settled_cells(dataset: xr.Dataset, most: float) -> list[dict[str, int]]:
    return [
        {"depth": int(depth), "width": width, "init_scale": int(scale)}
        for scale in scales_of(dataset, "ordered")
        for width in range(dataset.sizes["width"])
        for depth in settled_depths(dataset, int(scale), width, most)
    ]


def _drift(cube: xr.Dataset, drift: xr.DataArray, cell: dict[str, int], region: Region, at: str = "") -> Comparison:
    values = drift.isel(cell).values
    known = values[np.isfinite(values)]
    within = int(((known > region.lower) & (known < region.upper)).sum())
    label = f"median drift{at} at {cell_text(cube, cell)} ({within} of {len(known)} networks {region})"
    return Comparison(label, cell_median(drift.isel(cell), logarithmic=True), region, trained=True)


def _block_change(cube: xr.Dataset, suffix: str = "") -> xr.DataArray:
    """Change over training of (within − between)/diagonal of each network."""
    names = [f"{name}_class_ratio{suffix}" for name in ("within", "between")]
    within, between = (final_values(cube, name) for name in names)
    return (within - between) - (cube[names[0]] - cube[names[1]]).sel(epoch=0, drop=True)


def _drifts(
    cube: xr.Dataset, cells: list[dict[str, int]], region: Region, *, all_cells: bool
) -> tuple[list[Comparison], str]:
    """Drift at the last epoch and at equal loss, and a remark on networks that did not get there.

    A cell where a network was trained to the end and did not reach the loss has no comparison there, unless
    `all_cells`: "it moved" must hold at equal loss too (`_at_equal_loss`), while "it did not move" may be said of
    networks that cannot be trained.
    """
    final = final_values(cube, DRIFT)
    comparisons = [_drift(cube, final, cell, region) for cell in cells]
    if EQUAL_LOSS not in cube:
        return comparisons, "drift at equal loss is not in the cube"
    at_loss, reached, total = trained(cube, cube[EQUAL_LOSS]), 0, 0
    for cell in cells:
        there, of = (int(values.isel(cell).notnull().sum()) for values in (at_loss, final))
        reached, total = reached + there, total + of
        if there == of or all_cells:
            comparisons.append(_at_equal_loss(cube, at_loss, final, cell, region))
    return comparisons, "" if reached == total else f"{reached} of {total} networks reached movement.equal_loss"


def _at_equal_loss(
    cube: xr.Dataset, at_loss: xr.DataArray, final: xr.DataArray, cell: dict[str, int], region: Region
) -> Comparison:
    """Median drift at equal loss of a cell in which networks may never have got there.

    The drift of such a network at that loss is not known, so the median over all networks lies between two numbers: the
    median with these networks below all others, and the median with them above. If the first is beyond the bound, it
    may support "it moved" and can reject nothing; if the second is short of the bound, it may reject and can support
    nothing; else the comparison is open.
    """
    missing = final.notnull() & at_loss.isnull()
    lost, of = (int(values.isel(cell).sum()) for values in (missing, final.notnull()))
    comparison = _drift(cube, at_loss, cell, region, " at equal loss")
    if not lost:
        return comparison
    for drift, word in ((-_BEYOND_ALL, "unmoved"), (_BEYOND_ALL, "moved")):
        estimate = cell_median(at_loss.where(~missing, drift).isel(cell), logarithmic=True)
        beyond = estimate.interval(0.5)[0] > region.lower
        if beyond == (word == "unmoved"):
            label = f"{comparison.label}, counting {lost} of {of} that never got there as {word}"
            return replace(comparison, label=label, estimate=estimate)
    return replace(comparison, open=f"{lost} of {of} networks never got there")
