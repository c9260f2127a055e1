"""What a layer gives to the NTK, as factors whose Gram matrices multiply: no Jacobian of an affine layer.

For z = w_f · x W + b_f · b, evaluated once per sample, ∂f_c/∂W = w_f · x ⊗ ∂f_c/∂z and ∂f_c/∂b = b_f · ∂f_c/∂z.
With inputs A = [w_f x, b_f] and signals B_c = ∂f_c/∂z the layer's part of the NTK is

    Θ_{cc'}(x, x') = (A(x) · A(x')) (B_c(x) · B_{c'}(x')).

A layer that meets a sample at many positions (convolution, normalization, a linear layer of tokens) has the
per-sample gradients B_c = ∂f_c/∂θ themselves as signals, and no inputs. Samples are independent, so one
backward pass through Σ_i f_c(x_i) gives ∂f_c/∂z of every sample; in a chain of layers and activations one matrix
product per layer gives the signals of all outputs (`capture`).

Gram matrices are evaluated tile by tile. Tiles are the outer loop and layers the inner one: what is alive beside the
factors and the result is two tiles in the processor's cache, not two (n, n) matrices per layer. A kernel of one set of
samples is evaluated in its upper triangle only and then mirrored, so it is symmetric to the last bit. Kernels here have
five axes, `(S, C, n1, C, n2)`: with outputs before samples, the tile of all pairs of outputs is one matrix product. A
kernel that is summed over outputs has C = 1.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntk_atlas.kernels.empirical.parts import Embedded, Part, product_gradients
from ntk_atlas.kernels.empirical.structure import Item, Layer, NetworkStructure
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.numerics import in_turn_or_at_once

OUTPUT_REDUCTIONS = ("full", "trace", "mean", "logit_sum")
# Rows and columns of a tile: 256 × 512 float32 numbers, twice, stay in a core's cache.
_ROWS, _COLUMNS = 256, 512
# To start threads takes as long as copying these.
_FEW_TILES = 8
# With all pairs of outputs in a tile, the elementwise work on short rows of samples costs more than the cache saves.
_ROWS_OF_PAIRS, _COLUMNS_OF_PAIRS = 640, 1280


@dataclass(frozen=True)
class LayerFactors:
    """Factors whose Gram matrices multiply, entry by entry, to a part of the NTK.

    Attributes:
        inputs: A, `(S or 1, n, k)`; None stands for ones.
        signals: B, `(S, n, C, m)`, or `(S, 1, C, m)` if they are equal for all samples. For sums over outputs
            C = 1, and the outputs lie along m.
    """

    inputs: Tensor | None
    signals: Tensor

    @property
    def n_samples(self) -> int:
        """Number of samples n."""
        return (self.signals if self.inputs is None else self.inputs).shape[1]


@dataclass(frozen=True)
class PositionFactors:
    """Inputs and signals of a part at all positions of each sample.

    Attributes:
        part: whose meetings are all products.
        inputs: what is kept of the inputs of each meeting, `(n, ...)`.
        signals: δ, `(n, T, C, o)`, positions of one meeting after those of another.
        by_channels: whether per-sample gradients of some output channels at a time are formed, rather than Gram
            matrices of all pairs of positions.
        workspace: bytes that may be held beside.
    """

    part: Part
    inputs: tuple[Tensor, ...]
    signals: Tensor
    by_channels: bool
    workspace: int

    @property
    def n_samples(self) -> int:
        """Number of samples n."""
        return len(self.signals)

    def unfolded(self, rows: slice) -> Tensor:
        """Inputs a of some samples, `(rows, T, i)`; ids `(rows, T)` of an embedding."""
        kept = [x[rows] for x in self.inputs]
        if self.is_embedding:
            return torch.cat(kept, 1)
        return torch.cat([p.unfolded(x) for p, x in zip(self.part.products, kept, strict=True)], 1)

    def once_unfolded(self) -> Callable[[slice], Tensor]:
        """Returns `unfolded`, or, where all samples' fit beside the rest, views of what it gives for all of them."""
        if self.is_embedding:
            return self.unfolded
        entries = self.signals.shape[0] * self.signals.shape[1] * self.part.products[0].fan_in
        if 2 * entries * self.signals.element_size() > self.workspace:
            return self.unfolded
        whole = self.unfolded(slice(None))
        return lambda rows: whole[rows]

    @property
    def is_embedding(self) -> bool:
        """Whether inputs are ids."""
        return isinstance(self.part.products[0], Embedded)


