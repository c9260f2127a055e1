"""Adaptive Gauss–Kronrod integration of several functions at once, with the error that is left.

Panels whose 7- and 15-point rules differ are halved until the sum of what differs is small (Piessens et al. 1983,
QUADPACK: rule and error estimate). Kinks and jumps need no more than some forty halvings of the one panel they are in.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_X = (0.9914553711208126, 0.9491079123427585, 0.8648644233597691, 0.7415311855993945,
      0.5860872354676911, 0.4058451513773972, 0.2077849550078985, 0.0)  # fmt: skip
_K = (0.022935322010529224, 0.06309209262997856, 0.10479001032225019, 0.14065325971552592,
      0.1690047266392679, 0.19035057806478542, 0.20443294007529889, 0.20948214108472782)  # fmt: skip
_G = (0.0, 0.1294849661688697, 0.0, 0.27970539148927664, 0.0, 0.3818300505051189, 0.0, 0.4179591836734694)
NODES = np.concatenate([-np.array(_X), np.array(_X[-2::-1])])
"""Kronrod's nodes on [−1, 1]."""
WEIGHTS = np.array([*_K, *_K[-2::-1]])
"""Their weights."""
_GAUSS = np.array([*_G, *_G[-2::-1]])
_MOST_HALVINGS, _MOST_PANELS = 60, 40_000


class Integral(NamedTuple):
    """Integrals of K functions.

    Attributes:
        values: the integrals, `(K,)`.
        errors: estimates of their errors, `(K,)`.
        edges: ends of the panels used, `(P, 2)`, in the order of the axis.
    """

    values: np.ndarray
    errors: np.ndarray
    edges: np.ndarray


def integrate(functions: Callable[[np.ndarray], np.ndarray], edges: np.ndarray, tolerance: float) -> Integral:
    """∫ of several functions between the first and the last edge.

    Args:
        functions: maps points of any shape to values `(K, *shape)`; values that are not finite stay so in the result.
        edges: ascending ends of the first panels; where a kink is known, an edge there saves the halvings.
        tolerance: error asked for, relative to the integral of the absolute value.

    Returns:
        The integrals. Their errors exceed the tolerance only where 60 halvings or 40,000 panels are not enough.
    """
    low, high = edges[:-1], edges[1:]
    done: list[tuple[np.ndarray, ...]] = []
    for halving in range(_MOST_HALVINGS + 1):
        values, errors, sizes = _rule(functions, low, high)
        parts = [*done, (low, high, values, errors, sizes)]
        total, left = (sum(part[i].sum(1) for part in parts) for i in (4, 3))
        n_panels = sum(len(part[0]) for part in parts)
        settled = ~np.isfinite(total) | (left <= tolerance * total)
        share = np.where(settled, np.inf, tolerance * total / (2 * n_panels))
        split = (errors > share[:, None]).any(0)
        if not split.any() or halving == _MOST_HALVINGS or n_panels > _MOST_PANELS:
            break
        done.append((low[~split], high[~split], values[:, ~split], errors[:, ~split], sizes[:, ~split]))
        middle = 0.5 * (low[split] + high[split])
        low, high = np.concatenate([low[split], middle]), np.concatenate([middle, high[split]])
    ends = np.concatenate([np.stack(part[:2], axis=1) for part in parts])
    return Integral(sum(part[2].sum(1) for part in parts), left, ends[np.argsort(ends[:, 0])])


def points(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kronrod's nodes and weights on panels `(P, 2)`, each `(15 P,)`."""
    half, middle = 0.5 * (edges[:, 1] - edges[:, 0]), edges.mean(1)
    return (middle[:, None] + half[:, None] * NODES).ravel(), (half[:, None] * WEIGHTS).ravel()


def _rule(functions: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    # Kronrod's integral, its error, and ∫|f| of each function on each panel, (K, P) each.
    half = 0.5 * (high - low)
    f = functions((0.5 * (low + high))[:, None] + half[:, None] * NODES)
    with np.errstate(all="ignore"):
        kronrod = f @ WEIGHTS
        size = np.abs(f) @ WEIGHTS
        spread = np.abs(f - 0.5 * kronrod[..., None]) @ WEIGHTS
        gap = np.abs(kronrod - f @ _GAUSS)
        error = np.where(spread > 0, spread * np.minimum(1.0, (200.0 * gap / spread) ** 1.5), gap)
    return kronrod * half, np.nan_to_num(error, nan=0.0, posinf=0.0) * half, size * half
