r"""Signals of a chain of affine layers and elementwise activations, of all outputs at once.

With z^l the outputs of layer l, x^l = φ(z^l) and z^{l+1} = x^l W^{l+1} + b^{l+1}, signals B_c^l = ∂f_c/∂z^l obey

    B_c^l = (B_c^{l+1} W^{l+1}ᵀ) ⊙ φ'(z^l),

so one matrix product a layer does what automatic differentiation needs a pass an output for.
"""

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from ntk_atlas.kernels.empirical.layers import Layer
from ntk_atlas.kernels.empirical.network_checks import run, sample_axis
from ntk_atlas.kernels.empirical.recorder import LayerRecorder, Record
from ntk_atlas.networks.stacked import StackedLinear


def output_sums(output: Tensor, *, summed: bool) -> list[Tensor]:
    """Each output summed over members and samples, or (`summed`) all of them together.

    Sums need no explicit cotangents, with which torch would import sympy (seconds a process) to compare shapes.
    """
    return [output.sum()] if summed else [output_c.sum() for output_c in output.unbind(-1)]


def readout_coefficients(
    network: nn.Module, recorder: LayerRecorder, readout: Layer, x: Tensor, *, summed: bool
) -> Tensor:
    """Coefficients of the outputs in those of the readout, `(S, C, m)`: ∂f_c/∂z, the same at all samples.

    Args:
        network: a chain.
        recorder: listens to its readout.
        readout: its last layer.
        x: inputs as for the network, of which the first sample is used.
        summed: whether outputs are summed (C = 1).

    Returns:
        The coefficients.
    """
    with recorder.record() as record:
        output = run(network, x.narrow(sample_axis(network, x), 0, 1))
    edge = record.edges[readout.module]
    sums = output_sums(output, summed=summed)
    rows = [torch.autograd.grad(f, edge, retain_graph=f is not sums[-1])[0] for f in sums]
    return torch.stack([row.reshape(-1, row.shape[-1]) for row in rows], dim=1)


def slopes(record: Record, above: Layer, edge: GradientEdge, members: int) -> Tensor:
    """φ'(z) of the activation that leads from the layer at `edge` to the layer `above`, `(S, n, m)`."""
    activations = record.live_inputs[above.module]
    (slope,) = torch.autograd.grad(activations.sum(), edge, retain_graph=True)
    return slope.reshape(members, -1, slope.shape[-1])


def signals_at_input(layer: Layer, signals: Tensor) -> Tensor:
    """Signals at the outputs of an affine layer, taken to its inputs: B Wᵀ.

    Args:
        layer: a linear layer.
        signals: B, `(S, n, C, fan_out)`.

    Returns:
        `(S, n, C, fan_in)`.
    """
    flat, module = signals.flatten(1, 2), layer.module
    weight = module.weight.detach().to(signals.dtype)
    if isinstance(module, StackedLinear):
        pulled = torch.bmm(flat, weight.mT)
        if module.weight_factor != 1.0:
            pulled *= module.weight_factor
    else:
        pulled = flat @ weight
    return pulled.view(*signals.shape[:-1], -1)
