r"""The gradient of an affine layer is an outer product, so its Gram matrix needs no Jacobian.

For z = w_f · x W + b_f · b, evaluated once a sample, ∂f_c/∂W = w_f · x ⊗ ∂f_c/∂z and ∂f_c/∂b = b_f · ∂f_c/∂z.
With inputs A = [w_f x, b_f] and signals B_c = ∂f_c/∂z the layer's part of the NTK is

    Θ_{cc'}(x, x') = (A(x) · A(x')) (B_c(x) · B_c'(x')).

Samples are independent, so one backward pass through Σ_i f_c(x_i) gives ∂f_c/∂z of every sample.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ntk_atlas.kernels.network_checks import check_samples_apart, sample_axis
from ntk_atlas.networks.stacked import StackedLinear, StackedNetwork

# Bounds the activations that one backward pass keeps; the factors themselves are kept for all samples.
_SAMPLES_A_PASS = 2048


@dataclass(frozen=True)
class LayerFactors:
    """Two factors whose Gram matrices multiply, entry by entry, to a part of the NTK.

    Attributes:
        inputs: A, `(S or 1, n, k)`.
        signals: B, `(S, n, C, m)`.
    """

    inputs: Tensor
    signals: Tensor


@dataclass(frozen=True)
class AffineLayer:
    """A layer whose parameters enter the network nowhere else, and once a sample.

    Attributes:
        module: a `StackedLinear` or `torch.nn.Linear`.
        has_weight: whether its weight counts in the kernel.
        has_bias: whether its bias counts in the kernel.
    """

    module: nn.Module
    has_weight: bool
    has_bias: bool

    def parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that count."""
        return [self.module.weight] * self.has_weight + [self.module.bias] * self.has_bias

    def augmented(self, x: Tensor) -> Tensor:
        """Returns inputs A = [w_f x, b_f] of the trainable parameters, a new tensor `(S or 1, n, k)`."""
        x = x.detach().unsqueeze(0) if x.dim() == 2 else x.detach()
        columns = []
        if self.has_weight:
            columns.append(x * getattr(self.module, "weight_factor", 1.0))
        if self.has_bias:
            columns.append(x.new_full((*x.shape[:2], 1), getattr(self.module, "bias_factor", 1.0)))
        return torch.cat(columns, dim=-1)


