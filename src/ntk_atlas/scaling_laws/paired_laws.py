"""Difference of the exponents of two learning curves that may end in floors, with an interval over paired draws.

Both curves follow err = B (e + (1 − e) (n/n₁)^−α), each with a floor e of its own in [0, κ]. No test chooses between
the laws with and without a floor: a floor too small for draws to show and large enough to bend the slope is allowed
for as any other. A floor is never counted in favour of an end, since what bends a curve may be a short training as
well:

* a floor can only hide how fast a curve falls, so the pure law's exponent of curve a is no more than α_a: the
  **lower** end of α_a − α_b takes the pure law of a and allows b every floor;
* the **upper** end takes the pure law of b and allows a every floor.

Each end inverts a score test. For every Δ₀ both curves are fitted with α_a − α_b = Δ₀; each draw then says

    T = g_a·(y_a − fit_a)/|g_a|² − g_b·(y_b − fit_b)/|g_b|²

(g: `floored_curve`), an estimate of Δ − Δ₀ to first order that level, floors and a shift of both exponents do not
move. A t test over draws tells whether T has mean zero. Draws are pairs, so what the two curves share through their
data cancels; noise may depend on the size and be shared between sizes. (Score intervals, e.g. Bates and Watts,
Nonlinear Regression Analysis, ch. 6.)
"""

from dataclasses import dataclass

import numpy as np

from ntk_atlas.scaling_laws.floored_curve import STEP, FlooredCurve, fit_floored_curve
from ntk_atlas.scaling_laws.intervals import t_critical

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """α_a − α_b.

    Attributes:
        value: of the best fits, each with a floor.
        low: lower end of its interval; the end of the range of exponents where draws do not bound it.
        high: upper end.
        pure: difference of the pure laws' exponents, which floors and budgets bias.
        first: curve a with its floor.
        second: curve b with its floor.
        weights: of the log errors of a and b over sizes in each end, to first order, `(2 ends, 2, n_sizes)`.
    """

    value: float
    low: float
    high: float
    pure: float
    first: FlooredCurve
    second: FlooredCurve
    weights: np.ndarray


def compare_paired(
    n_train: np.ndarray, log_errors_a: np.ndarray, log_errors_b: np.ndarray, *, largest_floor: float, confidence: float
) -> PairedDifference:
    """Difference of exponents with its interval.

    Args:
        n_train: training sizes in ascending order `(n_sizes,)`, at least four.
        log_errors_a: one curve per draw `(n_draws, n_sizes)`, all finite.
        log_errors_b: the same draws of the other curve.
        largest_floor: κ, the largest share of the error at the smallest size that may be irreducible.
        confidence: coverage of the interval, where both curves follow the law.

    Returns:
        The difference.

    Raises:
        ValueError: with fewer than four sizes or two draws, or if a log error is not finite.
    """
    floored, pure = (
        [fit_floored_curve(n_train, errors, largest_floor=bound) for errors in (log_errors_a, log_errors_b)]
        for bound in (largest_floor, 0.0)
    )
    critical = float(t_critical(len(log_errors_a), confidence))
    low = _end(pure[0], floored[1], critical)
    high = -_end(pure[1], floored[0], critical)
    value = floored[0].exponent - floored[1].exponent
    ends = (pure[0], floored[1]), (floored[0], pure[1])
    weights = np.array([[a.directions[a.best], -b.directions[b.best]] for a, b in ends])
    without = pure[0].exponent - pure[1].exponent
    return PairedDifference(value, min(low, value), max(high, value), without, floored[0], floored[1], weights)


def _end(a: FlooredCurve, b: FlooredCurve, critical: float) -> float:
    """Lower end of α_a − α_b: below the best fit, the first difference that the t test rejects as too small."""
    n = len(a.exponents)
    shifts = np.arange(-(n - 1), n)
    padded = np.concatenate([np.full(n - 1, np.inf), b.cost, np.full(n - 1, np.inf)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, n)[::-1]  # row k: cost of b at places − shift k
    own = (a.cost + windows).argmin(-1)
    other = own - shifts
    joint = a.cost[own] + b.cost[other]
    centre = int(joint.argmin())
    scores = a.scores()[:, own[: centre + 1]] - b.scores()[:, other[: centre + 1]]
    t = scores.mean(0) / (scores.std(0, ddof=1) / np.sqrt(len(scores)) + _ROUNDING)
    rejected = np.flatnonzero(t > critical)
    if not rejected.size:
        return float(shifts[0] * STEP)
    i = rejected[-1]
    if i == centre:
        return float(shifts[i] * STEP)
    return float(STEP * (shifts[i] + (t[i] - critical) / (t[i] - t[i + 1])))
