"""The ridges of a regression solved by products with the kernel, at every size: `regression.solver: iterative`.

Each size and ridge is one run of preconditioned conjugate gradients (`iterative_solve`). Nothing of the kernel's size
is factored, and of a kernel that is a function of samples nothing of that size is held: tiles are evaluated, used and
forgotten (`tiled_kernel`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.regression.cholesky import jitter_ladder
from ntk_atlas.regression.iterative_solve import conjugate_gradient
from ntk_atlas.regression.nested import NestedSolution
from ntk_atlas.regression.preconditioner import pivoted_cholesky_preconditioner
from ntk_atlas.regression.report import SolveReport, relative_residual
from ntk_atlas.regression.system import KernelSystem
from ntk_atlas.regression.tiled_kernel import KernelFunction, TiledKernel
from ntk_atlas.status import Status

RANK = 200
"""Columns of the preconditioner."""
TOLERANCE = 1e-9
"""Relative residual of each output at which a solve is done."""
MOST_STEPS = 2000
_LEAST_SHIFT = 1e-8
"""Smallest ridge of the preconditioner, relative: its inverse is a difference, of which less would leave no digits."""


class Products(Protocol):
    """K(X_n, X_n) of the first n samples as a linear map."""

    def __call__(self, v: Tensor) -> Tensor:
        """K v, `(n, k)`."""

    def diagonal(self) -> Tensor:
        """The diagonal, `(n,)`."""

    def columns(self, indices: Tensor) -> Tensor:
        """Some columns, `(n, k)`."""


@dataclass(frozen=True)
class ProductSystem:
    """A kernel regression of which products are known; what `KernelSystem` is with a Gram matrix.

    Attributes:
        leading: the kernel of the first n samples.
        predict: coefficients `(n, k)` of the first n samples → predictions at the evaluation points, `(n_eval, k)`.
        targets: what is regressed, `(n, n_outputs)`, float64.
        sizes: nested sample counts.
        scale: mean diagonal of the kernel of the largest size; NaN where it is not finite and positive.
        kernel_dtype: precision of the entries of the kernel.
    """

    leading: Callable[[int], Products]
    predict: Callable[[Tensor], Tensor]
    targets: Tensor
    sizes: tuple[int, ...]
    scale: float
    kernel_dtype: torch.dtype = torch.float64

    def of_columns(self, columns: slice) -> "ProductSystem":
        """The system of some of the targets."""
        return replace(self, targets=self.targets[:, columns])


@dataclass(frozen=True)
class _Matrix:
    """Products with a Gram matrix that is held."""

    matrix: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        return self.matrix @ v

    def diagonal(self) -> Tensor:
        return self.matrix.diagonal()

    def columns(self, indices: Tensor) -> Tensor:
        return self.matrix[:, indices]


def products_of_matrix(system: KernelSystem) -> ProductSystem:
    """A system whose Gram matrix is held, in float64, to be solved without a factor of it."""
    gram = system.gram.to(torch.float64)
    return ProductSystem(
        leading=lambda n: _Matrix(gram[:n, :n]),
        predict=lambda alpha: system.evaluation[:, : len(alpha)] @ alpha,
        targets=system.targets,
        sizes=system.sizes,
        scale=system.scale,
        kernel_dtype=system.kernel_dtype,
    )


def products_of_function(
    kernel: KernelFunction, x_train: Tensor, x_eval: Tensor, targets: Tensor, sizes: Sequence[int]
) -> ProductSystem:
    """A system whose kernel is a function of two sets of samples, evaluated tile by tile.

    Args:
        kernel: K(x1, x2), `(n1, n2)`.
        x_train: samples of the largest size, `(n, *shape)`.
        x_eval: points predicted at.
        targets: what is regressed, `(n, n_outputs)`, float64.
        sizes: nested sample counts.

    Returns:
        The system.
    """
    diagonal = TiledKernel(kernel, x_train).diagonal().to(torch.float64)
    scale = float(diagonal.mean())
    return ProductSystem(
        leading=lambda n: TiledKernel(kernel, x_train[:n]),
        predict=lambda alpha: TiledKernel(kernel, x_train[: len(alpha)]).predict(x_eval, alpha),
        targets=targets,
        sizes=tuple(sizes),
        scale=scale if math.isfinite(scale) and scale > 0 else math.nan,
    )


def iterative_path(system: ProductSystem, settings: SolveSettings) -> list[NestedSolution]:
    """Solves at ridge zero (first) and at each ridge of the grid, at all sizes.

    A solve that breaks down, since the kernel is not positive definite to rounding, is tried again with jitter, as a
    factorization is. One that does not reach the tolerance says so: BUDGET_SPENT, with the residual it has.

    Args:
        system: kernel, and targets with the offset taken off.
        settings: the ridge grid and the jitter.

    Returns:
        `1 + len(ridge_grid)` solutions.
    """
    ridges = (0.0, *settings.ridge_grid)
    solved = [_at_size(system, n, ridges, settings.jitter) for n in system.sizes]
    return [
        NestedSolution(torch.stack([size[i][0] for size in solved]), tuple(size[i][1] for size in solved))
        for i in range(len(ridges))
    ]


def _at_size(system: ProductSystem, n: int, ridges: Sequence[float], jitter: float) -> list[tuple[Tensor, SolveReport]]:
    kernel, targets = system.leading(n), system.targets[:n]
    sound = not math.isnan(system.scale) and bool(torch.isfinite(targets).all())
    diagonal = kernel.diagonal().to(torch.float64)
    own = float(diagonal.mean())
    found = []
    for ridge in ridges:
        alpha, report = torch.full_like(targets, math.nan), SolveReport(ridge, math.nan, math.nan, Status.SINGULAR)
        for used in (0.0, *jitter_ladder(jitter, system.kernel_dtype)) if sound else ():
            shift = ridge + used
            solution = conjugate_gradient(
                kernel,
                targets,
                diag_reg=shift,
                mean_diagonal=system.scale,
                preconditioner=pivoted_cholesky_preconditioner(
                    diagonal, kernel.columns, rank=RANK, diag_reg=max(shift * system.scale / own, _LEAST_SHIFT)
                ),
                tolerance=TOLERANCE,
                max_iterations=MOST_STEPS,
            )
            if solution.status != Status.SINGULAR:
                misfit = torch.nan_to_num(solution.residuals) * torch.linalg.norm(targets, dim=0)
                status = Status.JITTERED if used and solution.converged else solution.status
                alpha = solution.coefficients
                report = SolveReport(ridge, used, relative_residual(misfit, targets), status)
                break
        found.append((system.predict(alpha), report))
    return found
