"""From which width on, or up to which sample count, theory holds: where the law of a distance meets the threshold.

Along one axis x (log width or log n_train), everything else fixed, the distance to a predictor follows

    log d = a + β x + noise,

in theory β = −1/2 in the width against the infinite NTK and −1 against the network's own. Each draw has a line of its
own (least squares over the axis), and the mean line over D draws meets log τ at x* = (log τ − a)/β. Its interval is
all x at which the mean line is not different from log τ (Fieller 1954):

    (a + β x − log τ)² ≤ t² (s_aa + 2 s_aβ x + s_ββ x²)/D,

with the covariance s of the draws' lines pooled over the lines of the study.
"""

from enum import IntEnum

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import RegimeThresholds
from ntk_atlas.regimes.distances import CELL, log_spread
from ntk_atlas.statistics.estimates import effective_cells
from ntk_atlas.statistics.intervals import t_quantile

LEAST_POINTS = 3
"""Places along the axis that a law needs."""
FARTHEST = 4.0
"""Factor beyond the grid up to which a frontier is stated."""


class FrontierStatus(IntEnum):
    """What became of a frontier."""

    FOUND = 0
    EXTRAPOLATED = 1
    TOO_FAR = 2
    HOLDS_ON_GRID = 3
    NO_TREND = 4
    NOT_MONOTONE = 5
    TOO_FEW = 6

    @property
    def words(self) -> str:
        """The status in words."""
        return _WORDS[self]


_WORDS = {
    FrontierStatus.FOUND: "within the grid",
    FrontierStatus.EXTRAPOLATED: f"beyond the grid by a factor of up to {FARTHEST:g}",
    FrontierStatus.TOO_FAR: f"beyond the grid by more than a factor of {FARTHEST:g}: not given",
    FrontierStatus.HOLDS_ON_GRID: "holds everywhere on the grid",
    FrontierStatus.NO_TREND: "the distance does not fall: none in sight",
    FrontierStatus.NOT_MONOTONE: "the distance rises and falls: no law",
    FrontierStatus.TOO_FEW: f"fewer than {LEAST_POINTS} trained cells, or fewer than two draws",
}


def frontier(squares: xr.Dataset, name: str, thresholds: RegimeThresholds, *, along: str = "width") -> xr.Dataset:
    """Where the law of a distance meets τ along one axis, at every place of the others.

    Args:
        squares: from `distances.squared_distances`, cells that do not count masked with NaN.
        name: of the distance.
        thresholds: of the regimes.
        along: `width` (the distance falls: theory holds from the frontier on) or `n_train` (it rises: up to it).

    Returns:
        `frontier` with its interval `frontier_low`, `frontier_high` (NaN where `status` says why), `exponent` β with
        `exponent_low`, `exponent_high`, and `status` (flags); over `CELL` without `along`.
    """
    falling = along == "width"
    dims = [dim for dim in CELL if dim != along and dim in squares[name].dims]
    spread = log_spread(squares[name], squares[f"{name}_scale"], uneven=thresholds.uneven.value)
    order = [dim for dim in CELL if dim in squares[name].dims]
    logs = np.moveaxis(0.5 * spread.values[0], order.index(along), -2)  # (*others, along, replicates)
    shape = logs.shape[:-2]
    lines = [_line(np.log(squares[along].values.astype(float)), each) for each in logs.reshape(-1, *logs.shape[-2:])]
    pooled, freedom = _pooled(lines)
    bound = np.log(thresholds.distance.value)
    ends = [
        _frontier(
            np.log(squares[along].values.astype(float)), line, pooled, freedom, bound, thresholds.confidence, falling
        )
        for line in lines
    ]
    names = ("frontier", "frontier_low", "frontier_high", "exponent", "exponent_low", "exponent_high", "status")
    coords = {dim: squares[dim] for dim in dims}
    columns = {
        key: (dims, np.array([end[place] for end in ends], dtype=np.int8 if key == "status" else float).reshape(shape))
        for place, key in enumerate(names)
    }
    return xr.Dataset(columns, coords=coords, attrs={"along": along, "distance": name})


class _Line:
    """Lines of the draws along one axis: coefficients (n_draws, 2), and the mean logs that they are fitted to."""

    def __init__(self, coefficients: np.ndarray, x: np.ndarray, mean: np.ndarray, steps: np.ndarray) -> None:
        self.coefficients, self.x, self.mean, self.steps = coefficients, x, mean, steps


