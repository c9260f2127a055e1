"""The pure law, err = A n^−α, and the law with an irreducible error, err = E + A n^−α: fits, intervals, held-out size.

The pure law is a straight line of log error on log n. Many curves with irreducible error are fitted at once by least
squares of log(E + A n^−α), in coordinates that keep it well behaved: θ = (a, b, u), a = log amplitude at the geometric
mean of the sizes, b = log α, u = log E. With x = log n − mean(log n) the curve is logaddexp(u, a − e^b x), which
neither overflows nor loses digits.

Intervals invert a t test over draws. A value α₀ (or E₀) belongs to the interval if draws do not contradict it: fit the
mean curve with that value held, take the direction c in which the curve moves with the held parameter and that the free
ones cannot follow, and test with a t over draws whether the draws' residuals have mean zero along c. Replication over
draws makes this valid under any correlation between sizes, and inverting the test rather than linearizing at the
estimate keeps the coverage where the profile is flat: there the interval becomes unbounded instead of wrong. (Score
intervals, e.g. Bates and Watts, Nonlinear Regression Analysis, ch. 6, with the variance taken between draws.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from ntk_atlas.config.analyses import ScalingSettings
from ntk_atlas.statistics.intervals import finite_mean, t_critical, t_interval

MIN_SIZES = 3
"""Fewest sizes that a line with a residual needs."""


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """Least-squares lines of a stack of learning curves; every array has the leading shape of the curves."""

    exponent: np.ndarray
    """α; NaN where fewer than three sizes are usable."""
    log_amplitude: np.ndarray
    """log A, the natural logarithm of the law at n = 1."""
    n_used: np.ndarray
    """Sizes with a finite, positive error, which are the ones that were fitted."""

    def log_error(self, n_train: np.ndarray | float) -> np.ndarray:
        """Returns the laws' log errors at `n_train`; several sizes make a last axis."""
        log_n = np.log(n_train)
        amplitudes: np.ndarray = np.multiply.outer(self.log_amplitude, np.ones_like(log_n))
        decays: np.ndarray = np.multiply.outer(self.exponent, log_n)
        log_law: np.ndarray = amplitudes - decays
        return log_law


def usable(errors: np.ndarray) -> np.ndarray:
    """Returns which errors have a logarithm: finite and above zero."""
    finite: np.ndarray = np.isfinite(errors)
    return finite & (np.where(finite, errors, 0.0) > 0.0)


def log_errors(errors: np.ndarray) -> np.ndarray:
    """Returns log errors, NaN where an error is missing, not finite or not above zero."""
    mask = usable(errors)
    return np.where(mask, np.log(np.where(mask, errors, 1.0)), np.nan)


