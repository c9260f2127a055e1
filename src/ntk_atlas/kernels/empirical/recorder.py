"""What passes through chosen layers while a network runs: their inputs, and where gradients of their outputs arrive."""

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from ntk_atlas.kernels.empirical.layers import Layer, form_of_call
from ntk_atlas.kernels.errors import KernelInputError, StructureChangedError


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
        """Checks that a layer was called as it has to be, see `layers.form_of_call`.

        Args:
            layer: the layer.
            n: samples of the run.
            members: networks in the stack.

        Raises:
            StructureChangedError: if it was called another number of times, with other axes, or without a gradient.
        """
        m = layer.module
        once = self.calls[m] == 1 and m in self.edges
        if not once or form_of_call(m, self.live_inputs[m], members, n) != layer.form:
            raise StructureChangedError(f"{m} is not called once with all samples")

    def inputs(self, layer: Layer) -> Tensor:
        """Returns the input of a layer, detached: `(S or 1, n, k)` for layers with factors, else as it came.

        Raises:
            KernelInputError: if it has been overwritten in place; such a network cannot be trained either.
        """
        x = self.live_inputs[layer.module]
        if layer.has_weight and x._version != self._versions[layer.module]:
            raise KernelInputError(
                f"the input of {layer.module} is overwritten in place after the layer: copy it first"
            )
        return x.detach().unsqueeze(0) if layer.form == "factors" and x.dim() == 2 else x.detach()


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
