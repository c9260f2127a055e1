"""χ₁ over the plane (σ_w², σ_b²), from a table of moments: for figures, to about 1e-4."""

import math

import numpy as np

from ntk_atlas.phases.activation_function import ActivationFunction, ActivationLike, activation_function
from ntk_atlas.phases.moments import derivative_moment, moments

_SMALLEST_Q, _LARGEST_Q, _TABLED = 1e-12, 1e8, 801  # forty a decade


def chi_1_plane(activation: ActivationLike, init_scales: np.ndarray, bias_variances: np.ndarray) -> np.ndarray:
    """χ₁ at the fixed point that is reached from q = σ_w² + σ_b², see `fixed_point`.

    Args:
        activation: see `activation_function`.
        init_scales: values of σ_w², `(W,)`.
        bias_variances: values of σ_b², `(B,)`.

    Returns:
        χ₁, `(B, W)`; its limit where the variance grows for ever.
    """
    function = activation_function(activation)
    scales, biases = np.asarray(init_scales, dtype=float), np.asarray(bias_variances, dtype=float)
    if function.homogeneous is not None:
        return np.broadcast_to(scales * derivative_moment(function, 1.0), (len(biases), len(scales))).copy()
    log_q = np.linspace(math.log(_SMALLEST_Q), math.log(_LARGEST_Q), _TABLED)
    table = _table(function, np.exp(log_q), float(scales.max()), float(biases.max()))
    log_q = log_q[: len(table)]
    q = np.exp(log_q)
    # At the ends stand the limits: what falls below the table goes to 0, what leaves it above to infinity.
    slopes = np.concatenate([[derivative_moment(function, 0.0)], table[:, 1], [derivative_moment(function, math.inf)]])
    chi = np.empty((len(biases), len(scales)))
    for i, bias in enumerate(biases):
        growth = scales[:, None] * table[:, 0] + bias - q
        for j, scale in enumerate(scales):
            chi[i, j] = scale * _slope_at_end(log_q, growth[j], slopes, math.log(scale + bias))
    return chi


def _table(function: ActivationFunction, q: np.ndarray, scale: float, bias: float) -> np.ndarray:
    # E[φ²] and E[φ'²] at ascending q, up to where even the largest σ_w² and σ_b² lead down: none passes that.
    rows = []
    for value in q:
        second, slope, _ = moments(function, value)
        rows.append((second, slope))
        if value > scale + bias and scale * second + bias < value:
            break
    return np.array(rows)


def _slope_at_end(log_q: np.ndarray, growth: np.ndarray, slopes: np.ndarray, start: float) -> float:
    grows = np.interp(start, log_q, growth) > 0.0
    i = int(np.searchsorted(log_q, start))
    ahead = np.flatnonzero(growth[i:] <= 0.0) if grows else np.flatnonzero(growth[:i] > 0.0)
    if not len(ahead):
        return float(slopes[-1] if grows else slopes[0])
    # growth > 0 at the lower end of the step and not above.
    high = int(i + ahead[0]) if grows else int(ahead[-1]) + 1
    if high == 0 or high == len(log_q):
        return float(slopes[high])
    share = growth[high - 1] / (growth[high - 1] - growth[high])
    return float(slopes[high] + share * (slopes[high + 1] - slopes[high]))
