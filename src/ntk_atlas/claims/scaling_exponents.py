"""Claims about exponents of networks and kernels: B1, B1∞, B2, B4."""

from collections.abc import Iterator

import numpy as np

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.evidence import Evidence, cell_text
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.networks import replicate_remark
from ntk_atlas.claims.scaling_curves import (
    above_target,
    cells,
    error_text,
    exponent_difference,
    exponents,
    fitted_sizes,
    held_out_text,
    mean_exponent_text,
    missing_text,
    need_curves,
    target_text,
)
from ntk_atlas.config.claims.scaling_laws import BetterExponentSettings, RobustExponentSettings
from ntk_atlas.config.predictors import PRETRAINED, STAND_IN, predictor_label
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.study.claim_needs import varied_knobs

INITIAL, INFINITE = "ntk_init", "infinite_ntk"


def measure_better_exponent(evidence: Evidence, thresholds: BetterExponentSettings) -> Measurement:
    """B1: exponent of the network minus that of its own NTK at initialization, in every cell.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    return _better_than("B1", evidence, INITIAL, thresholds)


def measure_better_than_infinite(evidence: Evidence, thresholds: BetterExponentSettings) -> Measurement:
    """B1∞: the same against the infinite-width NTK; a stand-in is not judged, its difference is a remark.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    try:
        return _better_than("B1∞", evidence, INFINITE, thresholds)
    except NotJudgedError as reason:
        sizes, cube = fitted_sizes(evidence), evidence.cube
        few = len(sizes) < thresholds.least_sizes.value
        if reason.word != "not run" or f"test_mse_{STAND_IN}" not in cube or few:
            raise
        value, low, high = exponent_difference(evidence, STAND_IN, cells(cube)[0], sizes).interval(0.95)
        stand_in = f"network minus stand-in ({predictor_label(STAND_IN)}): {value:.2g} [{low:.2g}, {high:.2g}]"
        raise NotJudgedError("not run", f"{reason}; not judged: {stand_in}") from None


def measure_pretrained(evidence: Evidence, thresholds: BetterExponentSettings) -> Measurement:
    """B4: exponent of the network minus that of kernels trained on m samples, both over n ≥ m, in every cell.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    names = pretrained_names(evidence.settings)
    need_curves("B4", evidence, thresholds, *names)
    comparisons, parts = [], []
    for name in names:
        sizes = fitted_sizes(evidence, int(name.removeprefix(PRETRAINED)))
        comparisons += list(_differences(evidence, name, sizes, thresholds))
        first = cells(evidence.cube)[0]
        parts += [mean_exponent_text(evidence, ["network", name], first, sizes)]
        parts += [missing_text(evidence, name, first, sizes)]
    return Measurement(comparisons, _variables(*names), remarks(*parts, replicate_remark(evidence.cube)))


def measure_robustness(evidence: Evidence, thresholds: RobustExponentSettings) -> Measurement:
    """B2: exponent of each variant's networks minus that of the experiment's initial NTK, in every cell.

    Raises:
        NotJudgedError: where learning rate, batch size and optimizer are not all varied.
    """
    need_curves("B2", evidence, thresholds, INITIAL)
    varied = varied_knobs(
        evidence.settings.training, {name: settings.training for name, (settings, _) in evidence.variants.items()}
    )
    comparisons, parts = [], []
    for name, knobs in varied.items():
        settings, cube = evidence.variants[name]
        missed, total = above_target(cube)
        label = f"{name} ({', '.join(knobs)})"
        if missed > thresholds.most_above_target.value * total:
            parts.append(f"{label} left out: {missed} of {total} networks above training MSE "
                         f"{settings.training.target_mse:g}")  # fmt: skip
            continue
        sizes = np.intersect1d(fitted_sizes(evidence), cube["n_train"].values)
        for cell in cells(evidence.cube):
            estimate = exponent_difference(evidence, INITIAL, cell, sizes, network=cube)
            region = Region(lower=thresholds.exponent_difference.value)
            text = f"exponent, network of {label} − initial NTK at {cell_text(evidence.cube, cell)}"
            comparisons.append(Comparison(text, estimate, region, trained=True))
        spread = np.nanmean(exponents(cube, "network", cells(cube)[0], settings, sizes))
        parts.append(f"{label} {spread:.2g}")
    if not comparisons:
        raise NotJudgedError("inconclusive", "; ".join(parts))
    base = mean_exponent_text(evidence, ["network", INITIAL], cells(evidence.cube)[0], fitted_sizes(evidence))
    return Measurement(comparisons, _variables(INITIAL), remarks(base, *parts, replicate_remark(evidence.cube)))


def pretrained_names(settings: ExperimentSettings) -> list[str]:
    """Kernels trained on m samples that an experiment has, by m."""
    names = [name for name in settings.regression.predictors if name.startswith(PRETRAINED)]
    return sorted(names, key=lambda name: int(name.removeprefix(PRETRAINED)))


def _better_than(claim: str, evidence: Evidence, kernel: str, thresholds: BetterExponentSettings) -> Measurement:
    need_curves(claim, evidence, thresholds, kernel)
    sizes, first = fitted_sizes(evidence), cells(evidence.cube)[0]
    remark = remarks(
        mean_exponent_text(evidence, ["network", kernel], first, sizes),
        missing_text(evidence, kernel, first, sizes),
        error_text(evidence, kernel, first, sizes),
        held_out_text(evidence, first, sizes),
        target_text(evidence),
        replicate_remark(evidence.cube),
    )
    return Measurement(list(_differences(evidence, kernel, sizes, thresholds)), _variables(kernel), remark)


def _differences(
    evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: BetterExponentSettings
) -> Iterator[Comparison]:
    region = Region(lower=thresholds.exponent_difference.value)
    for cell in cells(evidence.cube):
        text = f"exponent, network − {predictor_label(kernel)} at {cell_text(evidence.cube, cell)}"
        yield Comparison(text, exponent_difference(evidence, kernel, cell, sizes), region, trained=True)


def _variables(*kernels: str) -> list[str]:
    return ["test_mse_network", *(f"test_mse_{name}" for name in kernels)]
