"""Claims about exponents of networks and kernels: B1, B1∞, B2, B4."""

import numpy as np

from ntk_atlas.config.claims import ClaimSettings
from ntk_atlas.config.predictors import PRETRAINED, predictor_label
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.judging.decision import Comparison, Region
from ntk_atlas.judging.evidence import Evidence, cell_text
from ntk_atlas.judging.measurement import Measurement, remarks
from ntk_atlas.judging.networks import replicate_remark
from ntk_atlas.judging.scaling_curves import (
    cells,
    fitted_sizes,
    need_curves,
    target_text,
    variables_of,
)
from ntk_atlas.judging.scaling_pairs import paired_laws

INITIAL, FINAL, INFINITE = "ntk_init", "ntk_final", "infinite_ntk"


def pretrained_names(settings: ExperimentSettings) -> list[str]:
    """Kernels trained on m samples that an experiment has, by m."""
    names = [name for name in settings.regression.predictors if name.startswith(PRETRAINED)]
    return sorted(names, key=lambda name: int(name.removeprefix(PRETRAINED)))


def differences(
    evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: ClaimSettings
) -> tuple[list[Comparison], str]:
    """Exponent of the network minus that of a kernel in every cell, and the laws of the first cell in words."""
    region, comparisons, texts = Region(lower=thresholds.exponent_difference.value), [], []
    for cell in cells(evidence.cube):
        laws = paired_laws(evidence, kernel, cell, sizes, thresholds)
        label = f"exponent, network − {predictor_label(kernel)} at {cell_text(evidence.cube, cell)}"
        comparisons.append(laws.comparison(label, region))
        texts.append(laws.text)
    return comparisons, texts[0]


def better_than(evidence: Evidence, kernel: str, thresholds: ClaimSettings) -> Measurement:
    """What B1 and B1∞ say: exponent of the network minus that of a kernel, in every cell.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves(evidence, kernel)
    sizes = fitted_sizes(evidence)
    comparisons, text = differences(evidence, kernel, sizes, thresholds)
    remark = remarks(
        text,
        _error_text(evidence, kernel, sizes, thresholds),
        target_text(evidence),
        replicate_remark(evidence.cube),
    )
    return Measurement(comparisons, variables_of(kernel), remark)


def _error_text(evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: ClaimSettings) -> str:
    """The difference for the share of wrong classes, in words; empty for regression data."""
    if not bool(np.isfinite(evidence.cube["test_error_network"]).any()):
        return ""
    laws = paired_laws(evidence, kernel, cells(evidence.cube)[0], sizes, thresholds, field="test_error")
    value, low, high = laws.estimate.interval(0.95)
    return f"difference for the 0–1 error {value:.2g} [{low:.2g}, {high:.2g}]" if laws.estimate.known else ""
