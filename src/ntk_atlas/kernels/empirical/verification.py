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
from ntk_atlas.kernels.empirical.gram import Factors, PositionFactors
from ntk_atlas.kernels.empirical.network_checks import (
    ROUNDED,
    check_same_outputs,
    compared_samples,
    gradients,
    gradients_add_up,
    rounding,
    run,
    sample_axis,
    trainable_parameters,
)
from ntk_atlas.kernels.empirical.parts import Embedded, Part
from ntk_atlas.kernels.empirical.structure import Item, Layer, NetworkStructure
from ntk_atlas.kernels.errors import StructureChangedError
from ntk_atlas.networks.running import without_symmetry
from ntk_atlas.networks.stacked import SingleMember, StackedLayers, StackedLinear, StackedNetwork, acts_on_entries

log = logging.getLogger(__name__)

_DIRECTIONS = 2
_SAMPLES, _FEW_SAMPLES = 8, 3
_CHAINS = {nn.Sequential, StackedLayers, SingleMember, nn.ModuleList}
_LINKS = {nn.Linear, StackedLinear, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity}
_OF_IMAGES = {nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten}


def verified_structure(network: nn.Module, structure: NetworkStructure, x: Tensor) -> NetworkStructure:
    """The structure without what does not hold on up to eight samples from all over `x`, three of a network with parts.

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
    everything: list[Layer | Part] = [*structure.layers, *structure.parts]
    # A pass of a large network costs as much as its kernel of a few samples.
    samples = compared_samples(network, x, _FEW_SAMPLES if structure.parts else _SAMPLES)
    if structure.channels_last:
        samples = samples.contiguous(memory_format=torch.channels_last)
    output = run(network, samples)
    check_same_outputs(network, samples, output, sample_axis(network, x))
    if not (structure.layers or structure.parts):
        return structure
    if not isinstance(network, StackedNetwork) and not gradients_add_up(network, samples[:2], structure.accumulates):
        return without_layers(network, structure, everything, "gradients of a batch are no sum over its samples")
    plain = replace(structure, readout=None, last_hidden=None)
    try:
        factors = capture_factors(network, plain, whole(structure), samples)
    except StructureChangedError as change:
        return without_layers(network, structure, everything, str(change))
    wrong = _wrong(structure, factors, output)
    if wrong:
        return without_layers(network, structure, wrong, "their gradients do not follow from their inputs and outputs")
    return _verified_readout(network, structure, factors, samples, rounding(output))


def whole(structure: NetworkStructure) -> list[Item]:
    """Returns all layers and parts, products of positions in the form that holds least."""
    parts = [Item(part, "positions" if part.products else "gradients") for part in structure.parts]
    return [Item(layer) for layer in structure.layers] + parts


def without_layers(
    network: nn.Module, structure: NetworkStructure, wrong: Sequence[Layer | Part], reason: str
) -> NetworkStructure:
    """The structure with some parameters among the others; nothing is assumed of readout and hidden layer.

    Args:
        network: the network.
        structure: of it.
        wrong: layers and parts that are taken out.
        reason: for the log.

    Returns:
        The structure that is left.
    """
    names = [str(of.module) if isinstance(of, Layer) else " and ".join(of.parameters) for of in wrong]
    log.info("through the Jacobian go %s: %s", ", ".join(names), reason)
    kept = tuple(layer for layer in structure.layers if layer not in wrong)
    parts = tuple(part for part in structure.parts if part not in wrong)
    owned = {id(p) for layer in kept for p in layer.parameters()}
    owned |= {id(p) for part in parts for p in part.parameters.values()}
    others = {name: p for name, p in trainable_parameters(network).items() if id(p) not in owned}
    return replace(structure, layers=kept, parts=parts, others=others, readout=None, last_hidden=None, chain=())


def _wrong(structure: NetworkStructure, factors: Sequence[Factors], output: Tensor) -> list[Layer | Part]:
    shape, members = output.shape, structure.n_members
    v = without_symmetry(_DIRECTIONS, 1, *shape[-2:], like=output)
    owners = [item.of for item in whole(structure)]
    own = [of.parameters() if isinstance(of, Layer) else list(of.parameters.values()) for of in owners]
    parameters = [p for of in own for p in of]
    expected = [gradients((output.view(members, *shape[-2:]) * v_q).sum(), parameters, retain_graph=True) for v_q in v]
    eps, v = rounding(output, *parameters), v.to(factors[0].signals)
    # Gradients that are zero but for rounding, as of attention's key biases, are compared with the others.
    noise = (ROUNDED * eps) ** 2 * max(float(sum((g.double() ** 2).sum() for g in of_v)) for of_v in expected)
    wrong, position = [], 0
    for of, count, factor in zip(owners, map(len, own), factors, strict=True):
        wanted = torch.stack(
            [torch.cat([g.reshape(members, -1) for g in of_v[position : position + count]], 1) for of_v in expected], 1
        ).to(v)
        position += count
        found = _weighted(factor, v, members)
        if not _close(found @ found.mT, wanted @ wanted.mT, eps, noise):
            wrong.append(of)
    return wrong


def _weighted(factor: Factors, v: Tensor, members: int) -> Tensor:
    """Σ_ic v_ic ∂f_c(x_i)/∂θ of each direction v, `(S, directions, P)`, in some order of the parameters."""
    if isinstance(factor, PositionFactors):
        signals = torch.einsum("qnc,ntco->qnto", v[:, 0], factor.signals)
        inputs = factor.unfolded(slice(None))
        if factor.is_embedding:
            (rule, *_) = factor.part.products
            assert isinstance(rule, Embedded)
            one = [rule.scattered(inputs, s.unsqueeze(2)).sum(0).flatten() for s in signals]
        else:
            one = [(s.flatten(0, 1).mT @ inputs.flatten(0, 1)).flatten() for s in signals]
        return factor.part.scale * torch.stack(one).unsqueeze(0)
    weighted = torch.einsum("qsnc,sncm->sqnm", v, factor.signals)
    if factor.inputs is None:
        return weighted.sum(2)
    inputs = factor.inputs.expand(members, -1, -1)
    return torch.einsum("snk,sqnm->sqkm", inputs, weighted).flatten(2)


def _verified_readout(
    network: nn.Module, structure: NetworkStructure, factors: Sequence[Factors], samples: Tensor, eps: float
) -> NetworkStructure:
    if structure.readout is None:
        return structure
    modules: list[nn.Module] = [layer.module for layer in structure.layers]
    of_layer = dict(zip(modules, factors, strict=False))
    signals = of_layer[structure.readout.module].signals
    if not _close(signals, signals[:, :1].expand_as(signals), eps):
        return replace(structure, readout=None, last_hidden=None)
    if structure.last_hidden is None:
        return structure
    hidden = next(layer for layer in structure.layers if layer.module is structure.last_hidden)
    (short,) = capture_factors(network, structure, [Item(hidden)], samples, output_reduction="trace")
    one, every = short.signals.flatten(2), of_layer[structure.last_hidden].signals.flatten(2)
    same = _close(one @ one.mT, every @ every.mT, eps)
    return structure if same else replace(structure, last_hidden=None)


def _close(found: Tensor, expected: Tensor, eps: float, noise: float = 0.0) -> bool:
    if found.shape != expected.shape:
        return False
    usable = torch.isfinite(expected)
    scale = expected.abs().where(usable, 0.0).amax()
    gap = (found - expected).abs()[usable]
    return not bool((gap > eps**0.5 * scale + noise).any()) and bool(torch.isfinite(gap).all())


def is_plain_stack(network: nn.Module, structure: NetworkStructure) -> bool:
    """Whether the classes alone prove how each parameter enters the gradient, so that no trial need.

    Holds if every module is of exactly a class listed here (a subclass, a parametrization or a wrapper is another
    class), none has a hook, works in place or has a `forward` of its own, convolutions pad zeros, and no parameter
    needs the Jacobian.

    Args:
        network: the network.
        structure: what `probe_network` found of it.

    Returns:
        Whether it holds; False says nothing against the structure.
    """
    if structure.others:
        return False
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return False
    return all(
        (type(m) in _CHAINS | _LINKS | _OF_IMAGES or acts_on_entries(m))
        and "forward" not in vars(m)
        and getattr(m, "through", None) is None
        and not getattr(m, "inplace", False)
        and getattr(m, "padding_mode", "zeros") == "zeros"
        and not (m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks)
        for m in network.modules()
    )
