"""A'1: networks against the exact law of finite networks, and that law against the paper's kind of formula."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import DISPERSION, PHASES, exact_law, some_phases

CLAIM = Claim(
    statement="The randomness of the kernel at initialization follows the exact law of finite networks in all phases.",
    statistic=(
        "Var log Θ of networks over that of the exact law, and R of the exact law over the finite sums, in each phase"
    ),
    compared=(
        (
            "Var log Θ of networks over that of the exact law, every init scale, largest λ ≤ 0.35",
            "1/1.2 … 1.2",
        ),
        (
            "R of the exact law over the finite-L sums",
            "1/1.15 … 1.15",
        ),
    ),
    source="abstract",
    thresholds={
        # Ratio of Var log Θ of networks and of the exact law, either way.
        "network_factor": Threshold(
            value=1.2,
            reason=(
                "Sampling 2,000 networks leaves an interval of ± 6 to 8 % in each phase; 20 % is the smallest round "
                "margin that they can show to hold in all three."
            ),
        ),
        # Ratio of R of the exact law and of the finite sums, either way.
        "theory_factor": Threshold(
            value=1.15,
            reason=(
                "The sums are of leading order in 1/M and within 4 % at λ = 0.25; 15 % leaves room for λ up to 0.35 "
                "and for sampling R's heavy tail."
            ),
        ),
        # λ up to which the sums are judged.
        "largest_lambda": Threshold(
            value=0.35,
            reason="Beyond it R is not resolved by affordable samples, and terms of order L/M² are not small.",
        ),
    },
    needs=(
        DISPERSION,
        exact_law,
        some_phases(*PHASES),
    ),
    trained=False,
)

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region
from ntk_atlas.judging.evidence import Evidence, cell_text, need, need_dispersion, scales_of
from ntk_atlas.judging.kernels import LOG_VARIANCE, inputs_text, log_variance, stored_value
from ntk_atlas.statistics.estimates import Estimate, combination
from ntk_atlas.study.claim_needs import PHASES


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Networks against the exact law of finite networks, and that law against the paper's kind of formula.

    Var log Θ of networks over that of the exact law says that networks follow the law; R of the exact law over the
    finite sums says that the closed form does. Both in each phase, at the largest λ up to which the sums are judged.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    dispersion = need_dispersion(evidence)
    names = ("log_ntk_variance_exact", "ntk_ratio_exact", "ntk_ratio_finite_sum")
    need(dispersion, LOG_VARIANCE, *names)
    place = _largest_lambda(dispersion, thresholds.largest_lambda.value)
    networks, theory = thresholds.network_factor.value, thresholds.theory_factor.value
    comparisons = []
    for scale in scales_of(dispersion, *PHASES):
        cell = place | {"init_scale": int(scale)}
        text = cell_text(dispersion, cell)
        measured = log_variance(evidence, cell, logarithmic=True)
        exact = _from_error(dispersion, "log_ntk_variance_exact", cell)
        ratio = combination([measured, exact], [1.0, -1.0])
        label = f"Var log Θ of networks over that of the exact law at {text}"
        comparisons.append(Comparison(label, ratio, Region(1.0 / networks, networks)))
        law = _from_error(dispersion, "ntk_ratio_exact", cell)
        known = float(np.log(stored_value(dispersion, "ntk_ratio_finite_sum", cell)))
        difference = Estimate(law.value - known, law.error_low, law.error_high, law.n, logarithmic=True)
        label = f"R of the exact law over the finite sum at {text}"
        comparisons.append(Comparison(label, difference, Region(1.0 / theory, theory)))
    return Measurement(comparisons, [LOG_VARIANCE, *names], inputs_text(dispersion))


def _largest_lambda(dispersion: xr.Dataset, limit: float) -> dict[str, int]:
    ratio = (dispersion["depth"].values[:, None] + 1) / dispersion["width"].values
    within = np.where(ratio <= limit, ratio, -np.inf)
    if not np.isfinite(within).any():
        raise NotJudgedError("not run", f"all cells have λ above {limit:g}, beyond what is judged: add wider ones")
    depth, width = np.unravel_index(int(within.argmax()), within.shape)
    return {"depth": int(depth), "width": int(width)}


def _from_error(dispersion: xr.Dataset, name: str, place: dict[str, int]) -> Estimate:
    """The logarithm of an estimate with a standard error, to first order."""
    value, error = stored_value(dispersion, name, place), stored_value(dispersion, f"{name}_error", place)
    n = int(dispersion.attrs.get("n_exact", 10**9))
    return Estimate(float(np.log(value)), error / value, error / value, n, logarithmic=True)