class _Recorder:
    """Inputs and gradient edges of layers, collected by forward hooks while the block is open."""

    def __init__(self, layers: Sequence[AffineLayer]):
        self.layers = layers
        self.inputs: dict[nn.Module, list[Tensor]] = {layer.module: [] for layer in layers}
        self.edges: dict[nn.Module, GradientEdge] = {}

    def __enter__(self) -> "_Recorder":
        self._handles = [
            layer.module.register_forward_hook(self._hook_of(layer), with_kwargs=True) for layer in self.layers
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook_of(self, layer: AffineLayer):
        def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            # A copy at once, and the edge instead of the output: both may be overwritten in place later.
            self.inputs[module].append(layer.augmented(x) if x.dim() in (2, 3) else x.detach())
            if output.requires_grad:
                self.edges[module] = get_gradient_edge(output)

        return hook


def affine_layers(network: nn.Module, x: Tensor) -> tuple[list[AffineLayer], int]:
    """The layers of `network` that the factors can stand for, found by two trial runs on copies of two
    samples.

    A parameter counts if the network's graph uses it once, so that no other layer or operation shares it, and its
    layer is called once with one row a sample. Any other parameter needs the Jacobian.

    Args:
        network: in evaluation mode.
        x: inputs as for `network`.

    Returns:
        The layers, in the order of the network's modules, and the number of outputs C.

    Raises:
        ValueError: if the output is not `(n, C)` or mixes samples.
    """
    candidates = [c for c in map(_candidate, network.modules()) if c is not None]
    axis = sample_axis(network, x)
    last = min(1, x.shape[axis] - 1)
    fitting = []
    for probe in ([0, last], [0, last, last]):
        batch = x.detach().index_select(axis, torch.tensor(probe, device=x.device))
        batch.requires_grad_(batch.is_floating_point())
        with _Recorder(candidates) as recorder:
            output = _run(network, batch)
        rows = (_n_members(network), len(probe))
        fitting.append({m for m, seen in recorder.inputs.items() if _fits(m, seen, rows)})
    check_samples_apart(output, batch, axis)
    fits, uses = fitting[0] & fitting[1], _uses_in_graph(output)

    def alone(parameter: Tensor | None) -> bool:
        return parameter is not None and uses[id(parameter)] == 1

    layers = [
        AffineLayer(c.module, c.has_weight and alone(c.module.weight), c.has_bias and alone(c.module.bias))
        for c in candidates
        if c.module in fits
    ]
    return [layer for layer in layers if layer.parameters()], output.shape[-1]


def capture_factors(
    network: nn.Module, x: Tensor, layers: Sequence[AffineLayer], *, sum_outputs: bool = False
) -> list[LayerFactors]:
    """Runs the network forward and backward and collects the factors of `layers`.

    Args:
        network: in evaluation mode.
        x: inputs as for `network`.
        layers: what `affine_layers` returned for the network.
        sum_outputs: whether Σ_c f_c stands for the outputs, so that C = 1.

    Returns:
        One `LayerFactors` a layer; S = 1 unless `network` is a `StackedNetwork`.
    """
    if not layers:
        return []
    parts = [
        _capture_pass(network, block, layers, sum_outputs)
        for block in x.split(_SAMPLES_A_PASS, dim=sample_axis(network, x))
    ]
    if len(parts) == 1:
        return parts[0]
    return [
        LayerFactors(torch.cat([f.inputs for f in layer], 1), torch.cat([f.signals for f in layer], 1))
        for layer in zip(*parts, strict=True)
    ]


def _capture_pass(
    network: nn.Module, x: Tensor, layers: Sequence[AffineLayer], sum_outputs: bool
) -> list[LayerFactors]:
    with _Recorder(layers) as recorder:
        output = _run(network, x)
    edges = [recorder.edges[layer.module] for layer in layers]
    # Sums need no explicit cotangents, with which torch would import sympy (seconds a process) to compare shapes.
    sums = [output.sum()] if sum_outputs else [output_c.sum() for output_c in output.unbind(-1)]
    n_members, n = output.shape[:-2].numel(), output.shape[-2]
    signals = [
        output.new_empty(n_members, n, len(sums), layer.module.weight.shape[_out_axis(layer.module)])
        for layer in layers
    ]
    for c, output_c in enumerate(sums):
        keep = c + 1 < len(sums)
        gradients = torch.autograd.grad(output_c, edges, retain_graph=keep, allow_unused=True)
        for signal, gradient in zip(signals, gradients, strict=True):
            signal[:, :, c] = 0.0 if gradient is None else gradient
    return [
        LayerFactors(recorder.inputs[layer.module][0], signal) for layer, signal in zip(layers, signals, strict=True)
    ]


def _out_axis(module: nn.Module) -> int:
    return -1 if isinstance(module, StackedLinear) else 0


def _n_members(network: nn.Module) -> int:
    return network.n_members if isinstance(network, StackedNetwork) else 1


def _run(network: nn.Module, x: Tensor) -> Tensor:
    output = network(x)
    n = x.shape[sample_axis(network, x)]
    expected = (network.n_members, n) if isinstance(network, StackedNetwork) else (n,)
    if not isinstance(output, Tensor) or tuple(output.shape[:-1]) != expected:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the network must map {tuple(x.shape)} to {(*expected, 'n_outputs')}, but gives {got}")
    return output


def _candidate(module: nn.Module) -> AffineLayer | None:
    """Returns the module as an affine layer, if it is just that: no subclass, no hooks, parameters of its own."""
    if type(module) not in (StackedLinear, nn.Linear) or module._forward_hooks or module._forward_pre_hooks:
        return None
    trains = {name for name, p in module._parameters.items() if p is not None and p.requires_grad}
    if not trains or "weight" not in module._parameters:
        return None
    return AffineLayer(module, "weight" in trains, "bias" in trains)


def _fits(module: nn.Module, seen: Sequence[Tensor], rows: tuple[int, int]) -> bool:
    """Returns whether the layer was called once, with `rows` = (members, samples)."""
    if len(seen) != 1 or seen[0].dim() != 3 or seen[0].shape[1] != rows[1]:
        return False
    members = module.weight.shape[0] if isinstance(module, StackedLinear) else 1
    return members == rows[0] and seen[0].shape[0] in (1, members)


def _uses_in_graph(output: Tensor) -> Counter:
    """Returns how often the graph of `output` uses each parameter, by id."""
    uses: Counter = Counter()
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        for following, _ in getattr(node, "next_functions", ()):
            if following is None:
                continue
            if hasattr(following, "variable"):
                uses[id(following.variable)] += 1
            elif following not in seen:
                seen.add(following)
                waiting.append(following)
    return uses
