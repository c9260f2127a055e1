"""How an empirical NTK is evaluated: the form of each part, which of them together, how many samples a pass.

Three forms give the same numbers of a part with T positions a sample, i inputs and o outputs of its product. Of n1 × n2
pairs of samples and C outputs, with E = C pairs of outputs for sums over outputs and E = C² for the full kernel,

* per-sample gradients and one product take  2 (n1 + n2) C T i o + 2 n1 n2 E i o  operations,
* Gram matrices of all pairs of positions    2 n1 n2 T² (i + E o), and a product and a sum an entry.

The cheaper one is taken. Gradients are formed in the passes, and kept, where they are few beside inputs and signals;
else inputs and signals are kept, and gradients are formed for some output channels at a time: never for all of a large
layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ntk_atlas.kernels.empirical.gram import workspace_numbers
from ntk_atlas.kernels.empirical.parts import Embedded, Matrix, Part, Product, Rule, TransposedConvolution
from ntk_atlas.kernels.empirical.structure import Form, Item, NetworkStructure
from ntk_atlas.kernels.errors import MemoryLimitError

# A pass much larger than the caches gains nothing.
_PASS_BYTES = 24 * 2**20
# Operations on each node of a graph take their time whatever the size.
_PASS_BYTES_WITH_PARTS = 160 * 2**20
_LARGEST_PASS = 2048
# Fewer samples a pass are not worth another thread.
_SMALLEST_SHARE = 64
# To multiply and sum an entry of a Gram matrix of positions takes as long as these operations of a product.
_OPERATIONS_AN_ENTRY = 24
# Gradients of some channels at a time, and windows of some samples.
_WORKSPACE = 96 * 2**20
# What allocators keep and small tensors take, beside what is counted.
_SLACK = 1.2
_FIXED_SLACK = 1.1
# Threads keep pieces of tens of MiB as chance has it: up to 0.18 of the estimate was seen beyond it.
_AMPLE = 0.75


@dataclass(frozen=True)
class Group:
    """Layers and parts whose factors are held together.

    Attributes:
        items: what is captured in one run over the samples.
        block: samples whose factors are held at a time; blocks of rows and columns then take turns.
    """

    items: tuple[Item, ...]
    block: int


@dataclass(frozen=True)
class MemoryPlan:
    """What will be held, decided before the first block.

    Attributes:
        memory_limit: bytes that everything together may take, the result included.
        result_bytes: bytes of the result.
        samples_a_pass: samples in one forward and backward pass.
        workers: passes, or tiles, at a time.
        groups: of layers and parts.
        workspace: bytes for gradients of some channels at a time.
        jacobian_bytes: what the Jacobians of all other parameters may take.
        peak_bytes: estimate of the largest total.
    """

    memory_limit: int
    result_bytes: int
    samples_a_pass: int
    workers: int
    groups: tuple[Group, ...]
    workspace: int
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

    Layers and parts are taken together as long as the factors of all samples fit, else one group after another, each
    with passes of its own; only if those of one do not fit are samples taken in blocks, which costs passes for each
    pair of blocks.

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
    widest = max((structure.shapes[x.module].outputs for x in structure.layers), default=0)
    tiles = itemsize * workspace_numbers(
        structure.n_members, kept_outputs, n1, n1 if n2 is None else n2, widest // structure.n_members
    )
    tiles *= workers
    fixed = int(_FIXED_SLACK * (result + tiles))
    items = [Item(layer) for layer in structure.layers]
    items += [Item(part, sizes.form(part, n1, n2, kept_outputs)) for part in structure.parts]
    pass_bytes = sizes.of_pass(items)
    available = int((memory_limit - fixed) / _SLACK)
    most = 2 * samples * max(map(sizes.formed_later, items), default=0)
    workspace = min(_WORKSPACE, most, max(0, available - 2 * pass_bytes) // 8)
    available -= workspace
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
    groups = _groups(sizes, items, samples, max(n1, n2 or 0), store)
    held = max((min(samples, 2 * g.block) * sum(map(sizes.of_item, g.items)) for g in groups), default=0)
    if structure.others:
        jacobian = samples * structure.n_outputs * sum(p.numel() for p in structure.others.values()) * itemsize
        held = max(held, min(2 * jacobian, store))
    peak = fixed + int(_SLACK * (held + max(passes, workspace)))
    return MemoryPlan(memory_limit, result, a_pass, workers, tuple(groups), workspace, store, peak)


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

    def of_item(self, item: Item) -> int:
        """What the factors of a layer or part hold."""
        if isinstance(item.of, Part):
            if item.form == "gradients":
                return self._itemsize * self._n_signals * item.of.n_parameters
            return self._itemsize * self._of_positions(item.of)
        layer, shape = item.of, self._structure.shapes[item.of.module]
        n_signals = self._n_signals
        if layer.module is self._structure.readout_module:
            n_signals = 0
        elif self._sums and layer.module is self._structure.last_hidden:
            n_signals = 1
        inputs = shape.inputs * layer.has_weight + self._structure.n_members * layer.has_bias
        return self._itemsize * (inputs + n_signals * shape.outputs)

    def formed_later(self, item: Item) -> int:
        """What a sample's gradients of all channels would hold, or the windows of its inputs."""
        if not isinstance(item.of, Part) or item.form == "gradients":
            return 0
        windows = item.of.positions * item.of.products[0].fan_in
        gradients = self._n_signals * item.of.n_parameters if item.form == "channels" else 0
        return self._itemsize * max(windows, gradients)

    def _of_positions(self, part: Part) -> int:
        return part.n_inputs + self._n_signals * part.positions * part.products[0].fan_out

    def form(self, part: Part, n1: int, n2: int | None, kept_outputs: int) -> Form:
        """The form that takes least time, and the one that holds least of those."""
        if not part.products:
            return "gradients"
        samples, pairs = (n1, n1 * n1 / 2) if n2 is None else (n1 + n2, n1 * n2)
        c, t, rule = self._n_signals, part.positions, part.products[0]
        ids = isinstance(rule, Embedded)
        of_pairs = c if kept_outputs == 1 else c * c
        positions = t * t * pairs * (
            2 * (0 if ids else rule.fan_in) + 2 * of_pairs * rule.fan_out
            + _OPERATIONS_AN_ENTRY * (1 if kept_outputs == 1 else of_pairs)
        )  # fmt: skip
        formed = 2 * c * samples * (rule.fan_out * t if ids else t * rule.fan_in * rule.fan_out)
        gradients = formed + 2 * pairs * of_pairs * part.n_parameters
        if positions < gradients:
            return "positions"
        # A convolution of many positions is quicker than products with its windows.
        fewer = c * part.n_parameters * (1 if isinstance(rule, Matrix) else 0.5) <= self._of_positions(part)
        if ids or fewer:
            return "gradients"
        return "channels"

    def largest_pass(self, workers: int) -> int:
        """What one of the passes that run at a time should not exceed."""
        return _PASS_BYTES_WITH_PARTS if self._structure.parts else _PASS_BYTES // workers

    def of_pass(self, items: Sequence[Item]) -> int:
        """What a forward and backward pass holds: the graph, copies of inputs, gradients, signals at positions."""
        structure = self._structure
        shapes = list(structure.shapes.values())
        inputs = sum(shape.inputs for shape in shapes)
        widest = max((shape.outputs for shape in shapes), default=0)
        of_parts = [(item.of, item.form) for item in items if isinstance(item.of, Part)]
        # Signals of one output at all meetings; of all outputs where gradients are formed of them.
        signals = sum(
            _signals_at(m.rule) * (self._n_signals if form == "gradients" and part.products else 1)
            for part, form in of_parts for m in part.meetings
        )  # fmt: skip
        # One part at a time: its signals in the layout of the product, its input or windows, its gradients.
        working = max(
            (
                3 * part.n_inputs + 2 * self._n_signals * part.positions * part.products[0].fan_out
                + 2 * self._n_signals * part.n_parameters
                for part, form in of_parts if form == "gradients" and part.products
            ),
            default=0,
        )  # fmt: skip
        # A chain takes the signals of all outputs from layer to layer: those of one, and of the next.
        working = max(working, 2 * self._n_signals * widest if structure.chain else 0)
        gradients = self._n_signals * max((p.numel() for p in structure.others.values()), default=0)
        others = 3 * gradients if structure.others else 0
        held = structure.graph_bytes + self._itemsize * (inputs + 4 * widest + signals + max(working, others))
        return max(1, held)


def _signals_at(rule: Rule) -> int:
    """Entries of a sample's signals where a parameter meets it."""
    if isinstance(rule, TransposedConvolution):
        return rule.positions * rule.fan_out
    return rule.positions * rule.fan_out if isinstance(rule, Product) else 0


def _groups(sizes: _Sizes, items: Sequence[Item], samples: int, longest: int, store: int) -> list[Group]:
    groups: list[Group] = []
    together: list[Item] = []
    used = 0
    for item in items:
        size = sizes.of_item(item)
        if size * samples > store:
            block = store // (2 * size)
            if block == 0:
                what = ", ".join(item.of.parameters) if isinstance(item.of, Part) else str(item.of.module)
                raise MemoryLimitError(
                    f"what the kernel needs of {what} takes {mebibytes(size)} a sample, two of which do not fit into "
                    f"the {mebibytes(store)} that memory_limit leaves"
                )
            groups.append(Group((item,), block))
            continue
        if used + size * samples > store:
            groups.append(Group(tuple(together), longest))
            together, used = [], 0
        together.append(item)
        used += size * samples
    return groups + [Group(tuple(together), longest)] * bool(together)