def on_common_sizes(errors_a: np.ndarray, errors_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two predictors' errors, NaN wherever one of the two has no finite positive error.

    Args:
        errors_a: `(n_draws, n_seeds, n_sizes)`.
        errors_b: the same draws and sizes; a predictor without seeds, `(n_draws, 1, n_sizes)`, stands beside each seed
            of the other.

    Returns:
        Both, as they were if nothing is missing from either; else broadcast to the same seeds.
    """
    there = usable(errors_a), usable(errors_b)
    if there[0].all() and there[1].all():
        return errors_a, errors_b
    both = there[0] & there[1]
    return np.where(both, errors_a, np.nan), np.where(both, errors_b, np.nan)


def fit_power_law(n_train: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """Fits log err = log A − α log n by least squares, one fit a learning curve.

    Args:
        n_train: training sizes `(n_sizes,)`, positive.
        errors: `(..., n_sizes)`; errors that are not finite or not above zero are left out.

    Returns:
        Exponents and log amplitudes of shape `(...)`.
    """
    y = log_errors(np.asarray(errors, dtype=np.float64))
    mask = np.isfinite(y)
    y = np.where(mask, y, 0.0)
    x = np.where(mask, np.log(np.asarray(n_train, dtype=np.float64)), 0.0)
    n_used = mask.sum(-1)
    count = np.maximum(n_used, 1)
    x_mean, y_mean = x.sum(-1) / count, y.sum(-1) / count
    x_centred = np.where(mask, x - x_mean[..., None], 0.0)
    spread = (x_centred**2).sum(-1)
    enough = n_used >= MIN_SIZES
    slope = (x_centred * (y - y_mean[..., None])).sum(-1) / np.where(enough, spread, 1.0)
    return PowerLaw(
        exponent=np.where(enough, -slope, np.nan),
        log_amplitude=np.where(enough, y_mean - slope * x_mean, np.nan),
        n_used=n_used,
    )


@dataclass(frozen=True)
class HeldOutCheck:
    """Predicted and measured geometric mean error at the largest n; NaN where there is no answer."""

    predicted: float
    low: float
    high: float
    measured: float


def check_held_out(n_train: np.ndarray, errors: np.ndarray, *, confidence: float) -> HeldOutCheck:
    """Fits the pure law of every member below the largest n and compares its prediction there.

    The interval is predicted · exp(± t s/√D) with s the spread over draws of log measured − log predicted, so it
    allows for the noise of the fit, for that of the measurement, and for what the two share through the draw.
    Under the pure law and normal log noise the measured mean lies inside with probability `confidence`.

    Args:
        n_train: sizes in ascending order, `(n_sizes,)`.
        errors: `(n_draws, n_seeds, n_sizes)`.
        confidence: promised coverage.

    Returns:
        The check, over the members that have an error at the largest n and at three sizes below it.
    """
    law = fit_power_law(n_train[:-1], errors[..., :-1])
    predicted = law.log_error(n_train[-1])
    measured = log_errors(errors[..., -1])
    both = np.isfinite(predicted) & np.isfinite(measured)
    predicted = finite_mean(np.where(both, predicted, np.nan))
    measured = finite_mean(np.where(both, measured, np.nan))
    surprise = t_interval(measured - predicted, confidence)
    centre = finite_mean(predicted)
    half = surprise.high - surprise.value
    with np.errstate(over="ignore"):  # two wild draws may give an interval up to infinity
        predicted, low, high, measured = np.exp([centre, centre - half, centre + half, finite_mean(measured)])
    return HeldOutCheck(predicted=float(predicted), low=float(low), high=float(high), measured=float(measured))


MAX_STEPS = 300
PROFILE_STEPS = 40
"""Enough where one coordinate is held: a score test is insensitive to the others to first order."""
DEPTH_OF_ZERO = 25.0
"""u so far below the smallest log error counts as E = 0: it moves no error by more than 1e-11 of itself."""
_LOG_EXPONENT_RANGE = (-12.0, 4.0)
_GRADIENT_TOLERANCE = 1e-7
_ROUNDING = 1e-26
_STALLED = 12
"""Steps without gain, each ten times shorter than the last, after which a search ends."""
_START_EXPONENTS = np.geomspace(0.02, 6.0, 25)
_START_RATIOS = np.linspace(-9.0, 9.0, 37)


Coordinate = Literal[1, 2]
MIN_FLOOR_SIZES = 5
"""Fewest sizes that three parameters and a residual with two degrees of freedom need."""
EXPONENT: Final = 1
"""The coordinate of θ that is log α."""
FLOOR: Final = 2
"""The coordinate of θ that is log E."""
Statistic = Callable[[np.ndarray], np.ndarray]
_LEAST_ERROR = 1e-13
_GRID = 41
_REFINEMENTS = 8
_TOLERANCE = 1e-5
_NO_INTERVAL = (np.nan, np.nan)


class Held(NamedTuple):
    """A coordinate of θ that does not move, and where it stays."""

    coordinate: Coordinate
    """1: b, the log exponent; 2: u, the log floor."""
    value: np.ndarray
    """One per curve, `(k,)`."""


def curve(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the log errors `(..., n_sizes)` of θ `(..., 3)` at centred log sizes x `(n_sizes,)`."""
    amplitude, exponent, floor = theta[..., 0, None], np.exp(theta[..., 1, None]), theta[..., 2, None]
    log_errors: np.ndarray = np.logaddexp(floor, amplitude - exponent * x)
    return log_errors


def jacobian(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns ∂curve/∂θ, `(..., n_sizes, 3)`; the floor's column is computed without cancellation."""
    amplitude, exponent, floor = theta[..., 0, None], np.exp(theta[..., 1, None]), theta[..., 2, None]
    decaying = amplitude - exponent * x
    total = np.logaddexp(floor, decaying)
    share = np.exp(decaying - total)
    return np.stack([share, -exponent * x * share, np.exp(floor - total)], axis=-1)


def at_zero(theta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns whether the floor of θ `(..., 3)` is zero beside the log errors y `(..., n_sizes)`."""
    is_zero: np.ndarray = theta[..., 2] <= y.min(-1) - (DEPTH_OF_ZERO - 1.0)
    return is_zero


def start_points(x: np.ndarray, y: np.ndarray, held: Held | None) -> np.ndarray:
    """Returns the best points of a grid over exponent and floor for curves y `(k, n_sizes)`, `(k, n, 3)`.

    Without a held coordinate, the best grid point of each third of the exponents is kept; with one (b or u), the best
    point that has it, and the pure law with it.
    """
    if held is not None and held.coordinate == 1:  # a grid over the ratio alone, with the curve's own exponent
        shape = np.logaddexp(_START_RATIOS[:, None], -np.exp(held.value)[:, None, None] * x)
        offset = (y[:, None] - shape).mean(-1)
        best = ((y[:, None] - shape - offset[..., None]) ** 2).sum(-1).argmin(-1)
        rows = np.arange(len(y))
        chosen = offset[rows, best]
        interior = np.stack([chosen, held.value, chosen + _START_RATIOS[best]], axis=-1)
        return np.stack([interior, pure_start(x, y, held)], axis=1)
    b, ratio = (axis.ravel() for axis in np.meshgrid(np.log(_START_EXPONENTS), _START_RATIOS, indexing="ij"))
    shape = np.logaddexp(ratio[:, None], -np.exp(b)[:, None] * x)
    if held is not None:
        residual = y[:, None] - shape - (held.value[:, None] - ratio)[..., None]
        best = (residual**2).sum(-1).argmin(-1)
        interior = np.stack([held.value - ratio[best], b[best], held.value], axis=-1)
        return np.stack([interior, pure_start(x, y, held)], axis=1)
    centred = shape - shape.mean(-1, keepdims=True)
    y_centred = y - y.mean(-1, keepdims=True)
    cost = (centred**2).sum(-1) - 2.0 * y_centred @ centred.T
    starts = []
    for block in np.array_split(np.arange(len(b)), 3):
        best = block[cost[:, block].argmin(-1)]
        offset = (y - shape[best]).mean(-1)
        starts.append(np.stack([offset, b[best], offset + ratio[best]], axis=-1))
    return np.stack(starts, axis=1)


def pure_start(x: np.ndarray, y: np.ndarray, held: Held) -> np.ndarray:
    """Returns the pure law as a start `(k, 3)`, with the held coordinate at its value."""
    slope = np.maximum(-(y @ x) / (x @ x), np.exp(_LOG_EXPONENT_RANGE[0]))
    b = held.value if held.coordinate == 1 else np.log(slope)
    u = held.value if held.coordinate == 2 else y.min(-1) - 6.0
    return np.stack([y.mean(-1), b, u], axis=-1)


def solve(x: np.ndarray, y: np.ndarray, held: Held | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimizes Σ(curve − y)² for each curve from every start, keeping the best end.

    Args:
        x: centred log sizes `(n_sizes,)`.
        y: log errors `(k, n_sizes)`, finite.
        held: coordinate of θ that does not move, or None.

    Returns:
        θ `(k, 3)`, the sum of squares `(k,)`, and whether the gradient vanished there `(k,)`, to a small part of the
        misfit or as far as the rounding of the cost lets it be seen.
    """
    starts = start_points(x, y, held)
    k, n_starts, _ = starts.shape
    fixed = None if held is None else held.coordinate
    theta, cost, converged = _descend(x, np.repeat(y, n_starts, axis=0), starts.reshape(-1, 3), fixed)
    cost = cost.reshape(k, n_starts)
    best = cost.argmin(-1)
    rows = np.arange(k)
    return theta.reshape(k, n_starts, 3)[rows, best], cost[rows, best], converged.reshape(k, n_starts)[rows, best]


def _descend(
    x: np.ndarray, y: np.ndarray, theta: np.ndarray, fixed: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levenberg–Marquardt on all curves at once; a curve that has converged is no longer touched."""
    free = [i for i in range(3) if i != fixed]
    lowest = y.min(-1) - DEPTH_OF_ZERO
    # Of a residual: a descent by g² that changes the cost by less than its rounding, 2 · misfit · this, is not seen.
    resolution = np.finfo(y.dtype).eps * np.abs(y).max(-1)
    theta = theta.copy()
    if fixed != 2:
        theta[:, 2] = np.maximum(theta[:, 2], lowest)
    cost = ((curve(theta, x) - y) ** 2).sum(-1)
    damping = np.full(len(y), 1e-3)
    stalled = np.zeros(len(y), dtype=int)
    converged = np.zeros(len(y), dtype=bool)
    active = np.arange(len(y))
    for _ in range(MAX_STEPS if fixed is None else PROFILE_STEPS):
        here = theta[active]
        residual = curve(here, x) - y[active]
        J = jacobian(here, x)[..., free]
        scale = np.sqrt((J**2).sum(-2)) + 1e-300
        J = J / scale[:, None]  # columns of length one: the damping means the same for all
        gradient = np.einsum("ksp,ks->kp", J, residual)
        if fixed != 2:  # at E = 0 only a pull upwards counts, and the floor stays out of the step
            pressed = (here[:, 2] <= lowest[active]) & (gradient[:, -1] > 0.0)
            gradient[pressed, -1] = 0.0
            J[pressed, :, -1] = 0.0
        steepest, misfit = np.abs(gradient).max(-1), np.sqrt(cost[active])
        small = steepest <= _GRADIENT_TOLERANCE * misfit
        at_rounding = (stalled[active] >= _STALLED) & (steepest**2 <= 4.0 * resolution[active] * misfit)
        converged[active] = small | at_rounding | (cost[active] <= _ROUNDING * y.shape[-1])
        going = ~converged[active] & (stalled[active] < _STALLED)
        if not going.any():
            break
        active, J, scale, gradient, here = active[going], J[going], scale[going], gradient[going], here[going]
        H = np.einsum("ksp,ksq->kpq", J, J) + damping[active, None, None] * np.eye(len(free))
        step = -np.linalg.solve(H, gradient[..., None])[..., 0] / scale
        trial = here.copy()
        trial[:, free] += np.clip(step, -4.0, 4.0)
        trial[:, 1] = here[:, 1] if fixed == 1 else np.clip(trial[:, 1], *_LOG_EXPONENT_RANGE)
        if fixed != 2:
            trial[:, 2] = np.maximum(trial[:, 2], lowest[active])
        trial_cost = ((curve(trial, x) - y[active]) ** 2).sum(-1)
        better = trial_cost < cost[active]
        theta[active[better]], cost[active[better]] = trial[better], trial_cost[better]
        damping[active] = np.where(better, np.maximum(damping[active] * 0.1, 1e-15), damping[active] * 10.0)
        stalled[active] = np.where(better, 0, stalled[active] + 1)
    return theta, cost, converged


@dataclass(frozen=True, eq=False)
class FloorLaw:
    """Fits of a stack of learning curves; every array has the leading shape of the curves."""

    exponent: np.ndarray
    """α > 0."""
    log_amplitude: np.ndarray
    """log A, natural logarithm."""
    irreducible_error: np.ndarray
    """E ≥ 0; exactly 0 where the best fit is the pure law."""
    mean_squared_residual: np.ndarray
    """Mean squared log residual over the sizes."""
    converged: np.ndarray
    """Whether the gradient vanished at the best of the ends that the starts led to."""
    theta: np.ndarray
    """The solver's coordinates `(..., 3)`, see the head of this module."""


def centred_log_sizes(n_train: np.ndarray) -> np.ndarray:
    """Returns log n minus its mean, the abscissa of all floor-law fits."""
    x = np.log(np.asarray(n_train, dtype=np.float64))
    centred: np.ndarray = x - x.mean()
    return centred


def fit_floor_law(n_train: np.ndarray, log_errors: np.ndarray) -> FloorLaw:
    """Fits log err = log(E + A n^−α), E ≥ 0, α > 0, by least squares from a grid of starts.

    Log space weighs relative errors alike at every size; `logaddexp` keeps the sum stable; the mean, not the sum,
    of squares is reported so that fits with different numbers of sizes compare.

    Args:
        n_train: training sizes `(n_sizes,)`, at least five.
        log_errors: `(..., n_sizes)`, all finite.

    Returns:
        The fits, of shape `(...)`.

    Raises:
        ValueError: if there are fewer than five sizes or a log error is not finite.
    """
    y = np.asarray(log_errors, dtype=np.float64)
    if y.shape[-1] < MIN_FLOOR_SIZES:
        raise ValueError(f"a law with irreducible error needs at least {MIN_FLOOR_SIZES} sizes, got {y.shape[-1]}")
    if not np.isfinite(y).all():
        raise ValueError("log errors must be finite; leave out sizes with missing or zero errors first")
    x = centred_log_sizes(n_train)
    flat = y.reshape(-1, y.shape[-1])
    level = flat.mean(-1)  # in relative units, so that error × c gives the same search
    theta, cost, converged = solve(x, flat - level[:, None])
    zero = at_zero(theta, flat - level[:, None])
    pure = fit_power_law(n_train, np.exp(flat - level[:, None]))
    exponent = np.where(zero & (pure.exponent > 0.0), pure.exponent, np.exp(theta[:, 1]))
    theta[:, 0] += level
    theta[:, 2] += level
    log_amplitude = theta[:, 0] + exponent * np.log(n_train).mean()
    shape = y.shape[:-1]
    return FloorLaw(
        exponent=exponent.reshape(shape),
        log_amplitude=log_amplitude.reshape(shape),
        irreducible_error=np.where(zero, 0.0, np.exp(theta[:, 2])).reshape(shape),
        mean_squared_residual=(cost / y.shape[-1]).reshape(shape),
        converged=converged.reshape(shape),
        theta=theta.reshape(*shape, 3),
    )


def aicc(mean_squared_residual: np.ndarray, n_sizes: int, n_parameters: int) -> np.ndarray:
    """Akaike's criterion with the small-sample correction, S log MSR + 2k + 2k(k + 1)/(S − k − 1).

    k counts the law's parameters and the residual variance. The residuals are those of the curve averaged over
    draws; their correlation between sizes is not modelled, so the criterion describes and does not test.

    Args:
        mean_squared_residual: mean squared log residual.
        n_sizes: S, the sizes fitted.
        n_parameters: 2 for the pure law, 3 for the law with irreducible error.

    Returns:
        The criterion; NaN where S ≤ k + 1, for then it does not exist.
    """
    k = n_parameters + 1
    if n_sizes <= k + 1:
        return np.full_like(np.asarray(mean_squared_residual, dtype=np.float64), np.nan)
    rounding = 1e-24  # residuals below this are rounding and tell nothing about which law is better
    return n_sizes * np.log(mean_squared_residual + rounding) + 2 * k + 2 * k * (k + 1) / (n_sizes - k - 1)


def draw_exponents(law: FloorLaw, x: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Each draw's exponent by linearization at the common fit; their mean is the common exponent.

    A fit per draw would be biased where a single draw hardly identifies the floor; the linear influence of a draw
    on the common fit is not, and keeps the draws of two predictors paired.

    Args:
        law: fit of the mean curve over draws, of shape `(...)`.
        x: centred log sizes `(n_sizes,)`.
        curves: log errors, one curve a draw, `(..., n_draws, n_sizes)`; NaN for a draw that was not fitted.

    Returns:
        Exponents `(..., n_draws)`; NaN where the fit did not converge or has E = 0, where it has no such derivative.
    """
    J = jacobian(law.theta, x)
    common = np.nanmean(curves, axis=-2, keepdims=True)
    influence = (curves - common) @ np.linalg.pinv(J)[..., 1, :, None]
    smooth = law.converged & (law.irreducible_error > 0.0)
    return np.where(smooth[..., None], law.exponent[..., None] * (1.0 + influence[..., 0]), np.nan)


def score_t(x: np.ndarray, curves: np.ndarray, *, fixed: Coordinate, value: np.ndarray) -> np.ndarray:
    """Student statistic over draws of the hypothesis that θ[fixed] is `value`.

    Args:
        x: centred log sizes `(n_sizes,)`.
        curves: log errors, one curve a draw, `(..., n_draws, n_sizes)`; leading axes broadcast with `value`.
        fixed: `EXPONENT` or `FLOOR`.
        value: log α₀ or log E₀ `(...)`; log E₀ far below all errors tests E = 0.

    Returns:
        Statistics `(...)`, t with n_draws − 1 degrees of freedom under the hypothesis.
    """
    leading = np.broadcast_shapes(curves.shape[:-2], np.shape(value))
    curves = np.broadcast_to(curves, (*leading, *curves.shape[-2:])).reshape(-1, *curves.shape[-2:])
    held = np.broadcast_to(value, leading).reshape(-1)
    theta, _, _ = solve(x, curves.mean(-2), Held(fixed, held))
    J = jacobian(theta, x)
    J = J / np.maximum(np.linalg.norm(J, axis=-2, keepdims=True), 1e-300)
    if fixed == EXPONENT:  # at E = 0 the floor cannot give way to a curve that is steeper than α₀ allows
        J[at_zero(theta, curves.mean(-2)), :, FLOOR] = 0.0
    direction = _orthogonal_part(J[..., fixed], np.delete(J, fixed, axis=-1))
    scores = np.einsum("kds,ks->kd", curves - curve(theta, x)[:, None], direction)
    n_draws = scores.shape[-1]
    error = scores.std(-1, ddof=1) / np.sqrt(n_draws)
    t: np.ndarray = scores.mean(-1) / (error + _LEAST_ERROR)
    return t.reshape(leading)


def _orthogonal_part(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Unit vectors along what `vectors` `(k, s)` have outside the span of `others` `(k, s, 2)`."""
    first = _unit(others[..., 0])
    second = _unit(others[..., 1] - (others[..., 1] * first).sum(-1, keepdims=True) * first)
    for _ in range(2):  # twice is enough to be orthogonal to rounding
        for other in (first, second):
            vectors = vectors - (vectors * other).sum(-1, keepdims=True) * other
    return _unit(vectors)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)
    return unit


def zero_floor_t(x: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Student statistic over draws of E = 0, positive where the curves bend upwards; curves as in `score_t`."""
    return score_t(x, curves, fixed=FLOOR, value=curves.mean(-2).min(-1) - DEPTH_OF_ZERO)


def exponent_interval(
    x: np.ndarray, curves: np.ndarray, *, estimate: float, largest: float, confidence: float
) -> tuple[float, float]:
    """Interval of α, searched up to `largest`; 0 or infinity stand for an end that the draws do not bound."""
    low, high = min(1e-3, estimate / 10.0), max(largest, estimate)
    ends = _invert(
        lambda value: score_t(x, curves, fixed=EXPONENT, value=value),
        np.log(estimate), np.log(low), np.log(high), t_critical(curves.shape[-2], confidence),
    )  # fmt: skip
    return (0.0 if ends[0] is None else np.exp(ends[0])), (np.inf if ends[1] is None else np.exp(ends[1]))


def floor_interval(x: np.ndarray, curves: np.ndarray, *, estimate: float, confidence: float) -> tuple[float, float]:
    """Interval of E, searched up to the geometric mean error; a lower end of 0: E = 0 is not excluded."""
    mean = curves.mean(-2)
    ends = _invert(
        lambda value: score_t(x, curves, fixed=FLOOR, value=value),
        np.log(estimate), min(mean.min() - DEPTH_OF_ZERO / 2, np.log(estimate) - 1.0),
        max(mean.mean(), np.log(estimate)),
        t_critical(curves.shape[-2], confidence),
    )  # fmt: skip
    return (0.0 if ends[0] is None else np.exp(ends[0])), (np.inf if ends[1] is None else np.exp(ends[1]))


def _invert(
    statistic: Statistic, estimate: float, low: float, high: float, critical: np.ndarray
) -> tuple[float | None, float | None]:
    """Ends of the connected set around `estimate` with |t| ≤ critical; None where it reaches the search bound.

    The statistic is evaluated on many values at once; each end is then closed in on by finer grids.
    """
    near = np.array([0.003, 0.01, 0.03, 0.1, 0.2, 0.4])
    values = np.concatenate([np.linspace(low, high, _GRID), estimate - near, estimate + near, [estimate]])
    values = np.unique(np.clip(values, low, high))
    inside = np.abs(statistic(values)) <= critical
    centre = int(np.searchsorted(values, estimate))
    inside[centre] = True
    outside_below = np.flatnonzero(~inside[:centre])
    outside_above = centre + np.flatnonzero(~inside[centre:])
    lower = upper = None
    if outside_below.size:
        i = outside_below[-1]
        lower = _close_in(statistic, values[i + 1], values[i], critical)
    if outside_above.size:
        i = outside_above[0]
        upper = _close_in(statistic, values[i - 1], values[i], critical)
    return lower, upper


def _close_in(statistic: Statistic, inner: float, outer: float, critical: np.ndarray) -> float:
    """The crossing of |t| = critical between an inside and an outside value."""
    for _ in range(_REFINEMENTS):
        if abs(outer - inner) <= _TOLERANCE:
            break
        values = np.linspace(inner, outer, 32)
        outside = np.abs(statistic(values)) > critical
        outside[0], outside[-1] = False, True
        first = int(outside.argmax())
        inner, outer = values[first - 1], values[first]
    return 0.5 * (inner + outer)


@dataclass(frozen=True, eq=False)
class FloorFit:
    """The law with irreducible error of the mean curve; intervals are over draws."""

    irreducible_error: float
    irreducible_interval: tuple[float, float]
    exponent: float
    exponent_interval: tuple[float, float]
    aicc_difference: float
    draw_exponents: np.ndarray
    reason: str
    """Why the law is not identifiable; empty if it is."""


def balanced_curves(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns one mean log-error curve a draw and which sizes it has, so that all draws have the same sizes.

    A size is kept if every draw that has any error has one there; within a draw, only seeds with all the kept
    sizes enter, because a mean over other seeds at every size would bend the curve.

    Args:
        errors: `(n_draws, n_seeds, n_sizes)`.

    Returns:
        Curves `(n_draws, n_kept)`, NaN for draws without a complete seed; the mask `(n_sizes,)` of kept sizes.
    """
    y = log_errors(errors)
    measured = np.isfinite(y).any(1)
    kept = measured[measured.any(-1)].all(0) & measured.any()
    y = y[..., kept]
    complete = np.isfinite(y).all(-1, keepdims=True)
    return finite_mean(np.where(complete, y, np.nan), axis=1), kept


def fit_with_floor(n_train: np.ndarray, errors: np.ndarray, *, settings: ScalingSettings) -> FloorFit:
    """Fits err = E + A n^−α to the mean log-error curve over draws, with intervals over draws.

    It counts as identifiable if there are five sizes, the search converged to E > 0 and to an exponent within the
    bounds, the draws exclude E = 0 and bound E and the exponent, the latter within a factor of
    `settings.floor_width_max`, and the measured errors do not fall below E's interval. The intervals are given
    even where it does not: their coverage holds over all studies, and not over those only that were selected
    for a significant E.

    Args:
        n_train: sizes in ascending order, `(n_sizes,)`.
        errors: `(n_draws, n_seeds, n_sizes)`.
        settings: confidence and bounds.

    Returns:
        The fit; numbers that do not exist are NaN and `reason` says why.
    """
    curves, kept = balanced_curves(errors)
    whole = np.isfinite(curves).all(-1)
    if kept.sum() < MIN_FLOOR_SIZES or not whole.any():
        return _nothing(len(curves), f"{int(kept.sum())} sizes that all draws have, at least {MIN_FLOOR_SIZES} needed")
    sizes, x = n_train[kept], centred_log_sizes(n_train[kept])
    mean = curves[whole].mean(0)
    if float(np.ptp(mean)) < 1e-12:
        return _nothing(len(curves), "the error does not change with n, so E and A cannot be told apart")
    if not fit_power_law(sizes, np.exp(mean)).exponent > 0.0:
        return _nothing(len(curves), "the error does not fall with n")
    law = fit_floor_law(sizes, mean)
    estimate, floor = float(law.exponent), float(law.irreducible_error)
    interval, irreducible = _NO_INTERVAL, _NO_INTERVAL
    if whole.sum() >= 2 and law.converged and estimate <= settings.floor_exponent_max:
        confidence = settings.confidence
        bends = bool(zero_floor_t(x, curves[whole]) > t_critical(int(whole.sum()), confidence))
        interval = exponent_interval(
            x, curves[whole], estimate=estimate, largest=settings.floor_exponent_max, confidence=confidence
        )
        tiny = float(np.exp(mean.min() - 12.0))
        irreducible = floor_interval(x, curves[whole], estimate=max(floor, tiny), confidence=confidence)
        irreducible = (irreducible[0] if bends else 0.0, irreducible[1])
    return FloorFit(
        irreducible_error=floor,
        irreducible_interval=irreducible,
        exponent=estimate,
        exponent_interval=interval,
        aicc_difference=_aicc_difference(sizes, mean, law),
        draw_exponents=draw_exponents(law, x, curves),
        reason=_fault_of_estimate(law, n_draws=int(whole.sum()), settings=settings)
        or _fault_of_intervals(interval, irreducible, smallest=float(np.exp(mean.min())), settings=settings),
    )


def _nothing(n_draws: int, reason: str) -> FloorFit:
    return FloorFit(
        irreducible_error=np.nan,
        irreducible_interval=_NO_INTERVAL,
        exponent=np.nan,
        exponent_interval=_NO_INTERVAL,
        aicc_difference=np.nan,
        draw_exponents=np.full(n_draws, np.nan),
        reason=reason,
    )


def _fault_of_estimate(law: FloorLaw, *, n_draws: int, settings: ScalingSettings) -> str:
    if not law.converged:
        return "the search did not converge"
    if law.irreducible_error <= 0.0:
        return "the best fit has E = 0"
    if law.exponent > settings.floor_exponent_max:
        return f"the exponent is beyond floor_exponent_max = {settings.floor_exponent_max:g}"
    if n_draws < 2:
        return "one draw gives no interval"
    return ""


def _fault_of_intervals(
    exponent: tuple[float, float], irreducible: tuple[float, float], *, smallest: float, settings: ScalingSettings
) -> str:
    """E may lie above the smallest error by noise where the curve is flat, but not its whole interval."""
    if irreducible[0] <= 0.0:
        return "the draws do not exclude E = 0"
    if not np.isfinite(irreducible[1]):
        return "the draws do not bound E"
    if irreducible[0] >= smallest:
        return "the error falls below E, even below the low end of its interval"
    low, high = exponent
    if low <= 0.0 or not np.isfinite(high):
        return "the draws do not bound the exponent"
    if high > settings.floor_width_max * low:
        return f"the exponent's interval spans more than a factor of {settings.floor_width_max:g}"
    return ""


def _aicc_difference(sizes: np.ndarray, mean: np.ndarray, law: FloorLaw) -> float:
    """AICc of the pure law minus AICc of the law with floor: above zero favours the floor."""
    pure = fit_power_law(sizes, np.exp(mean))
    line = pure.log_amplitude - pure.exponent * np.log(sizes)
    pure_residual = np.mean((mean - line) ** 2)
    return float(aicc(pure_residual, len(mean), 2) - aicc(law.mean_squared_residual, len(mean), 3))
