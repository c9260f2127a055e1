"""Least squares for the curve log(E + A n^−α), many curves at once, in coordinates that keep it well behaved.

Coordinates θ = (a, b, u): a = log amplitude at the geometric mean of the sizes, b = log α, u = log E. With
x = log n − mean(log n) the curve is logaddexp(u, a − e^b x), which neither overflows nor loses digits.
"""

from typing import Literal, NamedTuple

import numpy as np

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
