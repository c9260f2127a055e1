"""χ₁ over the plane (σ_w², σ_b²), from a table of moments: for figures, to about 1e-4."""

import math

import numpy as np

from ntk_atlas.activations import Activation, ActivationChoice, activation
from ntk_atlas.phases.moments import derivative_moment, moments

_SMALLEST_Q, _LARGEST_Q, _TABLED = 1e-12, 1e8, 801  # forty a decade


def chi_1_plane(choice: ActivationChoice, init_scales: np.ndarray, bias_variances: np.ndarray) -> np.ndarray:
    """χ₁ at the fixed point that is reached from q = σ_w² + σ_b², see `fixed_point`.

    Args:
        choice: see `activations.ActivationChoice`.
        init_scales: values of σ_w², `(W,)`.
        bias_variances: values of σ_b², `(B,)`.

    Returns:
        χ₁, `(B, W)`; its limit where the variance grows for ever.
    """
    function = activation(choice)
    scales, biases = np.asarray(init_scales, dtype=float), np.asarray(bias_variances, dtype=float)
    if function.homogeneous is not None:
        return np.broadcast_to(scales * derivative_moment(function, 1.0), (len(biases), len(scales))).copy()
    log_q = np.linspace(math.log(_SMALLEST_Q), math.log(_LARGEST_Q), _TABLED)
    table = _table(function, np.exp(log_q), float(scales.max()), float(biases.max()))
    log_q = log_q[: len(table)]
    # At the ends stand the limits: what falls below the table goes to 0, what leaves it above to infinity.
    slopes = np.concatenate([[derivative_moment(function, 0.0)], table[:, 1], [derivative_moment(function, math.inf)]])
    return np.stack([scales * _slopes_at_end(log_q, table[:, 0], slopes, scales, bias) for bias in biases])


def _table(function: Activation, q: np.ndarray, scale: float, bias: float) -> np.ndarray:
    # E[φ²] and E[φ'²] at ascending q, up to where even the largest σ_w² and σ_b² lead down: none passes that.
    rows = []
    for value in q:
        second, slope, _ = moments(function, value)
        rows.append((second, slope))
        if value > scale + bias and scale * second + bias < value:
            break
    return np.array(rows)


def _slopes_at_end(
    log_q: np.ndarray, values: np.ndarray, slopes: np.ndarray, scales: np.ndarray, bias: float
) -> np.ndarray:
    # E[φ'²] where each σ_w² ends: (W,).
    growth = scales[:, None] * values + bias - np.exp(log_q)
    first = np.searchsorted(log_q, np.log(scales + bias))
    rank, each = np.arange(len(log_q)), np.arange(len(scales))
    # Upward to the first q with growth ≤ 0, downward from the last one with growth > 0: `high` is the upper end of the
    # step between them, 0 or the size of the table if there is none.
    down = (growth <= 0.0) & (rank >= first[:, None])
    up = (growth > 0.0) & (rank < first[:, None])
    above = np.where(down.any(1), down.argmax(1), len(log_q))
    below = np.where(up.any(1), len(log_q) - up[:, ::-1].argmax(1), 0)
    # The start lies in the step below `first`: what happens there decides the direction.
    start = np.clip(first, 1, len(log_q) - 1)
    share = (np.log(scales + bias) - log_q[start - 1]) / (log_q[start] - log_q[start - 1])
    at_start = growth[each, start - 1] + share * (growth[each, start] - growth[each, start - 1])
    high = np.where(at_start > 0.0, above, below)
    inner = np.clip(high, 1, len(log_q) - 1)
    low_growth, high_growth = growth[each, inner - 1], growth[each, inner]
    crossed = (low_growth > 0.0) & (high_growth <= 0.0) & (high == inner)
    share = np.where(crossed, low_growth / np.where(crossed, low_growth - high_growth, 1.0), 0.0)
    inside = slopes[inner] + share * (slopes[inner + 1] - slopes[inner])
    ends: np.ndarray = np.where(crossed, inside, np.where(high == 0, slopes[0], slopes[-1]))
    return ends
