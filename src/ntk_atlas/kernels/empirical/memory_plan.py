"""How an empirical NTK is cut to a memory limit: which layers together, how many samples a pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ntk_atlas.kernels.empirical.gram import Piece, workspace_numbers
from ntk_atlas.kernels.empirical.structure import Layer, NetworkStructure
from ntk_atlas.kernels.errors import MemoryLimitError

# A pass much larger than the caches gains nothing.
_PASS_BYTES = 24 * 2**20
# Convolutions gain from more samples at a time.
_PASS_BYTES_WITH_GRADIENTS = 40 * 2**20
_LARGEST_PASS = 2048
# Fewer samples a pass are not worth another thread.
_SMALLEST_SHARE = 64
# Gradients of one sample: a layer with more is divided, so that few samples are enough for a pass.
_LARGEST_PIECE = 8 * 2**20
# What allocators keep and small tensors take, beside what is counted.
_SLACK = 1.2
_FIXED_SLACK = 1.1
# Threads keep pieces of tens of MiB as chance has it: up to 0.18 of the estimate was seen beyond it.
_AMPLE = 0.75


@dataclass(frozen=True)
class PieceGroup:
    """Pieces whose factors are held together.

    Attributes:
        pieces: what is captured in one run over the samples.
        block: samples whose factors are held at a time; blocks of rows and columns then take turns.
    """

    pieces: tuple[Piece, ...]
    block: int


@dataclass(frozen=True)
class MemoryPlan:
    """What will be held, decided before the first block.

    Attributes:
        memory_limit: bytes that everything together may take, the result included.
        result_bytes: bytes of the result.
        samples_a_pass: samples in one forward and backward pass.
        workers: passes, or tiles, at a time.
        groups: of layers with factors or per-sample gradients.
        jacobian_bytes: what the Jacobians of all other parameters may take.
        peak_bytes: estimate of the largest total.
    """

    memory_limit: int
    result_bytes: int
    samples_a_pass: int
    workers: int
    groups: tuple[PieceGroup, ...]
    jacobian_bytes: int
    peak_bytes: int

    @property
    def is_ample(self) -> bool:
        """Whether what allocators keep of freed memory fits under the limit as well."""
        return self.peak_bytes <= _AMPLE * self.memory_limit


def mebibytes(size: float) -> str:
    """Returns a number of bytes for a message."""
    return f"{size / 2**20:.3g} MiB"


def plan_memory(
    structure: NetworkStructure,
    n1: int,
    n2: int | None,
    *,
    output_reduction: str,
    itemsize: int,
    memory_limit: int,
    workers: int = 1,
) -> MemoryPlan:
    """Chooses groups, blocks and passes.

    Layers are taken together as long as the factors of all samples fit; a layer whose per-sample gradients do not is
    divided by output channels, which costs further passes; only if that is not enough are samples taken in blocks,
    which costs passes for each pair of blocks.

    Args:
        structure: of the network.
        n1: samples along the rows.
        n2: samples along the columns; None if they are those of the rows.
        output_reduction: of the kernel.
        itemsize: bytes of a number.
        memory_limit: bytes, the result included.
        workers: passes at a time, if memory allows.

    Returns:
        The plan.

    Raises:
        MemoryLimitError: if the result, or a pass of a single sample beside it, does not fit.
    """
    sizes = _Sizes(structure, output_reduction, itemsize)
    samples = n1 + (n2 or 0)
    kept_outputs = structure.n_outputs if output_reduction == "full" else 1
    result = structure.n_members * n1 * (n1 if n2 is None else n2) * kept_outputs**2 * itemsize
    widest = max((structure.shapes[x.module].outputs for x in structure.layers if x.form == "factors"), default=0)
    tiles = itemsize * workspace_numbers(
        structure.n_members, kept_outputs, n1, n1 if n2 is None else n2, widest // structure.n_members
    )
    tiles *= workers
    fixed = int(_FIXED_SLACK * (result + tiles))
    available = int((memory_limit - fixed) / _SLACK)
    pass_bytes = sizes.of_pass()
    if available < 2 * pass_bytes and workers > 1:
        return plan_memory(
            structure, n1, n2, output_reduction=output_reduction, itemsize=itemsize, memory_limit=memory_limit
        )
    if available < 2 * pass_bytes:
        one = fixed - result + 2 * _SLACK * pass_bytes
        raise MemoryLimitError(
            f"memory_limit is {mebibytes(memory_limit)}, but the kernel takes {mebibytes(result)} and a pass of one "
            f"sample {mebibytes(one)} beside it: allow at least {mebibytes(1.01 * (result + one))}, or take the "
            "kernel of fewer samples"
        )
    # Threads have scratch memory of their own, and keep what they have freed.
    factor = 2 if workers > 1 else 1
    workers = min(workers, available // (8 * pass_bytes)) or 1
    largest = min(sizes.largest_pass(workers), available // (4 * factor * workers))
    a_pass = min(_LARGEST_PASS, samples, max(1, largest // pass_bytes))
    # Where one pass takes all samples, the threads of torch do better than threads of our own.
    if workers > 1 and a_pass < max(n1, n2 or 0):
        a_pass = min(a_pass, max(_SMALLEST_SHARE, math.ceil(samples / (2 * workers))))
    passes = factor * workers * a_pass * pass_bytes
    store = available - passes
    groups = _groups(sizes, structure.layers, samples, max(n1, n2 or 0), store)
    held = max((min(samples, 2 * g.block) * sum(map(sizes.of_piece, g.pieces)) for g in groups), default=0)
    if structure.others:
        jacobian = samples * structure.n_outputs * sum(p.numel() for p in structure.others.values()) * itemsize
        held = max(held, min(2 * jacobian, store))
    peak = fixed + int(_SLACK * (held + passes))
    return MemoryPlan(memory_limit, result, a_pass, workers, tuple(groups), store, peak)


def samples_a_pass(structure: NetworkStructure, memory_limit: int, sample_bytes: int) -> int:
    """Samples of a pass that holds `sample_bytes` a sample.

    Args:
        structure: of the network.
        memory_limit: bytes.
        sample_bytes: bytes of one sample.

    Returns:
        At least 1.

    Raises:
        MemoryLimitError: if one sample and two vectors of parameters do not fit.
    """
    left = (memory_limit - 2 * structure.parameter_bytes) / _SLACK
    if left < sample_bytes:
        needed = _SLACK * sample_bytes + 2 * structure.parameter_bytes
        raise MemoryLimitError(
            f"memory_limit is {mebibytes(memory_limit)}, a product with the kernel takes at least {mebibytes(needed)}"
        )
    return max(1, min(_LARGEST_PASS, int(min(_PASS_BYTES, left)) // max(1, sample_bytes)))


class _Sizes:
    """Bytes a sample."""

    def __init__(self, structure: NetworkStructure, output_reduction: str, itemsize: int):
        self._structure, self._itemsize = structure, itemsize
        self._n_signals = 1 if output_reduction == "logit_sum" else structure.n_outputs
        self._sums = output_reduction in ("trace", "mean")

    def of_piece(self, piece: Piece) -> int:
        """What the factors of a piece hold."""
        layer, shape = piece.layer, self._structure.shapes[piece.layer.module]
        if layer.form == "gradients":
            return self._itemsize * self._n_signals * _piece_parameters(piece)
        n_signals = self._n_signals
        if layer.module is self._structure.readout_module:
            n_signals = 0
        elif self._sums and layer.module is self._structure.last_hidden:
            n_signals = 1
        inputs = shape.inputs * layer.has_weight + self._structure.n_members * layer.has_bias
        return self._itemsize * (inputs + n_signals * shape.outputs)

    def largest_pass(self, workers: int) -> int:
        """What one of the passes that run at a time should not exceed."""
        by_gradients = any(layer.form == "gradients" for layer in self._structure.layers)
        return _PASS_BYTES_WITH_GRADIENTS if by_gradients else _PASS_BYTES // workers

    def largest_piece(self, layer: Layer) -> int:
        """What the gradients of one sample may take: `_LARGEST_PIECE`, or one output channel."""
        if not layer.can_be_divided:
            return self.of_piece(Piece(layer))
        return max(_LARGEST_PIECE, self.of_piece(Piece(layer, (0, 1))))

    def of_pass(self) -> int:
        """What a forward and backward pass holds: the graph, copies of inputs, gradients, signals at positions."""
        structure = self._structure
        shapes = list(structure.shapes.values())
        inputs = sum(shape.inputs for shape in shapes)
        widest = max((shape.outputs for shape in shapes), default=0)
        with_gradients = [layer for layer in structure.layers if layer.form == "gradients"]
        signals = sum(self._n_signals * structure.shapes[layer.module].outputs for layer in with_gradients)
        # One layer at a time: its padded input, its signals, both in the backend's own layout, its gradients.
        working = max(
            (
                6 * structure.shapes[layer.module].inputs
                + 3 * self._n_signals * structure.shapes[layer.module].outputs
                + 3 * min(self._n_signals * layer.n_parameters, self.largest_piece(layer) // self._itemsize)
                for layer in with_gradients
            ),
            default=0,
        )
        # A chain takes the signals of all outputs from layer to layer: those of one, and of the next.
        working = max(working, 2 * self._n_signals * widest if structure.chain else 0)
        gradients = self._n_signals * max((p.numel() for p in structure.others.values()), default=0)
        others = 3 * gradients if structure.others else 0
        return structure.graph_bytes + self._itemsize * (inputs + 4 * widest + signals + max(working, others))


def _groups(sizes: _Sizes, layers: Sequence[Layer], samples: int, longest: int, store: int) -> list[PieceGroup]:
    groups: list[PieceGroup] = []
    open_pieces: list[Piece] = []
    used = 0
    for piece in (piece for layer in layers for piece in _pieces(sizes, layer, samples, store)):
        size = sizes.of_piece(piece)
        if size * samples > store:
            block = store // (2 * size)
            if block == 0:
                raise MemoryLimitError(
                    f"the per-sample gradients of one channel of {piece.layer.module} take {mebibytes(size)} a "
                    f"sample, two of which do not fit into the {mebibytes(store)} that memory_limit leaves"
                )
            groups.append(PieceGroup((piece,), block))
            continue
        if used + size * samples > store:
            groups.append(PieceGroup(tuple(open_pieces), longest))
            open_pieces, used = [], 0
        open_pieces.append(piece)
        used += size * samples
    return groups + [PieceGroup(tuple(open_pieces), longest)] * bool(open_pieces)


def _pieces(sizes: _Sizes, layer: Layer, samples: int, store: int) -> list[Piece]:
    """The layer as a whole, or divided by output channels into parts of about equal size that fit."""
    if layer.form == "factors":
        return [Piece(layer)]
    channels = layer.out_features
    whole = Piece(layer, (0, channels))
    if not layer.can_be_divided:
        return [whole]
    size = sizes.of_piece(whole)
    parts = min(channels, max(math.ceil(size * samples / max(1, store)), math.ceil(size / sizes.largest_piece(layer))))
    bounds = [round(k * channels / parts) for k in range(parts + 1)]
    return [Piece(layer, pair) for pair in pairwise(bounds)]


def _piece_parameters(piece: Piece) -> int:
    if piece.channels is None or not piece.layer.can_be_divided:
        return piece.layer.n_parameters
    share = (piece.channels[1] - piece.channels[0]) / piece.layer.out_features
    return math.ceil(share * piece.layer.n_parameters)
