"""A kernel function evaluated tile by tile: products with a Gram matrix that is never held."""

import logging
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ntk_atlas.kernels.errors import MemoryLimitError
from ntk_atlas.memory import default_memory_limit, is_out_of_memory
from ntk_atlas.regression.arguments import check_function, check_symmetric_pair, checked_block, checked_count
from ntk_atlas.tensors import real_tensor

KernelFunction = Callable[[Tensor, Tensor], Tensor]
"""Inputs x1 `(n1, *shape)`, x2 `(n2, *shape)` → K(x1, x2), `(n1, n2)`."""

_LARGEST_SIDE = 2048
_SMALLEST_SIDE = 8

logger = logging.getLogger(__name__)


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
