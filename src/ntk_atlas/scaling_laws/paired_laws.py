"""Difference of the exponents of two learning curves that may end in floors, with an interval over paired draws.

Both curves follow err = B (e + (1 − e) (n/n₁)^−α), n₁ the smallest size, each with a floor e of its own in [0, κ]: e is
the share of the error at n₁ that more data do not remove. No test chooses between the laws with and without a floor: a
floor too small for draws to show and large enough to bend the slope is allowed for as any other. A floor is never
counted in favour of an end, since what bends a curve may be a short training as well:

* a floor can only hide how fast a curve falls, so the pure law's exponent of curve a is no more than α_a: the
  **lower** end of α_a − α_b takes the pure law of a and allows b every floor;
* the **upper** end takes the pure law of b and allows a every floor.

Every exponent of a grid is held in turn, and the rest is fitted to the mean log error over draws by least squares. What
tests of the exponent need from a fit is g, the part of ∂ log err/∂α that level and floor cannot follow; a floor at an
end of its range does not give way, so that at e = 0 g is the pure law's.

Each end inverts a score test. For every Δ₀ both curves are fitted with α_a − α_b = Δ₀; each draw then says

    T = g_a·(y_a − fit_a)/|g_a|² − g_b·(y_b − fit_b)/|g_b|²

an estimate of Δ − Δ₀ to first order that level, floors and a shift of both exponents do not move. A t test over draws
tells whether T has mean zero. Draws are pairs, so what the two curves share through their data cancels; noise may
depend on the size and be shared between sizes. (Score intervals, e.g. Bates and Watts, Nonlinear Regression Analysis,
ch. 6.)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntk_atlas.statistics.intervals import t_critical

SMALLEST_EXPONENT, LARGEST_EXPONENT = -1.0, 5.0
"""Range of exponents; an interval that reaches an end of it is not bounded there."""
STEP = 0.02
LEAST_SIZES = 4
"""Fewest sizes that three parameters and a residual need."""
_FLOORS = 31
_POLISHING_STEPS = 3
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class FlooredCurve:
    """Fits of the law to one curve; arrays have an entry per exponent of the grid, then one per size."""

    n_train: np.ndarray
    """Sizes `(n_sizes,)`, ascending."""
    curves: np.ndarray
    """Log errors, one curve per draw, less their mean over sizes `(n_draws, n_sizes)`."""
    level: float
    """Mean log error over draws and sizes."""
    exponents: np.ndarray
    """The grid `(n_exponents,)`."""
    floors: np.ndarray
    """Best e at each `(n_exponents,)`."""
    cost: np.ndarray
    """Sum of squared residuals of the mean curve, over the mean variance between draws `(n_exponents,)`."""
    fits: np.ndarray
    """Fitted log errors less their mean over sizes `(n_exponents, n_sizes)`."""
    directions: np.ndarray
    """g/|g|² `(n_exponents, n_sizes)`."""
    largest_floor: float
    """The bound of e."""

    @property
    def best(self) -> int:
        """Place of the best exponent of the grid."""
        return int(self.cost.argmin())

    @property
    def exponent(self) -> float:
        """α of the best fit: the best of the grid and one step of Gauss and Newton from there."""
        residual = self.curves.mean(0) - self.fits[self.best]
        return float(self.exponents[self.best] + np.clip(self.directions[self.best] @ residual, -STEP, STEP))

    @property
    def floor(self) -> float:
        """Best floor, as a share of the error at the smallest size."""
        return float(self.floors[self.best])

    def scores(self) -> np.ndarray:
        """What each draw says of α minus each exponent of the grid, to first order, `(n_draws, n_exponents)`."""
        scores: np.ndarray = ((self.curves[:, None] - self.fits) * self.directions).sum(-1)
        return scores


def fit_floored_curve(n_train: np.ndarray, log_errors: np.ndarray, *, largest_floor: float) -> FlooredCurve:
    """Fits the law to the mean over draws, at each exponent of the grid.

    Args:
        n_train: training sizes in ascending order `(n_sizes,)`.
        log_errors: one curve per draw `(n_draws, n_sizes)`, all finite.
        largest_floor: bound of e, in [0, 1); 0 makes the law the pure one.

    Returns:
        The fits.

    Raises:
        ValueError: with fewer than four sizes or two draws, or if a log error is not finite.
    """
    log_errors = np.asarray(log_errors, dtype=np.float64)
    if log_errors.shape[1] < LEAST_SIZES or len(log_errors) < 2 or not np.isfinite(log_errors).all():
        raise ValueError(f"log errors of shape {log_errors.shape}: needs {LEAST_SIZES} sizes, two draws, all finite")
    x, exponents, floors, shapes = _grid(tuple(float(n) for n in n_train), largest_floor)
    curves = _centred(log_errors)
    mean = curves.mean(0)
    e = floors[((shapes**2).sum(-1) - 2.0 * shapes @ mean).argmin(-1)]
    for _ in range(_POLISHING_STEPS):
        residual = mean - _centred(_log_shape(exponents, e, x))
        by_floor = _centred(_derivatives(exponents, e, x)[1])
        step = (by_floor * residual).sum(-1) / np.maximum((by_floor**2).sum(-1), 1e-30)
        moved = np.clip(e + step, 0.0, largest_floor)
        better = ((mean - _centred(_log_shape(exponents, moved, x))) ** 2).sum(-1) <= (residual**2).sum(-1)
        e = np.where(better, moved, e)
    fits = _centred(_log_shape(exponents, e, x))
    g = _free_part(exponents, e, x, largest_floor)
    noise = max(float(curves.var(0, ddof=1).mean()), 1e-24)
    return FlooredCurve(
        n_train=np.asarray(n_train),
        curves=curves,
        level=float(log_errors.mean()),
        exponents=exponents,
        floors=e,
        cost=((mean - fits) ** 2).sum(-1) / noise,
        fits=fits,
        directions=g / np.maximum((g**2).sum(-1, keepdims=True), 1e-24),
        largest_floor=largest_floor,
    )


@dataclass(frozen=True)
class HeldOutSize:
    """Geometric mean error at the largest size, and what the law says of it from the other sizes."""

    measured: float
    predicted: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the measured error lies in the interval."""
        return self.low <= self.measured <= self.high


