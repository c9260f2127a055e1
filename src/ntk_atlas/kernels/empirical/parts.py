r"""Where parameters meet samples in the graph of a network's outputs, and what each meeting gives to the kernel.

A forward pass leaves a graph of operations. Tensors that samples pass through have an axis that grows with their
number; parameters, and what is made of parameters alone (a transposed weight, a normalized one), have none. An edge
from the first kind to the second is a *meeting*. With z the output of the operation at the meeting and the signals
δ_c = ∂f_c/∂z of one sample at positions t, the gradients of that sample are

* product with a matrix, z_t = a_t W:  ∂f_c/∂W = Σ_t a_t δ_ctᵀ; convolutions are products with windows a_t,
                                       embeddings with the unit vectors of their ids;
* sum over positions:                  ∂f_c/∂b = Σ_t δ_ct for a bias, Σ_t δ_ct ∘ x̂_t for the scale of a norm.

All samples share one forward pass and one backward pass an output: samples are independent, so that a backward pass
through Σ_i f_c(x_i) gives the signals of each. A parameter that meets samples several times (tied weights, steps of a
recurrent network) has the sum over its meetings: for products, further positions. Where a tensor made of parameters is
more than a view of one, gradients are taken back to the parameters through its own graph.

The axis of samples is found, not known: of two runs, with two and with three samples, it is the axis whose size grows,
and signals of one sample's outputs say whether samples are its slow or its fast index.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from ntk_atlas.kernels.empirical.convolution_gradients import Windows, convolution_weight_gradients
from ntk_atlas.kernels.empirical.network_checks import graph_nodes
from ntk_atlas.networks.running import without_symmetry

# Operations whose result has each entry of a parameter once: gradients of one are gradients of the other, reordered.
_VIEWS = {f"{name}Backward0" for name in (
    "T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze", "Select", "Slice",
    "Unbind", "Split", "SplitWithSizes", "Clone", "Alias",
)} | {"SqueezeBackward1", "SqueezeBackward2", "TransposeBackward1"}  # fmt: skip


@dataclass(frozen=True)
class SampleAxis:
    """Where samples are in the output of an operation, alone on an axis or between other indices.

    Attributes:
        axis: the axis, of size `outer · n · inner`.
        outer: values of the index slower than samples.
        inner: values of the index faster than samples.
    """

    axis: int
    outer: int
    inner: int

    def first(self, t: Tensor) -> Tensor:
        """Returns `(n, *axes before, outer, inner, *axes after)`."""
        split: Tensor = t.unflatten(self.axis, (self.outer, -1, self.inner))
        return split.movedim(self.axis + 1, 0)

    def rows(self, t: Tensor) -> Tensor:
        """Returns `(n, positions, features)`: all axes but that of samples and the last are positions."""
        return self.first(t).flatten(1, -2)

    def images(self, t: Tensor) -> Tensor:
        """Returns `(n · positions, channels, *size)` of `(outer · n · inner, channels, *size)`, samples slowest."""
        return t if self.outer == 1 else self.first(t).flatten(0, 2)


class Rule(ABC):
    """What an operation gives to a tensor that it meets without samples, the anchor."""

    @abstractmethod
    def gradients(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """Per-sample gradients with respect to the anchor.

        Args:
            node: the operation in the graph of a pass.
            axis: of samples in its output.
            signals: gradients of each of C outputs with respect to its output.
            dtype: of the result.

        Returns:
            `(n, C, P)`, P the entries of the anchor in their order.
        """


@dataclass(frozen=True)
class Summed(Rule):
    """Gradients are signals, or products of signals with numbers of the forward pass, summed to the anchor's shape.

    Attributes:
        factor: numbers of the forward pass that multiply the signals, from the node; None for ones.
        shape: of the anchor.
        channel: axis of the output along which the anchor lies; None where it is broadcast by the rules of arrays.
    """

    factor: Callable[[Any], Tensor | float] | None
    shape: tuple[int, ...]
    channel: int | None = None

    def factor_of(self, node: Any) -> Tensor | float | None:
        """Numbers of the forward pass at a node, the same for all outputs."""
        return None if self.factor is None else self.factor(node)

    def gradients(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """See `Rule.gradients`."""
        return self.summed(axis, signals, dtype, self.factor_of(node))

    def summed(
        self, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype, factor: Tensor | float | None
    ) -> Tensor:
        """Returns `gradients`, given `factor_of` their node."""
        parts = []
        for signal in signals:
            values = (signal if factor is None else signal * factor).to(dtype)
            if (axis.outer, axis.inner) == (1, 1):
                values = values.movedim(axis.axis, 0).unsqueeze(axis.axis + 1)
            else:
                values = axis.first(values).sum((axis.axis + 1, axis.axis + 2)).unsqueeze(axis.axis + 1)
            if self.channel is not None:
                values = values.movedim(self.channel + 1, -1)
            values = values.sum_to_size(len(values), *[1] * (values.dim() - 1 - len(self.shape)), *self.shape)
            parts.append(values.reshape(len(values), -1))
        return torch.stack(parts, 1)


@dataclass(frozen=True)
class Product(Rule):
    """z_t = a_t W: inputs a_t and signals δ_t at positions t are all that a gradient needs.

    Attributes:
        fan_in: entries i of a_t.
        fan_out: entries o of δ_ct.
        positions: T, a sample.
    """

    fan_in: int
    fan_out: int
    positions: int

    @property
    def n_inputs(self) -> int:
        """Numbers of a sample that are kept for its inputs."""
        return self.positions * self.fan_in

    @property
    def by_columns(self) -> bool:
        """Whether the anchor is Σ_t a_t δ_tᵀ, rather than its transpose."""
        return False

    @abstractmethod
    def inputs(self, node: Any, axis: SampleAxis) -> Tensor:
        """What is kept of the inputs, `(n, ...)`."""

    @abstractmethod
    def signals(self, axis: SampleAxis, signal: Tensor) -> Tensor:
        """δ of one output, `(n, T, o)`."""

    def unfolded(self, inputs: Tensor) -> Tensor:
        """A of what is kept, `(n, T, i)`."""
        return inputs

    def gradients(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """See `Rule.gradients`."""
        a = self.unfolded(self.inputs(node, axis).to(dtype))
        deltas = torch.stack([self.signals(axis, s) for s in signals], 2).to(dtype)
        found = product_gradients(a, deltas)
        return (found.mT if self.by_columns else found).flatten(2)


def product_gradients(a: Tensor, deltas: Tensor, out: Tensor | None = None) -> Tensor:
    """Σ_t δ_ct a_tᵀ, `(n, C, o, i)`, of a `(n, T, i)` and δ `(n, T, C, o)`; in `out` if that is given."""
    flat = None if out is None else out.view(len(a), -1, a.shape[2])
    return torch.bmm(deltas.flatten(2).mT, a, out=flat).view(len(a), *deltas.shape[2:], a.shape[2])


@dataclass(frozen=True)
class Matrix(Product):
    """Rows of samples times a matrix, the anchor `(i, o)`; or, from the left, an anchor `(o, i)` times columns.

    Attributes:
        saved: where the operation keeps the samples.
        from_left: which of the two it is.
        alpha: a factor of the product.
    """

    saved: str
    from_left: bool = False
    alpha: float = 1.0

    @property
    def by_columns(self) -> bool:
        """See `Product.by_columns`."""
        return not self.from_left

    def inputs(self, node: Any, axis: SampleAxis) -> Tensor:
        """See `Product.inputs`."""
        a = getattr(node, self.saved)
        return axis.rows(a) if not self.from_left else SampleAxis(0, axis.outer, axis.inner).rows(a.mT)

    def signals(self, axis: SampleAxis, signal: Tensor) -> Tensor:
        """See `Product.signals`."""
        if self.from_left:
            signal, axis = signal.mT, SampleAxis(0, axis.outer, axis.inner)
        rows = axis.rows(signal)
        return rows if self.alpha == 1.0 else self.alpha * rows


@dataclass(frozen=True)
class Convolution(Product):
    """A convolution of one to three dimensions; the anchor is its weight `(o, i / groups, *size)`.

    Attributes:
        size: of the kernel.
        stride: from window to window.
        padding: zeros on both sides.
        dilation: of the kernel.
        groups: of channels; more than one have no positions that all channels share.
        image: channels and size of its input.
        images: of a sample.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    image: tuple[int, ...]
    images: int

    @property
    def n_inputs(self) -> int:
        """See `Product.n_inputs`."""
        return self.images * math.prod(self.image)

    def inputs(self, node: Any, axis: SampleAxis) -> Tensor:
        """See `Product.inputs`."""
        images = axis.images(node._saved_input)
        return images.reshape(-1, self.images, *images.shape[1:])

    def signals(self, axis: SampleAxis, signal: Tensor) -> Tensor:
        """See `Product.signals`."""
        images = axis.images(signal).flatten(2).mT
        return images.reshape(-1, self.positions, images.shape[2])

    def unfolded(self, inputs: Tensor) -> Tensor:
        """See `Product.unfolded`."""
        return windows_of(inputs.flatten(0, 1), self).view(len(inputs), self.positions, -1)

    def gradients(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """See `Rule.gradients`."""
        if len(self.size) > 2:
            if self.groups == 1:
                return super().gradients(node, axis, signals, dtype)
            return self._by_groups(node, axis, signals, dtype)
        x = axis.images(node._saved_input).to(dtype)
        deltas = _outputs_beside_samples([axis.images(s).to(dtype) for s in signals])
        found = convolution_weight_gradients(self.windows(), x, deltas, self.groups)
        return found if self.images == 1 else found.unflatten(0, (-1, self.images)).sum(1)

    def _by_groups(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        inputs = self.inputs(node, axis).to(dtype)
        deltas = torch.stack([self.signals(axis, s) for s in signals], 2).to(dtype)
        parts = [
            product_gradients(self.unfolded(x), d)
            for x, d in zip(inputs.chunk(self.groups, 2), deltas.chunk(self.groups, 3), strict=True)
        ]
        return torch.cat(parts, 2).flatten(2)

    def windows(self) -> Windows:
        """The geometry as of two dimensions."""
        above, left = (0, *self.padding)[-2:]
        size, stride, dilation = ((1, *v)[-2:] for v in (self.size, self.stride, self.dilation))
        return Windows(_two(size), _two(stride), (left, left, above, above), _two(dilation))


@dataclass(frozen=True)
class TransposedConvolution(Convolution):
    """A transposed convolution, anchor `(i, o, *size)`: signals have the windows, and inputs the positions."""

    @property
    def by_columns(self) -> bool:
        """See `Product.by_columns`."""
        return True

    def inputs(self, node: Any, axis: SampleAxis) -> Tensor:
        """See `Product.inputs`."""
        return Convolution.signals(self, axis, node._saved_input)

    def signals(self, axis: SampleAxis, signal: Tensor) -> Tensor:
        """See `Product.signals`."""
        images = axis.images(signal)
        return windows_of(images, self, self.image[1:]).view(-1, self.positions, self.fan_out)

    def unfolded(self, inputs: Tensor) -> Tensor:
        """See `Product.unfolded`."""
        return inputs

    def gradients(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """See `Rule.gradients`."""
        return Product.gradients(self, node, axis, signals, dtype)


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


def windows_of(images: Tensor, geometry: Convolution, counts: Sequence[int] | None = None) -> Tensor:
    """The windows of a convolution, `(n, positions, channels · kernel entries)`, of images `(n, channels, *size)`.

    Args:
        images: the input.
        geometry: size, stride, padding and dilation.
        counts: windows along each axis; None for as many as there are.

    Returns:
        A copy.
    """
    images = F.pad(images, [p for pad in reversed(geometry.padding) for p in (pad, pad)])
    for axis, (size, stride, dilation) in enumerate(
        zip(geometry.size, geometry.stride, geometry.dilation, strict=True), start=2
    ):
        reach = dilation * (size - 1) + 1
        if counts is not None and images.shape[axis] < (counts[axis - 2] - 1) * stride + reach:
            short = (counts[axis - 2] - 1) * stride + reach - images.shape[axis]
            after = images.dim() - 1 - axis
            images = F.pad(images, [0, 0] * after + [0, short])
        images = images.unfold(axis, reach, stride)[..., ::dilation]
        if counts is not None:
            images = images.narrow(axis, 0, counts[axis - 2])
    d = len(geometry.size)
    # (n, channels, *positions, *kernel) → (n, *positions, channels, *kernel)
    return images.movedim(1, 1 + d).flatten(1 + d).flatten(1, d)


def _outputs_beside_samples(signals: Sequence[Tensor]) -> Tensor:
    """Signals of all outputs, `(n, C, *shape)`; laid out as they are, channels first or last."""
    first = signals[0]
    if len(signals) == 1:
        return first.unsqueeze(1)
    if first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last):
        return torch.stack([s.permute(0, 2, 3, 1) for s in signals], 1).permute(0, 1, 4, 2, 3)
    return torch.stack(list(signals), 1)


@dataclass(frozen=True)
class Embedded(Product):
    """Rows of a table, the anchor `(V, o)`, by the ids of samples.

    Attributes:
        padding: the id whose row has no gradient, or a negative number.
    """

    padding: int

    @property
    def n_inputs(self) -> int:
        """See `Product.n_inputs`."""
        return self.positions

    @property
    def by_columns(self) -> bool:
        """See `Product.by_columns`."""
        return True

    def inputs(self, node: Any, axis: SampleAxis) -> Tensor:
        """See `Product.inputs`."""
        ids = node._saved_indices
        return axis.first(torch.where(ids == self.padding, -1, ids)).flatten(1)

    def signals(self, axis: SampleAxis, signal: Tensor) -> Tensor:
        """See `Product.signals`."""
        return axis.rows(signal)

    def unfolded(self, inputs: Tensor) -> Tensor:
        """See `Product.unfolded`."""
        raise NotImplementedError("an id stands for a unit vector")

    def gradients(self, node: Any, axis: SampleAxis, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """See `Rule.gradients`."""
        deltas = torch.stack([self.signals(axis, s) for s in signals], 2).to(dtype)
        return self.scattered(self.inputs(node, axis), deltas).flatten(2)

    def scattered(self, ids: Tensor, deltas: Tensor) -> Tensor:
        """Σ_t e_{id_t} δ_ctᵀ, `(n, C, V, o)`."""
        n, _, c, o = deltas.shape
        # One row more takes what padding gives.
        rows = torch.where(ids < 0, self.fan_in, ids)
        table = deltas.new_zeros(n, self.fan_in + 1, c, o)
        table.scatter_add_(1, rows[:, :, None, None].expand_as(deltas), deltas)
        return table[:, :-1].movedim(1, 2)


def shape_of(node: Any, output: int = 0) -> tuple[int, ...]:
    """The shape of an output of a node."""
    return tuple(node._input_metadata[output].shape)


def anchor_of(node: Node, argument: int) -> tuple[Node, int]:
    """The node, and its output, that an argument of another node comes from."""
    child, output = node.next_functions[argument]
    assert child is not None
    return child, output


def _other(node: Any, argument: int) -> Tensor:
    other: Tensor = node._saved_other if argument == 0 else node._saved_self
    return other


def _normalized_by_batch(node: Any) -> Tensor:
    x, trailing = node._saved_input, [1] * (node._saved_input.dim() - 2)
    mean, variance = (t.to(x).view(-1, *trailing) for t in (node._saved_running_mean, node._saved_running_var))
    normalized: Tensor = (x - mean) * (variance + node._saved_eps).rsqrt()
    return normalized


def _normalized_by_layer(node: Any) -> Tensor:
    normalized: Tensor = (node._saved_input - node._saved_result1) * node._saved_result2
    return normalized


def _normalized_by_group(node: Any) -> Tensor:
    return F.group_norm(node._saved_input, node._saved_group, None, None, node._saved_eps)


def _below_zero(node: Any) -> Tensor:
    below: Tensor = node._saved_self.clamp(max=0.0)
    return below


def _rule(node: Any, argument: int, axis: SampleAxis, n: int) -> Rule | None:
    """The rule of one meeting, from its node in the graph of n samples; None if there is none."""
    name = node.name().removesuffix("Backward0")
    anchor, shape = shape_of(*anchor_of(node, argument)), shape_of(node)
    positions = axis.outer * axis.inner
    if (name, argument) in (("Addmm", 2), ("Mm", 1)):
        alpha = float(getattr(node, "_saved_alpha", 1.0))
        saved = "_saved_mat1" if name == "Addmm" else "_saved_self"
        return Matrix(anchor[0], anchor[1], positions, saved, alpha=alpha) if axis.axis == 0 else None
    if (name, argument) == ("Mm", 0):
        return Matrix(anchor[1], anchor[0], positions, "_saved_mat2", from_left=True) if axis.axis == 1 else None
    if (name, argument) == ("Addmm", 0):
        beta = float(node._saved_beta)
        return Summed(None if beta == 1.0 else lambda _: beta, anchor)
    if name == "Convolution":
        return _convolution_rule(node, argument, axis, anchor, shape)
    if name in ("Add", "Sub"):
        scale = (-1.0 if name == "Sub" else 1.0) * float(node._saved_alpha) if argument else 1.0
        return Summed(None if scale == 1.0 else lambda _: scale, anchor)
    if name == "Mul":
        return Summed(lambda node: _other(node, argument), anchor)
    if (name, argument) == ("Div", 0):
        return Summed(lambda node: node._saved_other.reciprocal(), anchor)
    if name == "Expand":
        return Summed(None, anchor)
    if (name, argument) == ("PreluKernel", 1):
        return Summed(_below_zero, anchor)
    if name == "NativeLayerNorm":
        return Summed(_normalized_by_layer if argument == 1 else None, anchor)
    if name == "NativeBatchNorm" and not node._saved_training:
        return Summed(_normalized_by_batch if argument == 1 else None, anchor, channel=1)
    if name == "NativeGroupNorm":
        return Summed(_normalized_by_group if argument == 1 else None, anchor, channel=1)
    if name == "Embedding" and not node._saved_scale_grad_by_freq:
        padding = int(node._saved_padding_idx)
        return Embedded(anchor[0], anchor[1], math.prod(shape[:-1]) // n, padding if padding < 2**63 - 1 else -1)
    return None


def _convolution_rule(
    node: Any, argument: int, axis: SampleAxis, anchor: tuple[int, ...], shape: tuple[int, ...]
) -> Rule | None:
    if axis.axis != 0:
        return None
    if argument == 2:
        return Summed(None, anchor, channel=1)
    if argument != 1:
        return None
    images, size, d = axis.outer * axis.inner, anchor[2:], len(anchor) - 2
    image = tuple(node._saved_input.shape[1:])
    stride, padding, dilation = (
        (tuple(value) * d)[:d] for value in (node._saved_stride, node._saved_padding, node._saved_dilation)
    )
    geometry = (size, stride, padding, dilation, node._saved_groups, image, images)
    if node._saved_transposed:
        if node._saved_groups > 1:
            return None
        return TransposedConvolution(anchor[0], math.prod(anchor[1:]), images * math.prod(image[1:]), *geometry)
    return Convolution(math.prod(anchor[1:]), anchor[0], images * math.prod(shape[2:]), *geometry)


@dataclass(frozen=True)
class Meeting:
    """One edge from an operation on samples to a tensor without them.

    Attributes:
        node: place of the operation among the nodes that lead to parameters.
        argument: which of its arguments the tensor is.
        axis: of samples in the operation's output.
        rule: what it gives to the tensor.
        turned: whether the tensor is the transpose of a parameter that other meetings have as it is.
    """

    node: int
    argument: int
    axis: SampleAxis
    rule: Rule
    turned: bool = False

    def gradients(self, node: Node, signals: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """Per-sample gradients of the parameter, see `Rule.gradients`."""
        found = self.rule.gradients(node, self.axis, signals, dtype)
        if not self.turned:
            return found
        return found.view(*found.shape[:2], *shape_of(*anchor_of(node, self.argument))).mT.flatten(2)


@dataclass(frozen=True, eq=False)
class Part:
    """Parameters, and all the meetings through which they enter the network.

    Attributes:
        parameters: by name.
        meetings: one or more.
        direct: whether gradients at the meetings are those of the one parameter, reordered and times `scale`; else
            they are taken back through the graph of what is made of the parameters.
        scale: see `direct`.
    """

    parameters: dict[str, nn.Parameter]
    meetings: tuple[Meeting, ...]
    direct: bool
    scale: float = 1.0

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters.values())

    @property
    def products(self) -> tuple[Product, ...]:
        """Its meetings as products, if inputs and signals are enough; else none."""
        rules = [m.rule for m in self.meetings]
        if not self.direct or any(isinstance(r, Convolution) and r.groups > 1 for r in rules):
            return ()
        products = tuple(r for r in rules if isinstance(r, Product))
        same = len({(type(r), r.fan_in, r.by_columns) for r in products}) == 1 and len(products) == len(rules)
        same = same and len({m.turned for m in self.meetings}) == 1
        return products if same else ()

    @property
    def positions(self) -> int:
        """Positions of a sample, of all meetings together."""
        return sum(p.positions for p in self.products)

    @property
    def n_inputs(self) -> int:
        """Numbers of a sample that are kept for its inputs."""
        return sum(p.n_inputs for p in self.products)


class Graph:
    """The nodes of an output's graph that lead to some parameters, in an order that runs of a network share.

    Attributes:
        nodes: in order.
        names: of the nodes; runs with equal names have equal graphs.
    """

    def __init__(self, output: Tensor, parameters: Mapping[str, nn.Parameter]):
        wanted = {id(p) for p in parameters.values()}
        every, above = list(graph_nodes(output)), defaultdict(list)
        for node in every:
            for child, _ in node.next_functions:
                if child is not None:
                    above[child].append(node)
        leading = {node for node in every if id(getattr(node, "variable", None)) in wanted}
        waiting = list(leading)
        while waiting:
            fresh = [node for node in above[waiting.pop()] if node not in leading]
            leading.update(fresh)
            waiting += fresh
        self.nodes = [node for node in every if node in leading]
        self.names = tuple(node.name() for node in self.nodes)
        self.index = {node: i for i, node in enumerate(self.nodes)}

    def children(self, node: Node) -> list[tuple[int, Node, int]]:
        """Arguments of a node that lead to parameters: (argument, node, its output)."""
        edges = enumerate(node.next_functions)
        return [(a, child, output) for a, (child, output) in edges if child is not None and child in self.index]


def find_parts(
    two: Tensor, three: Tensor, parameters: Mapping[str, nn.Parameter]
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The parts of a network, by the graphs of its outputs at two and at three samples, the last two of them equal.

    Args:
        two: outputs `(2, C)`.
        three: outputs `(3, C)`.
        parameters: of which parts are wanted, by name.

    Returns:
        Parts, whose parameters need nothing else; names of the nodes of a graph that they hold for.
    """
    small, graph = Graph(two, parameters), Graph(three, parameters)
    if not graph.nodes or small.names != graph.names:
        return (), ()
    try:
        found = _meetings(small, graph, three)
    except (AttributeError, IndexError):  # a node that does not say its shapes
        return (), ()
    names = {id(p): name for name, p in parameters.items()}
    components: list[tuple[set[str], list[Meeting | None]]] = []
    joined: list[Meeting | None]
    for meeting, anchor in found:
        reached, joined = _parameters_below(graph, anchor, names), [meeting]
        apart = []
        for own, those in components:
            if own & reached:
                reached, joined = reached | own, those + joined
            else:
                apart.append((own, those))
        components = [*apart, (reached, joined)]
    parts = []
    for reached, joined in components:
        meetings = tuple(m for m in joined if m is not None)
        if len(meetings) == len(joined):
            parts.append(_part(graph, {name: parameters[name] for name in sorted(reached)}, meetings))
    return tuple(parts), graph.names


def _meetings(small: Graph, graph: Graph, output: Tensor) -> list[tuple[Meeting | None, Node]]:
    """Each meeting, None for one without a rule, and the node of its anchor."""

    def grows(node: Node, number: int = 0) -> bool:
        return shape_of(node, number) != shape_of(small.nodes[graph.index[node]], number)

    edges = [
        (node, argument, child)
        for node in graph.nodes
        if node.next_functions and grows(node)
        for argument, child, number in graph.children(node)
        if not grows(child, number)
    ]
    nodes = list(dict.fromkeys(node for node, _, _ in edges))
    if not nodes:
        return []
    edges_of = [GradientEdge(node, 0) for node in nodes]
    weights = without_symmetry(output.shape[1], like=output.detach())
    of_samples = [
        torch.autograd.grad((output[i] * weights).sum(), edges_of, retain_graph=True, allow_unused=True) for i in (0, 1)
    ]
    axes = {
        node: _sample_axis(shape_of(small.nodes[graph.index[node]]), shape_of(node), signals)
        for node, *signals in zip(nodes, *of_samples, strict=True)
    }
    found: list[tuple[Meeting | None, Node]] = []
    for node, argument, child in edges:
        axis = axes[node]
        rule = None if axis is None else _rule(node, argument, axis, output.shape[0])
        place = graph.index[node]
        found.append((None if axis is None or rule is None else Meeting(place, argument, axis, rule), child))
    return found


def _sample_axis(two: tuple[int, ...], three: tuple[int, ...], signals: Sequence[Tensor | None]) -> SampleAxis | None:
    """The axis of samples, given the signals of the first and of the second of three samples."""
    if len(two) != len(three):
        return None
    grown = [axis for axis, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(grown) != 1 or 3 * two[grown[0]] != 2 * three[grown[0]]:
        return None
    (axis,), size = grown, two[grown[0]] // 2
    for outer, inner in dict.fromkeys([(1, size), (size, 1)]):
        candidate = SampleAxis(axis, outer, inner)
        apart = (signal is None or _is_alone(candidate.first(signal), i) for i, signal in enumerate(signals))
        if all(apart):
            return candidate
    return None


def _is_alone(signals: Tensor, sample: int) -> bool:
    return not (signals[:sample].any() or signals[sample + 1 :].any())


def _parameters_below(graph: Graph, node: Node, names: Mapping[int, str]) -> set[str]:
    reached, waiting, seen = set(), [node], set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            reached.add(names[id(variable)])
        waiting += [child for _, child, _ in graph.children(node)]
    return reached


def _part(graph: Graph, parameters: dict[str, nn.Parameter], meetings: tuple[Meeting, ...]) -> Part:
    anchors = [anchor_of(graph.nodes[m.node], m.argument) for m in meetings]
    paths = [path for path in (_path(graph, node) for node, _ in anchors) if path is not None]
    if len(parameters) == 1 and len(paths) == len(meetings):
        if len(set(anchors)) == 1:
            return Part(parameters, meetings, True, paths[0][1])
        if all(views in ((), ("TBackward0",)) for views, _ in paths):
            turned = [replace(m, turned=bool(views)) for m, (views, _) in zip(meetings, paths, strict=True)]
            return Part(parameters, tuple(turned), True)
    return Part(parameters, meetings, False)


def _path(graph: Graph, node: Any) -> tuple[tuple[str, ...], float] | None:
    """Views, and the product of scalar factors, from an anchor to the one parameter; None if there is more."""
    names, scale = [], 1.0
    while not hasattr(node, "variable"):
        children = graph.children(node)
        name = node.name()
        if len(children) != 1:
            return None
        if name in ("MulBackward0", "MulBackward1") and sum(child is not None for child, _ in node.next_functions) == 1:
            argument = children[0][0]
            factor = _other(node, argument) if name == "MulBackward0" else node._saved_other
            if isinstance(factor, Tensor) and factor.numel() != 1:
                return None
            scale *= float(factor)
        elif name not in _VIEWS and not _picks_rows(node):
            return None
        names.append(name)
        node = children[0][1]
    return tuple(names), scale


def _picks_rows(node: Any) -> bool:
    """Whether an embedding takes each of its rows at most once."""
    if node.name() != "EmbeddingBackward0" or node._saved_scale_grad_by_freq:
        return False
    ids, padding = node._saved_indices, int(node._saved_padding_idx)
    return ids.unique().numel() == ids.numel() and not bool((ids == padding).any())


def pulled_back(gradients: Mapping[tuple[Node, int], Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Gradients with respect to parameters, from those with respect to anchors that are made of them.

    Args:
        gradients: `(n, *shape)` by anchor; its graph stays.
        parameters: which.

    Returns:
        `(n, P)`.
    """
    edges = [GradientEdge(node, output) for node, output in gradients]
    rows = []
    for sample in zip(*gradients.values(), strict=True):
        cotangents = [value.contiguous() for value in sample]
        found = torch.autograd.grad(edges, list(parameters), cotangents, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)
