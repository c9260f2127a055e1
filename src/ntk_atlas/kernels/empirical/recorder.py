"""What passes through chosen layers while a network runs: their inputs, and where gradients of their outputs arrive."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ntk_atlas.kernels.empirical.layers import Layer
from ntk_atlas.kernels.empirical.network_checks import sample_axis
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.networks.stacked import StackedNetwork


class LayerRecorder:
    """Collects inputs and gradient edges of layers by forward hooks while the block is open.

    Attributes:
        live_inputs: input of each module, as part of the graph.
        edges: where the gradient of a module's output arrives, by module; only of outputs that have one.
        output_shapes: shape of each module's output.
        calls: how often each module was called.
    """

    def __init__(self, layers: Collection[Layer]):
        self.layers = layers
        self.calls = {layer.module: 0 for layer in layers}
        self._versions: dict[nn.Module, int] = {}
        self.live_inputs: dict[nn.Module, Tensor] = {}
        self.edges: dict[nn.Module, GradientEdge] = {}
        self.output_shapes: dict[nn.Module, torch.Size] = {}

    def __enter__(self) -> "LayerRecorder":
        self._handles = [
            layer.module.register_forward_hook(self._hook_of(layer), with_kwargs=True) for layer in self.layers
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def inputs(self, layer: Layer) -> Tensor:
        """Returns the input of a layer, detached: `(S or 1, n, k)` for layers with factors, else as it came.

        Raises:
            KernelInputError: if it has been overwritten in place; such a network cannot be trained either.
        """
        x = self.live_inputs[layer.module]
        if x._version != self._versions[layer.module]:
            raise KernelInputError(
                f"the input of {layer.module} is overwritten in place after the layer: copy it first"
            )
        return x.detach().unsqueeze(0) if layer.form == "factors" and x.dim() == 2 else x.detach()

    def _hook_of(self, layer: Layer):
        def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            self.live_inputs[module], self._versions[module] = x, x._version
            self.calls[module] += 1
            self.output_shapes[module] = output.shape
            # The edge instead of the output, which may be overwritten in place later.
            if output.requires_grad:
                self.edges[module] = get_gradient_edge(output)

        return hook


def run(network: nn.Module, x: Tensor) -> Tensor:
    """Evaluates the network.

    Args:
        network: any network of `empirical_ntk`.
        x: inputs.

    Returns:
        The output, `(n, C)` or `(S, n, C)`.

    Raises:
        KernelInputError: if the output has another shape.
    """
    output = network(x)
    n = x.shape[sample_axis(network, x)]
    expected = (network.n_members, n) if isinstance(network, StackedNetwork) else (n,)
    if not isinstance(output, Tensor) or tuple(output.shape[:-1]) != expected:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise KernelInputError(f"the network must map {tuple(x.shape)} to {(*expected, 'n_outputs')}, but gives {got}")
    return output
