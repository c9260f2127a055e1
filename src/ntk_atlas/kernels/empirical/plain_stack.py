"""Networks that are layers and activations one after another, by the very classes they are made of."""

from torch import nn
from torch.nn.modules import module as torch_module

from ntk_atlas.kernels.empirical.structure import NetworkStructure
from ntk_atlas.networks.fully_connected import SingleMember, StackedFullyConnected
from ntk_atlas.networks.stacked import StackedLinear, acts_on_entries

_CHAINS = {nn.Sequential, StackedFullyConnected, SingleMember, nn.ModuleList}
_LINKS = {nn.Linear, StackedLinear, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity}
_OF_IMAGES = {nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten}


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
        and not getattr(m, "inplace", False)
        and not (m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks)
        for m in network.modules()
    )


def _convolves(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros"