def hold_out_largest(curve: FlooredCurve, *, confidence: float) -> HeldOutSize:
    """Predicts the error at the largest size from the others, under the law with a floor.

    The prediction is that of the law linearized at its best fit: with w the part of the unit vector of the largest
    size that level, floor and exponent cannot follow, the deletion residual of a draw is w·(y − fit)/|w|², and its mean
    has a t interval over draws. Where w vanishes the law says nothing, and the interval is unbounded.

    Args:
        curve: the fitted curve.
        confidence: coverage of the interval for the measured error.

    Returns:
        The check.
    """
    x = np.log(curve.n_train / curve.n_train[0])
    exponent, floor = curve.exponents[[curve.best]], curve.floors[[curve.best]]
    by_exponent, by_floor = (_centred(part)[0] for part in _derivatives(exponent, floor, x))
    known = [np.ones_like(x), by_exponent, by_floor][: 3 if 0.0 < curve.floor < curve.largest_floor else 2]
    basis, _ = np.linalg.qr(np.stack(known, axis=1))
    w = -basis @ basis[-1]
    w[-1] += 1.0
    measured = curve.level + float(curve.curves.mean(0)[-1])
    if w @ w < 1e-9:
        return HeldOutSize(float(np.exp(measured)), np.nan, 0.0, np.inf)
    surprise = (curve.curves - curve.fits[curve.best]) @ w / (w @ w)
    half = float(t_critical(len(surprise), confidence)) * surprise.std(ddof=1) / np.sqrt(len(surprise)) + 1e-9
    predicted = measured - surprise.mean()
    with np.errstate(over="ignore"):
        return HeldOutSize(*(float(each) for each in np.exp([measured, predicted, predicted - half, predicted + half])))


@lru_cache(maxsize=32)
def _grid(sizes: tuple[float, ...], largest_floor: float) -> tuple[np.ndarray, ...]:
    """log(n/n₁), exponents, floors and the centred log errors of all pairs of them; floors crowd at 0."""
    x = np.log(np.asarray(sizes) / sizes[0])
    exponents = np.linspace(
        SMALLEST_EXPONENT, LARGEST_EXPONENT, round((LARGEST_EXPONENT - SMALLEST_EXPONENT) / STEP) + 1
    )
    floors = largest_floor * np.linspace(0.0, 1.0, _FLOORS if largest_floor > 0.0 else 1) ** 2
    return x, exponents, floors, _centred(_log_shape(exponents[:, None], floors[None, :], x))


def _log_shape(exponent: np.ndarray, floor: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log(e + (1 − e) exp(−α x)) over a last axis of sizes."""
    floor = floor[..., None]
    log_shape: np.ndarray = np.log(floor + (1.0 - floor) * np.exp(-exponent[..., None] * x))
    return log_shape


def _derivatives(exponent: np.ndarray, floor: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Its derivatives by α and by e."""
    floor, decay = floor[..., None], np.exp(-exponent[..., None] * x)
    total = floor + (1.0 - floor) * decay
    return -(1.0 - floor) * x * decay / total, (1.0 - decay) / total


def _free_part(exponent: np.ndarray, floor: np.ndarray, x: np.ndarray, largest_floor: float) -> np.ndarray:
    """What the derivative by α has outside the span of a constant and, inside the range of e, of the one by e."""
    g, by_floor = (_centred(part) for part in _derivatives(exponent, floor, x))
    inside = (floor > 0.0) & (floor < largest_floor)
    unit = by_floor / np.maximum(np.linalg.norm(by_floor, axis=-1, keepdims=True), 1e-150)
    unit = np.where(inside[:, None], unit, 0.0)
    for _ in range(2):  # twice is enough to be orthogonal to rounding
        g = g - (g * unit).sum(-1, keepdims=True) * unit
    return g


def _centred(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values - values.mean(-1, keepdims=True)
    return centred


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
