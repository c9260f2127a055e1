"""Tiles of infinite-width kernels: their size from a memory limit, and the loop over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ntk_atlas.kernels.errors import MemoryLimitError
from ntk_atlas.kernels.infinite.recursion import PreparedLayers, Sides
from ntk_atlas.memory import default_memory_limit
from ntk_atlas.numerics import in_turn_or_at_once, precise_math

_SIDE = {torch.float32: 384, torch.float64: 192}
_SMALLEST = 8
SLACK_BYTES = 2**20
"""What threads, allocators and small tensors take beside what is counted."""
_TILES_ALIVE = 9
"""Products, the NTK, two of scratch, up to three more inside a dual, and what a mirror image takes."""


@dataclass(frozen=True)
class Tiles:
    """How the pairs of two sets of samples are cut.

    Attributes:
        a: first inputs `(n1, n_inputs)`.
        b: second inputs.
        symmetric: whether both are the same.
        side: samples of a tile's rows and of its columns.
        panel: columns whose per-sample quantities are kept at once, a multiple of `side`.
        threads: tiles at a time.
    """

    a: Tensor
    b: Tensor
    symmetric: bool
    side: int
    panel: int
    threads: int

    def fill(self, results: Tensor, layers: PreparedLayers) -> Tensor:
        """Evaluates all tiles; if symmetric, those on and above the diagonal, then mirrored.

        Tiles are small for a thread pool of torch's own, so each thread takes whole rows of tiles.

        Args:
            results: `(2, n_depths, n1, n2)`, overwritten.
            layers: the recursion.

        Returns:
            Largest errors of T and Ṫ by quadrature, `(2, max(depths))`.
        """
        errors = [torch.zeros(2, len(layers.duals), dtype=torch.float64)]
        with precise_math(threads=1):
            for panel in _slices(0, len(self.b), self.panel):
                blocks = list(_slices(panel.start, panel.stop, self.side))
                sides = [layers.sides(block, results.dtype, second=True) for block in blocks]
                run = partial(self._row, results, layers, list(zip(blocks, sides, strict=True)))
                errors += in_turn_or_at_once(
                    run, _slices(0, panel.stop if self.symmetric else len(self.a), self.side), workers=self.threads
                )
        if self.symmetric:
            for position, depth in enumerate(layers.depths):
                results[:, position].diagonal(dim1=1, dim2=2).copy_(layers.diagonal(depth))
        return torch.stack(errors).amax(0)

    def _row(self, results: Tensor, layers: PreparedLayers, blocks: list[tuple[slice, Sides]], rows: slice) -> Tensor:
        # One row of tiles.
        buffers = self.a.new_empty(4, self.side**2)
        errors = torch.zeros(2, len(layers.duals), dtype=torch.float64)
        sides = layers.sides(rows, results.dtype, second=False)
        for columns, side in blocks:
            if not self.symmetric or columns.start > rows.start:
                self._tile(results, layers, (rows, columns), (sides, side), buffers, errors)
            elif columns.start == rows.start:
                middle = min(rows.start + self.side // 2, rows.stop)
                for part in (slice(rows.start, middle), slice(middle, rows.stop)):
                    rest = slice(part.start, rows.stop)
                    if part.start < part.stop:
                        pair = (
                            layers.sides(part, results.dtype, second=False),
                            layers.sides(rest, results.dtype, second=True),
                        )
                        self._tile(results, layers, (part, rest), pair, buffers, errors)
        return errors

    def _tile(
        self,
        results: Tensor,
        layers: PreparedLayers,
        where: tuple[slice, slice],
        sides: tuple[Sides, Sides],
        memory: Tensor,
        errors: Tensor,
    ) -> None:
        rows, columns = where
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        products, *buffers = (buffer[: shape[0] * shape[1]].view(shape) for buffer in memory)
        torch.mm(self.a[rows], self.b[columns].T, out=products)
        if self.symmetric and columns.start == rows.start:
            # These entries are known exactly and set in the end; 0 is where every dual is easy.
            products.diagonal().zero_()
        layers.tile(products, *sides, buffers, results[:, :, rows, columns], errors)
        if not self.symmetric:
            return
        if columns.start == rows.start:
            square = results[:, :, rows, rows]
            square.copy_(square.triu() + square.triu(1).mT)
            columns = slice(rows.stop, columns.stop)
        results[:, :, columns, rows] = results[:, :, rows, columns].mT


def plan_tiles(a: Tensor, b: Tensor, *, symmetric: bool, layers: PreparedLayers, memory_limit: int | None) -> Tiles:
    """Cuts the pairs so that result, inputs and buffers stay within a limit.

    Args:
        a: first inputs `(n1, n_inputs)`.
        b: second inputs.
        symmetric: whether both are the same.
        layers: the recursion.
        memory_limit: bytes; None for `memory.default_memory_limit`.

    Returns:
        The tiles.

    Raises:
        MemoryLimitError: if the result, or the result with the smallest tiles, does not fit.
    """
    side, threads = _SIDE[a.dtype], torch.get_num_threads() if a.device.type == "cpu" else 1
    memory_limit = default_memory_limit(a.device) if memory_limit is None else memory_limit
    size = a.element_size()
    result = 2 * len(layers.depths) * len(a) * len(b) * size
    # A copy in the kernels' precision, and for the norms one in float64.
    inputs = a.nbytes + (0 if symmetric else b.nbytes) + (0 if size == 8 else 8 * max(a.numel(), b.numel()))
    vectors = 8 * 4 * (len(layers.variances) + 1) * (len(a) + len(b)) + SLACK_BYTES
    fixed = sum(dual.fixed_bytes() for dual in layers.duals[-1:])
    a_sample = sum(dual.bytes_per_sample(size) for dual in layers.duals)
    left = memory_limit - result - inputs - vectors - fixed
    smallest = min(side, _SMALLEST)
    while True:
        for_panels = left - threads * (_TILES_ALIVE * side**2 * size + 3 * side * a_sample)
        panel = _whole(b, side) if a_sample == 0 else min(_whole(b, side), for_panels // a_sample // side * side)
        if for_panels >= 0 and panel > 0:
            return Tiles(a, b, symmetric, side, panel, threads)
        if threads > 1:
            threads -= 1
        elif side > smallest:
            side = max(side // 2, smallest)
        else:
            break
    beside = inputs + vectors + fixed + _TILES_ALIVE * smallest**2 * size + 4 * smallest * a_sample
    raise MemoryLimitError(
        f"infinite kernels of {len(a)} x {len(b)} samples at {len(layers.depths)} depths take {_mb(result)} for the "
        f"result and at least {_mb(beside)} beside it; memory_limit is {_mb(memory_limit)}: raise it, ask for fewer "
        "depths, use dtype=torch.float32, or compute blocks of samples"
    )


def _whole(b: Tensor, side: int) -> int:
    return -(-len(b) // side) * side


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


def _slices(start: int, stop: int, length: int) -> Iterator[slice]:
    for first in range(start, stop, length):
        yield slice(first, min(first + length, stop))