Factors = LayerFactors | PositionFactors


class FactorStore:
    """Factors of all samples, filled pass by pass.

    Attributes:
        items: layers and parts, each with its form.
        layers: those of the items that are layers.
        parts: those that are parts.
        shortcut: the last hidden layer, if it is wanted and its outputs are summed.
        recorded: layers to listen to.
        dtype: precision of the factors, that of the kernel.
        coefficients: of a chain: ∂f_c/∂z of its readout, `(S, C, m)`.
    """

    def __init__(
        self, structure: NetworkStructure, items: Sequence[Item], output_reduction: str, n: int, dtype: torch.dtype,
        workspace: int,
    ):  # fmt: skip
        self.structure, self.items, self.reduction, self.n = structure, items, output_reduction, n
        self.dtype, self.workspace = dtype, workspace
        self.layers = [item.of for item in items if isinstance(item.of, Layer)]
        self.parts = [item.of for item in items if isinstance(item.of, Part)]
        self.form = {item.of: item.form for item in items}
        self.modules: set[nn.Module] = {layer.module for layer in self.layers}
        sums = output_reduction in ("trace", "mean")
        self.shortcut = structure.last_hidden if sums and structure.last_hidden in self.modules else None
        self.recorded = {*self.layers, *structure.chain}
        if self.shortcut is not None and structure.readout is not None:
            self.recorded.add(structure.readout)
        self.coefficients: Tensor  # is set where there is a chain
        self._held: dict[object, Tensor] = {}
        self._allocation = threading.Lock()

    def held(self, key: object, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Returns where what is called `key` is kept, of all samples: (layer or part, what)."""
        with self._allocation:
            if key not in self._held:
                self._held[key] = like.new_empty(shape, dtype=dtype or self.dtype)
            return self._held[key]

    def results(self) -> list[Factors]:
        """Returns the factors of all items."""
        found: list[Factors] = []
        for item in self.items:
            signals = self._held[item.of, "signals"]
            if isinstance(item.of, Part) and item.form in ("positions", "channels"):
                inputs = tuple(self._held[item.of, k] for k in range(len(item.of.meetings)))
                found.append(PositionFactors(item.of, inputs, signals, item.form == "channels", self.workspace))
                continue
            if self.reduction != "full":
                signals = signals.flatten(2).unsqueeze(2)
            if isinstance(item.of, Part) and item.of.scale != 1.0:
                signals *= item.of.scale
            found.append(LayerFactors(self._held.get((item.of, "inputs")), signals))
        return found


def check_output_reduction(output_reduction: str) -> None:
    """Checks the name of a reduction.

    Raises:
        KernelInputError: if it is none of `OUTPUT_REDUCTIONS`.
    """
    if output_reduction not in OUTPUT_REDUCTIONS:
        raise KernelInputError(
            f"unknown output_reduction {output_reduction!r}: choose one of {', '.join(OUTPUT_REDUCTIONS)}"
        )


def tile_shape(n_outputs: int, n: int | None = None) -> tuple[int, int]:
    """Samples along the rows and columns of a tile of `n_outputs` outputs (1 if they are summed).

    A small square of n samples gets flatter tiles, since half of each tile on the diagonal is evaluated in vain.
    """
    if n_outputs > 1:
        return max(1, _ROWS_OF_PAIRS // n_outputs), max(1, _COLUMNS_OF_PAIRS // n_outputs)
    return _ROWS if n is None else min(_ROWS, max(_ROWS // 4, n // 8)), _COLUMNS


def workspace_numbers(members: int, n_outputs: int, n1: int, n2: int, widest: int) -> int:
    """Numbers held beside factors and kernel while a tile is evaluated: two products, and signals rearranged.

    Args:
        members: networks in the stack.
        n_outputs: C.
        n1: samples along the rows.
        n2: samples along the columns.
        widest: largest number m of signals of a layer with inputs.

    Returns:
        The number, an upper bound.
    """
    rows, columns = tile_shape(n_outputs)
    rows, columns = min(rows, n1), min(columns, n2)
    together = min(members, max(1, _ROWS * _COLUMNS // (rows * columns * n_outputs**2)))
    rearranged = (rows + columns) * n_outputs * widest if n_outputs > 1 else 0
    return together * (2 * rows * columns * n_outputs**2 + rearranged)


def add_gram(
    kernel: Tensor,
    left: Sequence[Factors],
    right: Sequence[Factors],
    *,
    upper: bool = False,
    scale: float = 1.0,
    workers: int | None = None,
) -> None:
    """Adds the Gram matrix of the factors to `kernel`, in place.

    Args:
        kernel: `(S, C, n1, C, n2)`.
        left: the factors of n1 samples.
        right: the factors of n2 samples, layer by layer as `left`.
        upper: whether to leave out tiles strictly below the diagonal (n1 = n2).
        scale: factor of what is added.
        workers: tiles at a time; None takes the threads that are set.
    """
    members, n_outputs = kernel.shape[:2]
    for a, b in zip(left, right, strict=True):
        if isinstance(a, PositionFactors) and isinstance(b, PositionFactors):
            _add_positions(kernel, a, b, upper=upper, scale=scale * a.part.scale**2, workers=workers)
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if isinstance(a, LayerFactors)]
    factors = [(a, b) for a, b in pairs if isinstance(b, LayerFactors)]
    if not factors:
        return
    rows, columns = tile_shape(n_outputs, kernel.shape[2] if upper else None)
    # Narrow stacks share a tile's product; wide ones would push each other out of the cache.
    together = max(1, _ROWS * _COLUMNS // (min(rows, kernel.shape[2]) * min(columns, kernel.shape[4]) * n_outputs**2))
    tiles = list(_tiles(kernel.shape[2], kernel.shape[4], rows, columns, upper))
    workspaces = threading.local()

    def add_tile(part: Tensor, terms: Sequence[_Term], i: slice, j: slice) -> None:
        if not hasattr(workspaces, "own"):
            workspaces.own = _Workspace(kernel)
        for term in terms:
            term.add_to(part[:, :, i, :, j], i, j, workspaces.own, scale)

    for start in range(0, members, together):
        stack = slice(start, start + together)
        part, terms = kernel[stack], [_Term.of(a, b, stack) for a, b in factors]
        work = [(part, terms, i, j) for i, j in tiles]
        in_turn_or_at_once(add_tile, *zip(*work, strict=True), workers=workers or _workers(kernel, len(tiles)))


def _add_positions(
    kernel: Tensor, a: PositionFactors, b: PositionFactors, *, upper: bool, scale: float, workers: int | None
) -> None:
    """Adds Σ_tt' (a_t · a'_t') (δ_ct · δ'_c't') of one part, for all pairs or on and above the diagonal."""
    if a.by_channels:
        for left, right in _gradients_by_channels(a, b, summed=kernel.shape[1] == 1):
            add_gram(kernel, [left], [right], upper=upper, scale=scale, workers=workers)
        return
    n1, n2, t = kernel.shape[2], kernel.shape[4], a.signals.shape[1]
    rows, columns = max(1, _ROWS // t), max(1, _COLUMNS // t)
    summed = kernel.shape[1] == 1
    of_rows = a.once_unfolded()
    of_columns = of_rows if a is b else b.once_unfolded()

    def add_tiles(i: slice, several: Sequence[slice]) -> None:
        inputs, signals = of_rows(i), a.signals[i]
        for j in several:
            others, other_signals = of_columns(j), b.signals[j]
            if a.is_embedding:
                same = (inputs.flatten()[:, None] == others.flatten()[None]) & (inputs >= 0).flatten()[:, None]
                products = same.to(kernel.dtype)
            else:
                products = inputs.flatten(0, 1) @ others.flatten(0, 1).mT
            if summed:
                pair = signals.flatten(2).flatten(0, 1) @ other_signals.flatten(2).flatten(0, 1).mT
                kernel[0, 0, i, 0, j] += scale * _sum_of_positions(pair.mul_(products), t)
                continue
            for c in range(kernel.shape[1]):
                for d in range(kernel.shape[3]):
                    pair = signals[:, :, c].flatten(0, 1) @ other_signals[:, :, d].flatten(0, 1).mT
                    kernel[0, c, i, d, j] += scale * _sum_of_positions(pair.mul_(products), t)

    lines: dict[int, tuple[slice, list[slice]]] = {}
    for i, j in _tiles(n1, n2, rows, columns, upper):
        lines.setdefault(i.start, (i, []))[1].append(j)
    in_turn_or_at_once(add_tiles, *zip(*lines.values(), strict=True), workers=workers or _workers(kernel, len(lines)))


def _sum_of_positions(pairs: Tensor, t: int) -> Tensor:
    """Sums of t × t blocks."""
    sums: Tensor = pairs.unflatten(1, (-1, t)).sum(2).unflatten(0, (-1, t)).sum(1)
    return sums


def _gradients_by_channels(
    a: PositionFactors, b: PositionFactors, *, summed: bool
) -> Iterator[tuple[LayerFactors, LayerFactors]]:
    """Per-sample gradients of both sides, of as many output channels (and inputs) at a time as `workspace` holds."""
    c, fan_out = a.signals.shape[2:]
    fan_in = a.part.products[0].fan_in
    n = a.n_samples + (0 if a is b else b.n_samples)
    numbers = max(1, a.workspace // (2 * a.signals.element_size() * n * c))
    width = min(fan_out, max(1, numbers // fan_in))
    depth = min(fan_in, max(1, numbers // width))
    # Memory that is asked for anew costs about as much as the products that fill it.
    buffers = [x.signals.new_empty(x.n_samples * c * width * depth) for x in ((a,) if a is b else (a, b))]
    for first in range(0, fan_out, width):
        for start in range(0, fan_in, depth):
            chosen = slice(first, min(first + width, fan_out)), slice(start, min(start + depth, fan_in))
            left = _gradients_of_channels(a, *chosen, buffers[0], summed=summed)
            yield left, left if a is b else _gradients_of_channels(b, *chosen, buffers[1], summed=summed)


def _gradients_of_channels(
    factors: PositionFactors, outputs: slice, inputs: slice, buffer: Tensor, *, summed: bool
) -> LayerFactors:
    signals = factors.signals[..., outputs]
    n, t, c, o = signals.shape
    gradients = buffer[: n * c * o * (inputs.stop - inputs.start)].view(n, c, o, -1)
    # Windows are larger than what they are made of: some samples at a time.
    step = max(1, factors.workspace // (4 * signals.element_size() * t * factors.part.products[0].fan_in))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        product_gradients(factors.unfolded(rows)[..., inputs], signals[rows], gradients[rows])
    return LayerFactors(None, gradients.flatten(1 if summed else 2).view(1, n, 1 if summed else c, -1))


def mirror_upper(kernel: Tensor, *, workers: int = 1) -> None:
    """Overwrites what is below the diagonal with what is above it, in place.

    Args:
        kernel: `(S, C, n, C, n)`, filled for all pairs of outputs where the first sample does not come after the
            second; the pair (sample, output) counts as one index.
        workers: tiles at a time.
    """
    rows, _ = tile_shape(kernel.shape[1])

    def mirror(i: slice, j: slice) -> None:
        tile = kernel[:, :, i, :, j]
        if i == j:
            # The sample counts before the output: that triangle is what has been evaluated, whatever the tiles were.
            flat = tile.permute(0, 2, 1, 4, 3).flatten(3, 4).flatten(1, 2)
            flat = flat.triu() + flat.triu(1).mT
            tile.copy_(flat.view(len(tile), *tile.permute(0, 2, 1, 4, 3).shape[1:]).permute(0, 2, 1, 4, 3))
        else:
            kernel[:, :, j, :, i] = tile.permute(0, 3, 4, 1, 2)

    tiles = list(_tiles(kernel.shape[2], kernel.shape[2], rows, rows, upper=True))
    in_turn_or_at_once(mirror, *zip(*tiles, strict=True), workers=workers if len(tiles) > _FEW_TILES else 1)


class _Workspace:
    """Two buffers that all tiles use: allocating them anew costs more than filling them."""

    def __init__(self, like: Tensor):
        self._like = like
        self._buffers: dict[str, Tensor] = {}

    def product(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Returns A Bᵀ, `(S, r, c)`, in the buffer called `name`."""
        shape = (max(a.shape[0], b.shape[0]), a.shape[1], b.shape[1])
        size = shape[0] * shape[1] * shape[2]
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self._like.new_empty(size)
        out = self._buffers[name][:size].view(shape)
        if shape[0] == 1:
            torch.mm(a[0], b[0].mT, out=out[0])
        else:
            torch.bmm(a.expand(shape[0], -1, -1), b.expand(shape[0], -1, -1).mT, out=out)
        return out


