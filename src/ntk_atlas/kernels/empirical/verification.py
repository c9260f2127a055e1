"""What the structure of a network says about its gradients, held against plain backward passes on a few samples.

Names of modules and of nodes in a graph are strong hints, no proof: a layer may see the samples in another order, an
output may be scaled by a mask, a `forward` may have been replaced. What does not hold goes through the Jacobian. No
trial is needed for a network that is layers and activations one after another, by the very classes it is made of.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from ntk_atlas.kernels.empirical.capture import capture_factors
from ntk_atlas.kernels.empirical.gram import LayerFactors, Piece
from ntk_atlas.kernels.empirical.network_checks import (
    check_same_outputs,
    compared_samples,
    gradients,
    gradients_add_up,
    rounding,
    run,
    sample_axis,
    trainable_parameters,
)
from ntk_atlas.kernels.empirical.structure import Layer, NetworkStructure
from ntk_atlas.kernels.errors import StructureChangedError
from ntk_atlas.networks.running import without_symmetry
from ntk_atlas.networks.stacked import SingleMember, StackedLayers, StackedLinear, StackedNetwork, acts_on_entries

log = logging.getLogger(__name__)

_DIRECTIONS = 2
_CHAINS = {nn.Sequential, StackedLayers, SingleMember, nn.ModuleList}
_LINKS = {nn.Linear, StackedLinear, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity}
_OF_IMAGES = {nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten}


def verified_structure(network: nn.Module, structure: NetworkStructure, x: Tensor) -> NetworkStructure:
    """The structure without what does not hold on up to eight samples from all over `x`.

    For fixed weights v without symmetry, Σ_ic v_ic ∂f_c(x_i)/∂θ is formed from each layer's factors and by one backward
    pass; layers for which inner products of two such vectors differ are taken to the other parameters. The readout
    is kept if its signals are equal for all samples, the last hidden layer if one signal a unit is enough. A plain
    stack of affine layers and activations needs none of this.

    Args:
        network: in evaluation mode.
        structure: what `probe_network` found.
        x: inputs as for `network`.

    Returns:
        The structure to be used.

    Raises:
        MixedSamplesError: if outputs depend on the other samples.
        RandomNetworkError: if they change from call to call.
    """
    if is_plain_stack(network, structure):
        return structure
    structure = replace(structure, chain=())
    samples = compared_samples(network, x)
    if structure.channels_last:
        samples = samples.contiguous(memory_format=torch.channels_last)
    output = run(network, samples)
    check_same_outputs(network, samples, output, sample_axis(network, x))
    if not structure.layers:
        return structure
    if not isinstance(network, StackedNetwork) and not gradients_add_up(network, samples[:2], structure.accumulates):
        return without_layers(network, structure, structure.layers, "gradients of a batch are no sum over its samples")
    plain = replace(structure, readout=None, last_hidden=None)
    try:
        factors = capture_factors(network, plain, [whole(layer) for layer in structure.layers], samples)
    except StructureChangedError as change:
        return without_layers(network, structure, structure.layers, str(change))
    wrong = _wrong_layers(structure, factors, output)
    if wrong:
        return without_layers(network, structure, wrong, "their gradients do not follow from their inputs and outputs")
    return _verified_readout(network, structure, factors, samples, rounding(output))


def whole(layer: Layer) -> Piece:
    """Returns the layer as one piece."""
    return Piece(layer, None if layer.form == "factors" else (0, layer.out_features))


def without_layers(
    network: nn.Module, structure: NetworkStructure, layers: Sequence[Layer], reason: str
) -> NetworkStructure:
    """The structure with some layers' parameters among the others; nothing is assumed of readout and hidden layer.

    Args:
        network: the network.
        structure: of it.
        layers: what is taken out.
        reason: for the log.

    Returns:
        The structure that is left.
    """
    log.info("%d layers go through the Jacobian: %s", len(layers), reason)
    kept = tuple(layer for layer in structure.layers if layer not in layers)
    owned = {id(p) for layer in kept for p in layer.parameters()}
    others = {name: p for name, p in trainable_parameters(network).items() if id(p) not in owned}
    return replace(structure, layers=kept, others=others, readout=None, last_hidden=None, chain=())


def _wrong_layers(structure: NetworkStructure, factors: Sequence[LayerFactors], output: Tensor) -> list[Layer]:
    shape, members = output.shape, structure.n_members
    v = without_symmetry(_DIRECTIONS, 1, *shape[-2:], like=output)
    parameters = [p for layer in structure.layers for p in layer.parameters()]
    expected = [gradients((output.view(members, *shape[-2:]) * v_q).sum(), parameters, retain_graph=True) for v_q in v]
    eps, v = rounding(output, *parameters), v.to(factors[0].signals)
    wrong, position = [], 0
    for layer, factor in zip(structure.layers, factors, strict=True):
        count = len(layer.parameters())
        wanted = torch.stack(
            [torch.cat([g.reshape(members, -1) for g in of[position : position + count]], 1) for of in expected], 1
        ).to(v)
        position += count
        weighted = torch.einsum("qsnc,sncm->sqnm", v, factor.signals)
        if factor.inputs is None:
            found = weighted.sum(2)
        else:
            inputs = factor.inputs.expand(members, -1, -1)
            found = torch.einsum("snk,sqnm->sqkm", inputs, weighted).flatten(2)
        if not _close(found @ found.mT, wanted @ wanted.mT, eps):
            wrong.append(layer)
    return wrong


def _verified_readout(
    network: nn.Module, structure: NetworkStructure, factors: Sequence[LayerFactors], samples: Tensor, eps: float
) -> NetworkStructure:
    if structure.readout is None:
        return structure
    modules: list[nn.Module] = [layer.module for layer in structure.layers]
    of_layer = dict(zip(modules, factors, strict=True))
    signals = of_layer[structure.readout.module].signals
    if not _close(signals, signals[:, :1].expand_as(signals), eps):
        return replace(structure, readout=None, last_hidden=None)
    if structure.last_hidden is None:
        return structure
    piece = next(whole(layer) for layer in structure.layers if layer.module is structure.last_hidden)
    (short,) = capture_factors(network, structure, [piece], samples, output_reduction="trace")
    one, every = short.signals.flatten(2), of_layer[structure.last_hidden].signals.flatten(2)
    same = _close(one @ one.mT, every @ every.mT, eps)
    return structure if same else replace(structure, last_hidden=None)


def _close(found: Tensor, expected: Tensor, eps: float) -> bool:
    if found.shape != expected.shape:
        return False
    usable = torch.isfinite(expected)
    scale = expected.abs().where(usable, 0.0).amax()
    gap = (found - expected).abs()[usable]
    return not bool((gap > eps**0.5 * scale).any()) and bool(torch.isfinite(gap).all())


def is_plain_stack(network: nn.Module, structure: NetworkStructure) -> bool:
    """Whether the classes alone prove how each parameter enters the gradient, so that no trial need.

    Holds if every module is of exactly a class listed here (a subclass, a parametrization or a wrapper is another
    class), none has a hook, works in place or has a `forward` of its own, and each parameter belongs to a layer that
    sees one row a sample, or to a convolution with zero padding.

    Args:
        network: the network.
        structure: what `probe_network` found of it.

    Returns:
        Whether it holds; False says nothing against the structure.
    """
    if structure.others or not all(layer.form == "factors" or _convolves(layer.module) for layer in structure.layers):
        return False
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return False
    return all(
        (type(m) in _CHAINS | _LINKS | _OF_IMAGES or acts_on_entries(m))
        and "forward" not in vars(m)
        and getattr(m, "through", None) is None
        and not getattr(m, "inplace", False)
        and not (m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks)
        for m in network.modules()
    )


def _convolves(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros"
