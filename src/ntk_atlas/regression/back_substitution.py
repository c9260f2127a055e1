"""Coefficients of all nested sizes from one triangle, at the cost of one back-substitution a size but in blocks."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK = 256


def nested_coefficients(lower: Tensor, whitened: Tensor, sizes: Sequence[int]) -> Tensor:
    r"""α_n = L_n⁻ᵀ z[:n] at every size n, L_n being the leading block of L.

    All sizes are columns of one right-hand side, z cut off after n. Blocks of rows are solved from the last
    upwards, and each is subtracted from the rows above it; a size takes part from its own last block on, so no
    work is done on the zeros below it: C Σ n² flops in matrix products.

    Args:
        lower: L, `(m, m)`, its order at least the largest size.
        whitened: z = L⁻¹y, `(m, n_outputs)`.
        sizes: increasing.

    Returns:
        `(sizes[-1], n_sizes, n_outputs)`, zeros beyond each size.
    """
    largest, n_outputs = sizes[-1], whitened.shape[1]
    alpha = whitened.new_zeros(largest, len(sizes), n_outputs)
    for position, n in enumerate(sizes):
        alpha[:n, position] = whitened[:n]
    columns = alpha.flatten(1)
    for start in reversed(range(0, largest, _BLOCK)):
        rows = slice(start, min(start + _BLOCK, largest))
        active = slice(_first_beyond(sizes, start) * n_outputs, None)
        triangle = lower[rows, rows].mT
        columns[rows, active] = torch.linalg.solve_triangular(triangle, columns[rows, active], upper=True)
        columns[:start, active].addmm_(lower[rows, :start].mT, columns[rows, active], alpha=-1.0)
    return alpha


def nested_products(rows: Tensor, alpha: Tensor, sizes: Sequence[int]) -> Tensor:
    """K(x, X_n) α_n at every size n.

    Args:
        rows: K(x, X), `(n_eval, n)`; NaN beyond a size does not concern that size.
        alpha: coefficients, `(n, n_sizes, n_outputs)`, zeros beyond each size.
        sizes: increasing.

    Returns:
        `(n_sizes, n_eval, n_outputs)`.
    """
    largest, n_sizes, n_outputs = alpha.shape
    if not bool(torch.isfinite(rows[:, :largest].sum())):
        return torch.stack([rows[:, :n] @ alpha[:n, position] for position, n in enumerate(sizes)])
    total = alpha.new_zeros(len(rows), n_sizes * n_outputs)
    for start in range(0, largest, _BLOCK):
        block = slice(start, min(start + _BLOCK, largest))
        active = slice(_first_beyond(sizes, start) * n_outputs, None)
        total[:, active].addmm_(rows[:, block], alpha[block].flatten(1)[:, active])
    products: Tensor = total.unflatten(1, (n_sizes, n_outputs))
    return products.transpose(0, 1)


def nested_residuals(
    gram: Tensor, alpha: Tensor, targets: Tensor, sizes: Sequence[int], *, shift: float
) -> list[float]:
    """‖(K_n + shift · I) α_n − y_n‖_F / ‖y_n‖_F at every size n, in float64.

    Args:
        gram: K as it was given, `(m, m)`, any floating precision.
        alpha: coefficients, `(n, n_sizes, n_outputs)`, zeros beyond each size.
        targets: y, `(m, n_outputs)`.
        sizes: increasing.
        shift: absolute.

    Returns:
        One a size; 0 where the targets are zero throughout.
    """
    largest, n_outputs = len(alpha), alpha.shape[2]
    alpha = alpha.to(torch.float64)
    squares = alpha.new_zeros(len(sizes))
    for start in range(0, largest, _BLOCK):
        rows = slice(start, min(start + _BLOCK, largest))
        first = _first_beyond(sizes, start)
        ours = alpha[rows, first:]
        misfit = gram[rows, :largest].to(torch.float64) @ alpha[:, first:].flatten(1)
        misfit = misfit.unflatten(1, (-1, n_outputs)).add_(ours, alpha=shift).sub_(targets[rows, None])
        inside = torch.arange(rows.start, rows.stop, device=gram.device)[:, None] < torch.tensor(
            sizes[first:], device=gram.device
        )
        squares[first:] += torch.where(inside, (misfit**2).sum(2), 0.0).sum(0)
    norms = [float(torch.linalg.norm(targets[:n])) for n in sizes]
    return [math.sqrt(square) / norm if norm > 0 else 0.0 for square, norm in zip(squares.tolist(), norms, strict=True)]


def _first_beyond(sizes: Sequence[int], start: int) -> int:
    """Returns the position of the first size that has rows from `start` on."""
    return next(position for position, n in enumerate(sizes) if n > start)
