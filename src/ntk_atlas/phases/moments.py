"""Moments E[φ(√q z)²] and E[φ'(√q z)²], z ~ N(0, 1), of any activation at any variance, with their error.

Panels double in width away from 0, from a quarter of a unit of u = √q z on, so that what φ does near 0 is seen at every
variance; they are halved where that is not enough, and reach to |z| = 38, where the Gaussian ends in float64.
"""

import logging
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ntk_atlas.activations import Activation, ActivationChoice, activation
from ntk_atlas.quadrature import integrate

log = logging.getLogger(__name__)

ACCURACY = 1e-6
"""Relative error of a moment above which a warning is logged."""
_TOLERANCE = 1e-12
_END = 38.0
_NEAR_ZERO, _FAR_OUT = 1e-12, 1e8
_VANISHED = 1e-12
_MOST_KEPT = 100_000


class Moments(NamedTuple):
    """Two moments at one variance.

    Attributes:
        value: E[φ(√q z)²]; infinity where it overflows.
        slope: E[φ'(√q z)²].
        error: estimate of the larger relative error of the two.
    """

    value: float
    slope: float
    error: float


def moments(choice: ActivationChoice, q: float) -> Moments:
    """E[φ(√q z)²] and E[φ'(√q z)²] at variance q.

    Args:
        choice: see `activations.ActivationChoice`.
        q: variance, 0 and infinity included: there, the limits of the second, which is NaN where φ' has none.

    Returns:
        The moments; exact for homogeneous activations.

    Raises:
        ActivationError: see `activations.ActivationChoice`.
    """
    function = activation(choice)
    if function.homogeneous is not None:
        below, above = function.homogeneous
        factor = 0.5 * (below**2 + above**2)
        return Moments(factor * q if q > 0 else 0.0, factor, 0.0)
    return _of(function, q)


@lru_cache(maxsize=_MOST_KEPT)
def _of(function: Activation, q: float) -> Moments:
    return _at_an_end(function, q) if q == 0 or math.isinf(q) else _integrated(function, q)


def value_moment(choice: ActivationChoice, q: float) -> float:
    """E[φ(√q z)²]."""
    return moments(choice, q).value


def derivative_moment(choice: ActivationChoice, q: float) -> float:
    """E[φ'(√q z)²]; at q = 0 and q = ∞ its limit."""
    return moments(choice, q).slope


def panel_edges(function: Activation, q: float) -> np.ndarray:
    """Ascending ends of panels in z that resolve φ(√q z) near 0 and its kinks."""
    root = math.sqrt(q)
    first = min(0.5, 0.25 / root)
    steps = first * 2.0 ** np.arange(math.ceil(math.log2(6.0 / first)))
    steps = np.concatenate([[0.0], steps[steps < 5.0], [6.0, 8.0, 12.0, 24.0, _END]])
    kinks = np.array(function.kinks) / root
    return np.unique(np.concatenate([-steps, steps, kinks[np.abs(kinks) < _END]]))


def _integrated(function: Activation, q: float) -> Moments:
    root = math.sqrt(q)

    def squares(z: np.ndarray) -> np.ndarray:
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        with np.errstate(all="ignore"):
            both = np.stack(function.on_array(root * z)) ** 2 * density
        return np.where(density > 0.0, both, 0.0)

    (value, slope), errors, _ = integrate(squares, panel_edges(function, q), _TOLERANCE)
    if not np.isfinite([value, slope]).all():
        return Moments(math.inf, math.inf, 0.0)
    error = max(float(left / total) for left, total in zip(errors, (value, slope), strict=True) if total > 0.0 or left)
    if error > ACCURACY:
        log.warning("moments of activation %s at variance %.3g are certain to %.0e only", function.name, q, error)
    return Moments(float(value), float(slope), error)


def _at_an_end(function: Activation, q: float) -> Moments:
    if q == 0:
        at_zero, _ = function.on_array(np.zeros(1))
        return Moments(float(at_zero[0] ** 2), function.mean_square_slope(_NEAR_ZERO), 0.0)
    nearer, farther = function.mean_square_slope(_FAR_OUT / 100.0), function.mean_square_slope(_FAR_OUT)
    if max(nearer, farther) < _VANISHED:
        return Moments(math.inf, 0.0, 0.0)
    if math.isclose(nearer, farther, rel_tol=1e-9):
        return Moments(math.inf, farther, 0.0)
    return Moments(math.inf, math.inf if not farther < nearer else math.nan, 0.0)
