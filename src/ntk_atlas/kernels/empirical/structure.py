"""What a network is made of, found by trial runs on a few samples: layers, parts, readout, sizes and memory per sample.

A layer is a linear module that sees a sample once; a recorder keeps what passes through chosen layers while the network
runs. Everything else is found in the graph of the outputs (`parts`).
"""

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge, saved_tensors_hooks

from ntk_atlas.kernels.empirical.network_checks import (
    check_finite,
    check_samples_apart,
    gradients_accumulate,
    graph_nodes,
    run,
    sample_axis,
    trainable_parameters,
)
from ntk_atlas.kernels.empirical.parts import Part, find_parts
from ntk_atlas.kernels.errors import KernelInputError, StructureChangedError
from ntk_atlas.networks.stacked import StackedLinear, StackedNetwork, acts_on_entries

LayerModule = StackedLinear | nn.Linear
Form = Literal["factors", "gradients", "positions", "channels"]
"""How a layer or part enters the kernel: Gram matrices of inputs and signals that multiply; per-sample gradients,
formed in the passes; Gram matrices of all pairs of positions; gradients of some channels at a time, formed after."""
# Nodes of the graph that act on each entry by itself, and those that keep an affine function affine.
_ELEMENTWISE = {
    f"{name}Backward0"
    for name in ("Relu", "LeakyRelu", "Tanh", "Erf", "Sigmoid", "Gelu", "Silu", "Softplus", "Elu", "Hardtanh",
                 "Sin", "Cos", "Exp", "Mul", "Div")
}  # fmt: skip
_AFFINE = {f"{name}Backward0" for name in ("Mul", "Squeeze", "Unsqueeze", "View", "UnsafeView")} | {"SqueezeBackward1"}


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer that sees a sample once, and whose parameters enter the network nowhere else.

    Its Gram matrix is that of its inputs times that of its signals.

    Attributes:
        module: the layer.
        has_weight: whether its weight counts in the kernel.
        has_bias: whether its bias counts in the kernel.
    """

    module: LayerModule
    has_weight: bool
    has_bias: bool

    def parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that count."""
        chosen = [name for name, counts in (("weight", self.has_weight), ("bias", self.has_bias)) if counts]
        return [getattr(self.module, name) for name in chosen]

    @property
    def n_parameters(self) -> int:
        """Number of parameters that count, of all members together."""
        return sum(p.numel() for p in self.parameters())


@dataclass(frozen=True)
class Item:
    """A layer or part, and how it enters the kernel.

    Attributes:
        of: the layer, whose form is `factors`, or the part.
        form: see `Form`.
    """

    of: Layer | Part
    form: Form = "factors"


def candidate(module: nn.Module) -> Layer | None:
    """Returns the module as a layer, if it is just that: no subclass, no hooks, no replaced `forward`."""
    if not isinstance(module, LayerModule) or type(module) not in get_args(LayerModule):
        return None
    if module._forward_hooks or module._forward_pre_hooks or "weight" not in module._parameters:
        return None
    if "forward" in module.__dict__:
        return None
    trains = {name for name, p in module._parameters.items() if p is not None and p.requires_grad}
    return Layer(module, "weight" in trains, "bias" in trains) if trains else None


def sees_a_sample_once(module: LayerModule, x: Tensor, members: int, n: int) -> bool:
    """Whether each sample is one row of the input of a layer, judged by one call.

    Args:
        module: the module of a candidate.
        x: the input of its only call.
        members: networks in the stack.
        n: samples that the network was evaluated at.

    Returns:
        Whether it is.
    """
    if isinstance(module, StackedLinear):
        return module.weight.shape[0] == members and x.shape[:-1] in ((n,), (1, n), (members, n))
    return members == 1 and x.dim() == 2 and x.shape[0] == n


