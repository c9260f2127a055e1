"""Kernel regression with a Gram matrix that is never held: tiles of it are evaluated, used and forgotten.

`regress_tiled` is one regression from inputs and a kernel function. `iterative_path` solves all ridges of a study at
every size (`regression.solver: iterative`), each size and ridge by one run of preconditioned conjugate gradients, with
a kernel function tile by tile or with a Gram matrix that is held.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.kernels.errors import MemoryLimitError
from ntk_atlas.numerics import default_memory_limit, is_out_of_memory, real_tensor
from ntk_atlas.regression.arguments import (
    check_distinct,
    check_function,
    check_symmetric_pair,
    checked_block,
    checked_count,
    checked_ridge,
    checked_targets,
)
from ntk_atlas.regression.cholesky import SolveReport, jitter_ladder, relative_residual
from ntk_atlas.regression.iterative import IterativeSolution, conjugate_gradient, pivoted_cholesky_preconditioner
from ntk_atlas.regression.nested import KernelSystem, NestedSolution

logger = logging.getLogger(__name__)

KernelFunction = Callable[[Tensor, Tensor], Tensor]
"""Inputs x1 `(n1, *shape)`, x2 `(n2, *shape)` → K(x1, x2), `(n1, n2)`."""

_LARGEST_SIDE = 2048
_SMALLEST_SIDE = 8

RANK = 200
"""Columns of the preconditioner."""
TOLERANCE = 1e-9
"""Relative residual of each output at which a solve is done."""
MOST_STEPS = 2000
_LEAST_SHIFT = 1e-8
"""Smallest ridge of the preconditioner, relative: its inverse is a difference, of which less would leave no digits."""


class TiledKernel:
    """K(X, X) as a linear map, of which one tile is held at a time.

    Tiles above the diagonal serve their mirror images too. Tiles on it are evaluated with one tensor as both
    arguments, which a kernel function may take for x2 = None. Where memory runs out nevertheless the side is halved,
    for good, and the tile tried again.
    """

    def __init__(
        self, kernel: KernelFunction, x_train: Tensor, *, memory_limit: int | None = None, tiles_alive: int = 8
    ):
        """Chooses the side of the tiles.

        Args:
            kernel: symmetric function of two sets of inputs; that it is, is checked on the tiles of the diagonal.
            x_train: X, `(n, *shape)`.
            memory_limit: bytes that tiles may take; None takes `memory_limited`'s, or half of what is free.
            tiles_alive: float64 arrays of a tile's size that are held at once while `kernel` runs.

        Raises:
            ValueError: there are no samples.
            MemoryLimitError: the limit does not hold tiles of 8 × 8 samples.
        """
        x_train = real_tensor(x_train, "x_train")
        if x_train.dim() == 0 or len(x_train) == 0:
            raise ValueError(f"x_train is empty (shape {tuple(x_train.shape)}): a regression needs at least one sample")
        check_function("kernel", kernel, "`lambda x1, x2: x1 @ x2.T`")
        limit = (
            default_memory_limit(x_train.device)
            if memory_limit is None
            else checked_count("memory_limit", memory_limit)
        )
        side = math.isqrt(max(0, limit) // (8 * tiles_alive))
        if side < _SMALLEST_SIDE:
            needed = 8 * tiles_alive * _SMALLEST_SIDE**2
            raise MemoryLimitError(
                f"memory_limit is {limit} bytes, but {tiles_alive} tiles of {_SMALLEST_SIDE} × {_SMALLEST_SIDE} "
                f"samples take {needed}: raise it"
            )
        self.kernel, self.x_train = kernel, x_train
        self.side = max(1, min(side, _LARGEST_SIDE, len(x_train)))
        logger.info("kernel of %d samples in tiles of %d × %d", len(x_train), self.side, self.side)

    def __len__(self) -> int:
        """Samples n."""
        return len(self.x_train)

    def __call__(self, v: Tensor) -> Tensor:
        """K(X, X) v.

        Args:
            v: `(n, k)`.

        Returns:
            `(n, k)` in the precision of `v`, float64 for integers.

        Raises:
            ValueError: `v` has another shape; the kernel function is not symmetric, of half precision, or gives another
                shape than that of its pairs.
        """
        v = _in_floating_point(v, "v")
        if v.dim() != 2 or len(v) != len(self.x_train):
            raise ValueError(f"v has shape {tuple(v.shape)}, expected (n = {len(self.x_train)}, k)")
        return self._halving(lambda: self._product(v))

    def diagonal(self) -> Tensor:
        """Returns the diagonal of K(X, X), `(n,)`."""
        # Small blocks: only their diagonals are used.
        blocks = self.x_train.split(min(self.side, _SMALLEST_SIDE))
        return torch.cat([self._diagonal_tile(block).diagonal() for block in blocks])

    def columns(self, indices: Tensor) -> Tensor:
        """Some columns of K(X, X).

        Args:
            indices: samples, `(k,)`.

        Returns:
            `(n, k)`.
        """
        chosen = self.x_train[indices]

        def columns() -> Tensor:
            blocks = [
                torch.cat([self._tile(self.x_train[rows], part) for rows in self._blocks(len(self.x_train))])
                for part in chosen.split(self.side)
            ]
            return torch.cat(blocks, dim=1)

        return self._halving(columns)

    def predict(self, x_test: Tensor, coefficients: Tensor) -> Tensor:
        """f(x) = K(x, X) α.

        Args:
            x_test: x, `(n_test, *shape)`.
            coefficients: α, `(n, n_outputs)`.

        Returns:
            `(n_test, n_outputs)` in the precision of `coefficients`, float64 for integers.

        Raises:
            ValueError: test samples have another shape than training samples, or the kernel function gives another than
                that of its pairs.
        """
        coefficients = _in_floating_point(coefficients, "coefficients")
        x_test = real_tensor(x_test, "x_test").to(self.x_train.device)
        if x_test.shape[1:] != self.x_train.shape[1:]:
            raise ValueError(
                f"x_test has shape {tuple(x_test.shape)}, but x_train {tuple(self.x_train.shape)}: samples must have "
                "the same shape"
            )
        return self._halving(lambda: self._rectangle(x_test, coefficients))

    def _tile(self, x1: Tensor, x2: Tensor) -> Tensor:
        expected = (("n1", len(x1)), ("n2", len(x2)))  # what is of another shape would broadcast
        return checked_block("kernel(x1, x2)", self.kernel(x1, x2), expected, x1.device, dtype=None)

    def _diagonal_tile(self, block: Tensor) -> Tensor:
        # Tiles below the diagonal are never evaluated: a function that is not symmetric would solve another system.
        tile = self._tile(block, block)
        check_symmetric_pair(tile, tile)
        return tile

    def _blocks(self, n: int) -> Iterator[slice]:
        return (slice(start, min(start + self.side, n)) for start in range(0, n, self.side))

    def _product(self, v: Tensor) -> Tensor:
        total, n = torch.zeros_like(v), len(self.x_train)
        for rows in self._blocks(n):
            block = self.x_train[rows]
            total[rows] += self._diagonal_tile(block).to(v) @ v[rows]
            for columns in self._blocks(n):
                if columns.start > rows.start:
                    tile = self._tile(block, self.x_train[columns]).to(v)
                    total[rows] += tile @ v[columns]
                    total[columns] += tile.mT @ v[rows]
        return total

    def _rectangle(self, x_test: Tensor, coefficients: Tensor) -> Tensor:
        total = coefficients.new_zeros(len(x_test), coefficients.shape[1])
        for rows in self._blocks(len(x_test)):
            for columns in self._blocks(len(self.x_train)):
                tile = self._tile(x_test[rows], self.x_train[columns]).to(coefficients)
                total[rows] += tile @ coefficients[columns]
        return total

    def _halving(self, evaluate: Callable[[], Tensor]) -> Tensor:
        while True:
            try:
                return evaluate()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self.side <= _SMALLEST_SIDE:
                    raise
            self.side = max(_SMALLEST_SIDE, self.side // 2)
            logger.warning("out of memory: going on with tiles of %d × %d samples", self.side, self.side)


def _in_floating_point(v: Tensor, name: str) -> Tensor:
    # Sums of the kernel's entries would be rounded to the integers.
    v = real_tensor(v, name)
    return v if v.is_floating_point() else v.double()


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