def _line(x: np.ndarray, logs: np.ndarray) -> _Line | None:
    """Least squares per draw over the places that all draws with any value have; None of too few places or draws."""
    draws = np.isfinite(logs).any(0)
    usable = np.isfinite(logs[:, draws]).all(1)
    if draws.sum() < 2 or usable.sum() < LEAST_POINTS:
        return None
    x, logs = x[usable], logs[np.ix_(usable, draws)]
    design = np.stack([np.ones_like(x), x], axis=1)
    coefficients = np.linalg.lstsq(design, logs, rcond=None)[0].T
    return _Line(coefficients, x, logs.mean(1), np.diff(logs, axis=0))


def _pooled(lines: list[_Line | None]) -> tuple[np.ndarray, float]:
    """Covariance of the coefficients between draws, pooled over lines, and its degrees of freedom."""
    known = [line for line in lines if line is not None]
    if not known:
        return np.full((2, 2), np.nan), 0.0
    centred = [line.coefficients - line.coefficients.mean(0) for line in known]
    freedom = sum(len(each) - 1 for each in centred)
    pooled = sum(each.T @ each for each in centred) / freedom
    n = max(len(each) for each in centred)
    whole = [each @ np.array([1.0, line.x.mean()]) for each, line in zip(centred, known, strict=True) if len(each) == n]
    return pooled, (n - 1.0) * (effective_cells(np.stack(whole)) if len(whole) > 1 else 1.0)


def _frontier(
    grid: np.ndarray, line: _Line | None, pooled: np.ndarray, freedom: float, bound: float, confidence: float,
    falling: bool,
) -> tuple[float, ...]:  # fmt: skip
    if line is None:
        return (*[np.nan] * 6, FrontierStatus.TOO_FEW)
    quantile = float(t_quantile(0.5 + 0.5 * confidence, freedom))
    n, sign = len(line.coefficients), 1.0 if falling else -1.0
    a, slope = line.coefficients.mean(0)
    half = quantile * np.sqrt(pooled[1, 1] / n)
    exponent = (slope, slope - half, slope + half)
    if _rises(line, sign, freedom, confidence):
        return (*[np.nan] * 3, *exponent, FrontierStatus.NOT_MONOTONE)
    upper = line.mean + quantile * np.sqrt(_variance(line.x, pooled) / n)
    if (upper < bound).all():
        return (*[np.nan] * 3, *exponent, FrontierStatus.HOLDS_ON_GRID)
    if sign * slope + half >= 0.0:
        return (*[np.nan] * 3, *exponent, FrontierStatus.NO_TREND)
    star, (low, high) = (bound - a) / slope, _fieller(a - bound, slope, quantile**2 / n * pooled)
    outside = max(grid.min() - star, star - grid.max(), 0.0)
    status = FrontierStatus.FOUND if outside == 0.0 else FrontierStatus.EXTRAPOLATED
    if outside > np.log(FARTHEST):
        return (*[np.nan] * 3, *exponent, FrontierStatus.TOO_FAR)
    with np.errstate(over="ignore"):
        return (*np.exp([star, low, high]), *exponent, status)


def _variance(x: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    variance: np.ndarray = pooled[0, 0] + 2.0 * pooled[0, 1] * x + pooled[1, 1] * x**2
    return variance


def _fieller(a: float, slope: float, scaled: np.ndarray) -> tuple[float, float]:
    """The x at which (a + slope x)² ≤ scaled_aa + 2 scaled_ab x + scaled_bb x², for a slope that is not 0 there."""
    roots = np.roots([slope**2 - scaled[1, 1], 2.0 * (a * slope - scaled[0, 1]), a**2 - scaled[0, 0]])
    return float(roots.real.min()), float(roots.real.max())


def _rises(line: _Line, sign: float, freedom: float, confidence: float) -> bool:
    """Whether the mean turns back from one place to the next, surely: Student's t of the draws' steps, Bonferroni."""
    steps, n = sign * line.steps, line.steps.shape[1]
    error = steps.std(axis=1, ddof=1) / np.sqrt(n)
    quantile = float(t_quantile(1.0 - (1.0 - confidence) / (2.0 * len(steps)), n - 1.0))
    return bool((steps.mean(1) - quantile * error > 0.0).any())
