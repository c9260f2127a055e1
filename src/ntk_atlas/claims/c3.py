"""C3: test error of the rival that validates best over that of the NTK whose depth validates best, draw by draw."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import predictor, rivals

CLAIM = Claim(
    statement="Kernels that know nothing of networks rival the NTK.",
    statistic=(
        "Test error of the rival kernel that validates best over that of the NTK at the depth that validates best, "
        "draw by draw"
    ),
    compared=(
        (
            (
                "err of the rival that validates best over that of the NTK at the depth that validates best, chosen "
                "draw by draw"
            ),
            "< 1.05",
        ),
    ),
    source="third-party summary",
    thresholds={
        # Error of the rival over that of the NTK up to which it is not inferior.
        "factor": Threshold(
            value=1.05,
            reason=(
                "Half of what counts as a difference in C1 and C2: the rival is the best of several, and what rivals "
                "the NTK has to do as well."
            ),
        ),
    },
    needs=(
        predictor("infinite_ntk"),
        rivals,
    ),
    seeds=False,
)

import numpy as np
import xarray as xr

from ntk_atlas.config.predictors import known_predictors, predictor_label
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import errors_without_folds
from ntk_atlas.judging.decision import Comparison, Measurement, Region
from ntk_atlas.judging.equivalence import KERNEL, seeded
from ntk_atlas.judging.evidence import Evidence, cell, ratio_estimate, widest


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Test error of the rival that validates best over that of the NTK whose depth validates best, draw by draw.

    Both are chosen on the validation samples alone, so that the best of many on test samples does not count.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = widest(evidence, f"test_mse_{KERNEL}", f"validation_mse_{KERNEL}")
    names = [name for name in known_predictors("rival") if f"test_mse_{name}" in cube]
    rivals = [_test_and_validation(cube, name) for name in names]
    joined = tuple(
        xr.concat(parts, dim="rival", coords="minimal", compat="override") for parts in zip(*rivals, strict=True)
    )
    ntk, comparisons, singles = _test_and_validation(cube, KERNEL), [], []
    for scale in range(cube.sizes["init_scale"]):
        place = {"init_scale": scale}
        best_ntk = seeded(_chosen(*(field.isel(place) for field in ntk), "depth"))
        label = f"error of the rival that validates best over the NTK's at {cell(ntk[0], place)}"
        ratio = ratio_estimate(seeded(_chosen(*joined, "rival")), best_ntk)
        comparisons.append(Comparison(label, ratio, Region(upper=thresholds.factor.value), trained=True))
        for name, (rival, _) in zip(names, rivals, strict=True):
            value = ratio_estimate(seeded(rival), best_ntk).interval(0.95)[0]
            singles.append(f"{predictor_label(name)} {value:.3g}")
    return Measurement(
        comparisons, [f"test_mse_{name}" for name in (KERNEL, *names)], f"each by itself: {', '.join(singles)}"
    )


def _test_and_validation(cube: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    validation = cube[f"validation_mse_{name}"]
    return errors_without_folds(cube, name), validation.sel(ridge="tuned") if "ridge" in validation.dims else validation


def _chosen(test: xr.DataArray, validation: xr.DataArray, dim: str) -> xr.DataArray:
    """The test error at the place along `dim` with the lowest validation error, in each draw."""
    return test.isel({dim: validation.fillna(np.inf).argmin(dim)}, drop=True)
