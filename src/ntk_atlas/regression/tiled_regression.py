"""Kernel regression from inputs and a kernel function, for sample counts beyond memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.memory import default_memory_limit
from ntk_atlas.regression.arguments import checked_count, checked_ridge, checked_targets
from ntk_atlas.regression.distinct import check_distinct
from ntk_atlas.regression.iterative_solve import IterativeSolution, conjugate_gradient
from ntk_atlas.regression.preconditioner import pivoted_cholesky_preconditioner
from ntk_atlas.regression.tiled_kernel import KernelFunction, TiledKernel
from ntk_atlas.tensors import real_tensor


@dataclass(frozen=True)
class TiledRegression:
    """A kernel regression that predicts at any inputs.

    Attributes:
        kernel: K(X, X) as a linear map.
        solution: coefficients, residuals and status.
    """

    kernel: TiledKernel
    solution: IterativeSolution

    def predict(self, x_test: Tensor) -> Tensor:
        """f(x) = K(x, X) α, tile by tile.

        Args:
            x_test: inputs, `(n_test, *shape)`.

        Returns:
            `(n_test, n_outputs)`; NaN for outputs that failed.
        """
        return self.kernel.predict(x_test, self.solution.coefficients)


def regress_tiled(
    kernel: KernelFunction,
    x_train: Tensor,
    y_train: Tensor,
    *,
    diag_reg: float = 0.0,
    rank: int = 200,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    memory_limit: int | None = None,
    tiles_alive: int = 8,
    dtype: torch.dtype = torch.float64,
) -> TiledRegression:
    """Solves (K + λI) α = y without ever holding K.

    Conjugate gradients on products evaluated tile by tile, preconditioned by a partial Cholesky factor of `rank`
    columns with the largest remaining diagonal. Each step evaluates the kernel of all pairs of samples once.

    Args:
        kernel: inputs x1, x2 → K(x1, x2), `(n1, n2)`.
        x_train: inputs, `(n, *shape)`.
        y_train: targets, `(n, n_outputs)`.
        diag_reg: λ relative to the mean diagonal of K.
        rank: columns of the preconditioner, at most as many as a quarter of the limit holds; 0 goes without.
        tolerance: relative residual of each output at which it is done.
        max_iterations: steps at most.
        memory_limit: bytes for tiles and preconditioner; None takes `memory_limited`'s, or half of what is free.
        tiles_alive: float64 arrays of a tile's size that are held at once while `kernel` runs.
        dtype: precision of the vectors, float64 or float32.

    Returns:
        The regression; what did not converge says so in `solution.status` and in the log.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the ridge is negative, or `kernel` is not symmetric;
            as DuplicateSamplesError, samples are equal and there is no ridge; as MemoryLimitError, the limit holds no
            tile.
    """
    x_train = real_tensor(x_train, "x_train")
    checked_ridge(diag_reg)
    y = checked_targets("y_train", y_train, (("n", len(x_train)), ("n_outputs", None)), x_train.device)
    if diag_reg == 0:
        check_distinct(x_train)
    rank = checked_count("rank", rank)
    limit = (
        default_memory_limit(x_train.device) if memory_limit is None else checked_count("memory_limit", memory_limit)
    )
    # A factor, its singular vectors and what finds them.
    rank = min(rank, len(x_train), limit // 4 // (4 * 8 * max(1, len(x_train))))
    tiles = TiledKernel(kernel, x_train, memory_limit=limit - 4 * 8 * rank * len(x_train), tiles_alive=tiles_alive)
    diagonal = tiles.diagonal().to(torch.float64)
    preconditioner = None
    if rank:
        preconditioner = pivoted_cholesky_preconditioner(diagonal, tiles.columns, rank=rank, diag_reg=diag_reg)
    solution = conjugate_gradient(
        tiles,
        y,
        diag_reg=diag_reg,
        mean_diagonal=float(diagonal.mean()),
        preconditioner=preconditioner,
        tolerance=tolerance,
        max_iterations=max_iterations,
        dtype=dtype,
    )
    return TiledRegression(tiles, solution)