@dataclass(frozen=True)
class _Term:
    """What one layer adds, for the members of one part of the stack.

    Attributes:
        left: factors of the rows.
        right: factors of the columns.
        constant: where signals are equal for all samples, (c, c', B_c · B_c') of the pairs of outputs that have any.
    """

    left: LayerFactors
    right: LayerFactors
    constant: tuple[tuple[int, int, Tensor], ...] | None

    @classmethod
    def of(cls, a: LayerFactors, b: LayerFactors, stack: slice) -> "_Term":
        left, right = _members(a, stack), _members(b, stack)
        if a.inputs is None or a.signals.shape[1] > 1 or b.signals.shape[1] > 1:
            return cls(left, right, None)
        signals = left.signals[:, 0] @ right.signals[:, 0].mT
        pairs = (signals != 0).any(0).nonzero().tolist()
        return cls(left, right, tuple((c, d, signals[:, c, d, None, None]) for c, d in pairs))

    def add_to(self, tile: Tensor, i: slice, j: slice, workspace: _Workspace, scale: float) -> None:
        """Adds to the tile of rows i and columns j."""
        a, b = self.left, self.right
        if a.inputs is None or b.inputs is None:
            # Gradients are long: they stay where they are, one product a pair of outputs.
            for c in range(tile.shape[1]):
                for d in range(tile.shape[3]):
                    for member, (rows, columns) in enumerate(zip(a.signals[:, i, c], b.signals[:, j, d], strict=True)):
                        tile[member, c, :, d].addmm_(rows, columns.mT, alpha=scale)
            return
        if self.constant is not None:
            inputs = workspace.product("inputs", a.inputs[:, i], b.inputs[:, j])
            for c, d, weight in self.constant:
                tile[:, c, :, d].addcmul_(inputs, weight, value=scale)
            return
        # (S, n, C, m) → (S, C·n, m): outputs before samples, as in the kernel.
        left, right = (s.transpose(1, 2).flatten(1, 2) for s in (a.signals[:, i], b.signals[:, j]))
        signals = workspace.product("signals", left, right).view(tile.shape)
        inputs = workspace.product("inputs", a.inputs[:, i], b.inputs[:, j])
        tile.addcmul_(signals, inputs[:, None, :, None, :], value=scale)


def _workers(kernel: Tensor, n_tiles: int) -> int:
    # A tile is too small for the threads of torch: waking them takes as long as the product.
    return torch.get_num_threads() if kernel.device.type == "cpu" and n_tiles > 1 else 1


def _members(factors: LayerFactors, stack: slice) -> LayerFactors:
    inputs = factors.inputs
    if inputs is not None and inputs.shape[0] > 1:
        inputs = inputs[stack]
    return LayerFactors(inputs, factors.signals[stack])


def _tiles(n1: int, n2: int, rows: int, columns: int, upper: bool) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each tile."""
    for i in range(0, n1, rows):
        for j in range(i if upper else 0, n2, columns):
            yield slice(i, min(i + rows, n1)), slice(j, min(j + columns, n2))
