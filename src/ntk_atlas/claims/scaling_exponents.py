"""Claims about exponents of networks and kernels: B1, B1∞, B2, B4."""

import numpy as np

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.evidence import Evidence, cell_text
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.networks import replicate_remark
from ntk_atlas.claims.scaling_curves import above_target, cells, fitted_sizes, need_curves, target_text
from ntk_atlas.claims.scaling_pairs import paired_laws
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
        laws = paired_laws(evidence, STAND_IN, cells(cube)[0], sizes, thresholds)
        value, low, high = laws.estimate.interval(0.95)
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
        compared, text = differences(evidence, name, sizes, thresholds)
        comparisons += compared
        parts += [text]
    return Measurement(comparisons, _variables(*names), remarks(*parts, replicate_remark(evidence.cube)))


def measure_robustness(evidence: Evidence, thresholds: RobustExponentSettings) -> Measurement:
    """B2: exponent of each variant's networks minus that of the experiment's initial NTK, in every cell.

    Raises:
        NotJudgedError: where learning rate, batch size and optimizer are not all varied.
    """
    need_curves("B2", evidence, thresholds, INITIAL)
    others = {name: settings for name, (settings, _) in evidence.variants.items()}
    varied = varied_knobs(evidence.settings, others, least_sizes=thresholds.least_sizes.value)
    comparisons, parts = [], []
    for name, knobs in varied.items():
        settings, cube = evidence.variants[name]
        missed, total = above_target(cube["status"])
        label = f"{name} ({', '.join(knobs)})"
        if missed > thresholds.most_above_target.value * total:
            parts.append(f"{label} left out: {missed} of {total} networks above training MSE "
                         f"{settings.training.target_mse:g}")  # fmt: skip
            continue
        sizes = np.intersect1d(fitted_sizes(evidence), cube["n_train"].values)
        for cell in cells(evidence.cube):
            laws = paired_laws(evidence, INITIAL, cell, sizes, thresholds, network=cube)
            region = Region(lower=thresholds.exponent_difference.value)
            text = f"exponent, network of {label} − initial NTK at {cell_text(evidence.cube, cell)}"
            comparisons.append(laws.comparison(text, region))
            parts.append(f"{label}: {laws.text}")
    if not comparisons:
        raise NotJudgedError("inconclusive", "; ".join(parts))
    return Measurement(comparisons, _variables(INITIAL), remarks(*parts, replicate_remark(evidence.cube)))


def pretrained_names(settings: ExperimentSettings) -> list[str]:
    """Kernels trained on m samples that an experiment has, by m."""
    names = [name for name in settings.regression.predictors if name.startswith(PRETRAINED)]
    return sorted(names, key=lambda name: int(name.removeprefix(PRETRAINED)))


def differences(
    evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: BetterExponentSettings
) -> tuple[list[Comparison], str]:
    """Exponent of the network minus that of a kernel in every cell, and the laws of the first cell in words."""
    region, comparisons, texts = Region(lower=thresholds.exponent_difference.value), [], []
    for cell in cells(evidence.cube):
        laws = paired_laws(evidence, kernel, cell, sizes, thresholds)
        label = f"exponent, network − {predictor_label(kernel)} at {cell_text(evidence.cube, cell)}"
        comparisons.append(laws.comparison(label, region))
        texts.append(laws.text)
    return comparisons, texts[0]


def _better_than(claim: str, evidence: Evidence, kernel: str, thresholds: BetterExponentSettings) -> Measurement:
    need_curves(claim, evidence, thresholds, kernel)
    sizes = fitted_sizes(evidence)
    comparisons, text = differences(evidence, kernel, sizes, thresholds)
    remark = remarks(
        text,
        _error_text(evidence, kernel, sizes, thresholds),
        target_text(evidence),
        replicate_remark(evidence.cube),
    )
    return Measurement(comparisons, _variables(kernel), remark)


def _error_text(evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: BetterExponentSettings) -> str:
    """The difference for the share of wrong classes, in words; empty for regression data."""
    if not bool(np.isfinite(evidence.cube["test_error_network"]).any()):
        return ""
    laws = paired_laws(evidence, kernel, cells(evidence.cube)[0], sizes, thresholds, field="test_error")
    value, low, high = laws.estimate.interval(0.95)
    return f"difference for the 0–1 error {value:.2g} [{low:.2g}, {high:.2g}]" if laws.estimate.known else ""


def _variables(*kernels: str) -> list[str]:
    return ["test_mse_network", *(f"test_mse_{name}" for name in kernels)]