class Record:
    """What one run left, by module.

    Attributes:
        live_inputs: input of each module, as part of the graph.
        edges: where the gradient of a module's output arrives; only of outputs that have one.
        output_shapes: shape of each module's output.
        calls: how often each module was called.
        activations: of each call of a built-in activation, from the node of its output to the node of its input.
    """

    def __init__(self) -> None:
        self.live_inputs: dict[nn.Module, Tensor] = {}
        self.edges: dict[nn.Module, GradientEdge] = {}
        self.output_shapes: dict[nn.Module, torch.Size] = {}
        self.calls: Counter[nn.Module] = Counter()
        self.activations: dict[Node, Node] = {}
        self._versions: dict[nn.Module, int] = {}

    def note_activation(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Takes down one call of an activation."""
        after, before = output.grad_fn, inputs[0].grad_fn
        if after is not None and before is not None and after is not before:
            self.activations[after] = before

    def note(self, module: nn.Module, x: Tensor, output: Tensor) -> None:
        """Takes down one call."""
        self.calls[module] += 1
        self.live_inputs[module], self._versions[module] = x, x._version
        self.output_shapes[module] = output.shape
        # The edge instead of the output, which may be overwritten in place later.
        if output.requires_grad:
            self.edges[module] = get_gradient_edge(output)

    def check(self, layer: Layer, n: int, members: int) -> None:
        """Checks that a layer was called as it has to be, see `sees_a_sample_once`.

        Args:
            layer: the layer.
            n: samples of the run.
            members: networks in the stack.

        Raises:
            StructureChangedError: if it was called another number of times, with other axes, or without a gradient.
        """
        m = layer.module
        once = self.calls[m] == 1 and m in self.edges
        if not once or not sees_a_sample_once(m, self.live_inputs[m], members, n):
            raise StructureChangedError(f"{m} is not called once with all samples")

    def inputs(self, layer: Layer) -> Tensor:
        """Returns the input of a layer, detached, `(S or 1, n, k)`.

        Raises:
            KernelInputError: if it has been overwritten in place; such a network cannot be trained either.
        """
        x = self.live_inputs[layer.module]
        if layer.has_weight and x._version != self._versions[layer.module]:
            raise KernelInputError(
                f"the input of {layer.module} is overwritten in place after the layer: copy it first"
            )
        return x.detach().unsqueeze(0) if x.dim() == 2 else x.detach()


class LayerRecorder:
    """Listens to layers by forward hooks while the block is open; each thread takes records of its own runs.

    Args:
        layers: which.
        replicas: for each further network that runs as well, the module that stands for that of a layer; records
            of its runs are by the layers' own modules.
    """

    def __init__(self, layers: Collection[Layer], replicas: Collection[Mapping[nn.Module, nn.Module]] = ()):
        self._layers, self._replicas = layers, replicas
        self._here = threading.local()

    def __enter__(self) -> "LayerRecorder":
        modules = [layer.module for layer in self._layers]
        heard = [(m, m) for m in modules] + [(twins[m], m) for twins in self._replicas for m in modules]
        self._handles = [m.register_forward_hook(partial(self._hook, own), with_kwargs=True) for m, own in heard]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    @contextmanager
    def record(self) -> Iterator[Record]:
        """A record of what this thread runs inside the block."""
        self._here.record = Record()
        try:
            yield self._here.record
        finally:
            self._here.record = None

    def _hook(
        self, own: nn.Module, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor
    ) -> None:
        record = getattr(self._here, "record", None)
        if record is not None:
            record.note(own, args[0] if args else next(iter(kwargs.values())), output)


@dataclass(frozen=True)
class LayerShape:
    """Sizes of one sample at a layer.

    Attributes:
        inputs: entries of the layer's input.
        outputs: entries of its output.
    """

    inputs: int
    outputs: int


@dataclass(frozen=True)
class NetworkStructure:
    """How each trainable parameter of a network enters its kernel.

    Attributes:
        layers: linear layers that see a sample once.
        parts: what else enters where parameters meet samples by known rules.
        graph_names: of the nodes of a pass's graph for which the parts hold, those that lead to `met`.
        met: parameters by name, all but those of the layers.
        others: all other trainable parameters, by name; they need the Jacobian.
        n_members: networks in the stack, 1 if it is none.
        n_outputs: C.
        graph_bytes: what one forward pass keeps for the backward pass, a sample, all members together.
        shapes: sizes of one sample at each layer.
        readout: the layer after which the network seems affine with fixed coefficients, if it is among the layers.
        last_hidden: the module from whose output an elementwise function seems to lead to the readout alone
            (`verification` tries both).
        chain: all layers, the readout last, if elementwise functions alone lead from each to the next; else empty.
        channels_last: whether images may be laid out with the channels last.
        accumulates: whether gradients arrive in full only where backward passes leave them, in `p.grad`, because a
            part of the network runs a backward pass of its own in its backward pass.
    """

    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    graph_names: tuple[str, ...] = field(repr=False)
    met: dict[str, nn.Parameter] = field(repr=False)
    others: dict[str, nn.Parameter]
    n_members: int
    n_outputs: int
    graph_bytes: int
    shapes: dict[nn.Module, LayerShape] = field(repr=False)
    readout: Layer | None
    last_hidden: nn.Module | None
    chain: tuple[Layer, ...]
    channels_last: bool
    accumulates: bool

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all trainable parameters."""
        parameters = [p for layer in self.layers for p in layer.parameters()] + list(self.others.values())
        parameters += [p for part in self.parts for p in part.parameters.values()]
        return sum(p.nbytes for p in parameters)

    @property
    def readout_module(self) -> nn.Module | None:
        """The module of the readout."""
        return None if self.readout is None else self.readout.module


def probe_network(network: nn.Module, x: Tensor, *, finite: bool = False) -> NetworkStructure:
    """Finds the structure by running the network on its first and last sample, once and then with one repeated.

    A layer's parameter counts as the layer's own if the network's graph uses it once, so that no other layer or
    operation shares it, and the layer is called once, with the samples along its first axis.

    Args:
        network: in evaluation mode.
        x: inputs as for `network`.
        finite: whether outputs must be finite.

    Returns:
        The structure.

    Raises:
        KernelInputError: if the network fails, changes its inputs, mixes samples, or gives outputs that are not
            `(n, C)`, have no gradient, or are not finite.
    """
    candidates = [c for c in map(candidate, network.modules()) if c is not None]
    axis = sample_axis(network, x)
    last = min(1, x.shape[axis] - 1)
    members = network.n_members if isinstance(network, StackedNetwork) else 1
    channels_last = x.dim() == 4 and _runs_channels_last(network, x)
    outputs, forms = [], []
    for probe in ([0, last], [0, last, last]):
        batch = x.detach().index_select(axis, torch.tensor(probe, device=x.device))
        batch = batch.contiguous(memory_format=torch.channels_last) if channels_last else batch
        batch.requires_grad_(batch.is_floating_point())
        saved = _SavedBytes(network)
        try:
            with LayerRecorder(candidates) as recorder, recorder.record() as record, saved:
                outputs.append(_trial(network, batch, record))
            graph_bytes = saved.total
        except KernelInputError as error:
            if "saved tensor hooks" not in str(error):
                raise
            # Derivatives that a `forward` takes by torch.func refuse hooks, and their layers see no plain tensors.
            candidates = []
            with LayerRecorder(candidates) as recorder, recorder.record() as record:
                outputs.append(_trial(network, batch, record))
            graph_bytes = _bytes_of_graph(network, outputs[-1])
        forms.append(
            {
                layer.module: sees_a_sample_once(layer.module, record.live_inputs[layer.module], members, len(probe))
                for layer in candidates
                if record.calls[layer.module] == 1
            }
        )
    if not outputs[-1].requires_grad:
        raise KernelInputError(
            "the network's outputs have no gradient with respect to its trainable parameters, so its NTK is zero: does "
            "its `forward` detach them, run under torch.no_grad(), or use other parameters only?"
        )
    if finite:
        check_finite(outputs[-1], "the network's outputs are", network)
    accumulates = gradients_accumulate(network, outputs[-1])
    if accumulates:  # a graph that does not show what the backward pass runs
        candidates = []
    else:
        check_samples_apart(outputs[-1], batch, axis)
    uses = _uses_in_graph(outputs[-1])

    def alone(parameter: Tensor | None) -> bool:
        return parameter is not None and uses[id(parameter)] == 1

    layers = []
    for layer in candidates:
        if all(form.get(layer.module) for form in forms):
            m = layer.module
            layer = Layer(m, layer.has_weight and alone(m.weight), layer.has_bias and alone(getattr(m, "bias", None)))
            layers += [layer] if layer.parameters() else []
    owned = {id(p) for layer in layers for p in layer.parameters()}
    others = {name: p for name, p in trainable_parameters(network).items() if id(p) not in owned}
    searched = others and not (accumulates or isinstance(network, StackedNetwork))
    parts, graph_names = find_parts(outputs[0], outputs[1], others) if searched else ((), ())
    owned |= {id(p) for part in parts for p in part.parameters.values()}
    readout = _readout(outputs[-1], layers, record)
    chain = _chain(readout, layers, record)
    return NetworkStructure(
        layers=tuple(layers),
        parts=parts,
        graph_names=graph_names,
        met=others,
        others={name: p for name, p in others.items() if id(p) not in owned},
        n_members=members,
        n_outputs=outputs[-1].shape[-1],
        graph_bytes=graph_bytes // 3,
        shapes={
            layer.module: LayerShape(
                record.live_inputs[layer.module].numel() // 3, record.output_shapes[layer.module].numel() // 3
            )
            for layer in layers
        },
        readout=readout,
        last_hidden=None if len(chain) < 2 else chain[-2].module,
        chain=chain if len(chain) == len(layers) and not parts else (),
        channels_last=channels_last,
        accumulates=accumulates,
    )


def _trial(network: nn.Module, x: Tensor, record: Record) -> Tensor:
    """Runs the network on samples that it may not change, and notes what built-in activations act on.

    Raises:
        KernelInputError: if it fails, changes them, or its output is not what a kernel is taken of.
    """
    given = x.clone()
    version = given._version
    handles = [m.register_forward_hook(record.note_activation) for m in network.modules() if acts_on_entries(m)]
    try:
        output = run(network, given)
    finally:
        for handle in handles:
            handle.remove()
    if given._version != version:
        raise KernelInputError(
            "the network changes its inputs in place, so that no second pass sees the same: let its `forward` begin "
            "with a copy of them (`x.clone()`), or its first activation work without `inplace=True`"
        )
    return output


class _SavedBytes(saved_tensors_hooks):
    """Counts the bytes of all dense tensors that a graph keeps, parameters aside, each storage once."""

    def __init__(self, network: nn.Module):
        self.total = 0
        own = [p for p in [*network.parameters(), *network.buffers()] if p.layout == torch.strided]
        self._seen = {p.untyped_storage().data_ptr() for p in own}
        super().__init__(self.count, lambda tensor: tensor)

    def count(self, tensor: Tensor) -> Tensor:
        """Returns the tensor, counted."""
        if tensor.layout != torch.strided:  # a sparse buffer has no storage
            return tensor
        storage = tensor.untyped_storage()
        try:
            address = storage.data_ptr()
        except RuntimeError:  # within a transform of torch.func a tensor has no memory of its own
            address = -id(storage)
        if address not in self._seen:
            self._seen.add(address)
            self.total += storage.nbytes()
        return tensor


def _bytes_of_graph(network: nn.Module, output: Tensor) -> int:
    """Returns what `_SavedBytes` counts, read off a graph that was made without it."""
    saved = _SavedBytes(network)
    for node in graph_nodes(output):
        for name in dir(node):
            held = getattr(node, name) if name.startswith("_saved_") else None
            for tensor in held if isinstance(held, tuple) else (held,):
                if isinstance(tensor, Tensor):
                    saved.count(tensor)
    return saved.total


def _runs_channels_last(network: nn.Module, x: Tensor) -> bool:
    """Returns whether the network takes images with the channels last (a `view` of its own may refuse)."""
    if isinstance(network, StackedNetwork) or not any(isinstance(m, nn.Conv2d) for m in network.modules()):
        return False
    try:
        with torch.no_grad():
            plain, other = network(x[:2].clone()), network(x[:2].contiguous(memory_format=torch.channels_last))
            return bool(torch.allclose(plain, other, rtol=1e-3, atol=1e-3 * float(plain.abs().max()), equal_nan=True))
    except (RuntimeError, TypeError, AttributeError):  # refused, or no tensor
        return False


def _uses_in_graph(output: Tensor) -> Counter[int]:
    """Returns how often the graph of `output` uses each parameter, by id."""
    following = (after for node in graph_nodes(output) for after, _ in node.next_functions)
    return Counter(id(after.variable) for after in following if after is not None and hasattr(after, "variable"))


def _readout(output: Tensor, layers: list[Layer], record: Record) -> Layer | None:
    """Returns the layer from whose output a chain of affine operations with fixed coefficients leads to `output`."""
    ends = {record.edges[x.module].node: x for x in layers if x.module in record.edges}
    return _follow(output.grad_fn, ends, _AFFINE)


def _chain(readout: Layer | None, layers: list[Layer], record: Record) -> tuple[Layer, ...]:
    """Returns the layers from which elementwise functions lead, one after another, to the readout, the last."""
    ends = {record.edges[x.module].node: x for x in layers if x.module in record.edges}
    chain: list[Layer] = []
    layer = readout
    while layer is not None and layer not in chain:
        chain.append(layer)
        activations = record.live_inputs[layer.module]
        layer = _follow(activations.grad_fn, ends, _ELEMENTWISE, record.activations)
        if layer is not None and record.output_shapes[layer.module] != activations.shape:
            layer = None
    return tuple(reversed(chain))


def _follow(
    node: Node | None, ends: Mapping[Node, Layer], allowed: set[str], known: Mapping[Node, Node] = MappingProxyType({})
) -> Layer | None:
    """Returns the layer of the first node of `ends` that `allowed` nodes and `known` steps, one after one, lead to."""
    while node is not None and node not in ends:
        if node in known:
            node = known[node]
            continue
        following = [n for n, _ in node.next_functions if n is not None]
        if node.name() not in allowed or len(following) != 1:
            return None
        (node,) = following
    return None if node is None else ends[node]
