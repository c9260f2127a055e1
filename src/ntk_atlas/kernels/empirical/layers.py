"""Layers whose part of the NTK follows from their inputs and the gradients of their outputs."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from ntk_atlas.networks.stacked import StackedLinear
from ntk_atlas.networks.stacked_convolution import StackedConv2d

DividedModule = nn.Linear | nn.Conv1d | nn.Conv2d | StackedConv2d
"""Modules for which gradients of some output channels can be had without those of the others."""
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
LayerModule = StackedLinear | DividedModule | BatchNorm | nn.LayerNorm | nn.RMSNorm | nn.GroupNorm
Form = Literal["factors", "gradients"]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose parameters enter the network nowhere else, and once a sample.

    Attributes:
        module: a linear, convolutional or normalization layer.
        has_weight: whether its weight counts in the kernel.
        has_bias: whether its bias counts in the kernel.
        form: `factors`: its Gram matrix is that of its inputs times that of its signals; `gradients`: it is the Gram
            matrix of per-sample gradients.
    """

    module: LayerModule
    has_weight: bool
    has_bias: bool
    form: Form

    def parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that count."""
        chosen = [name for name, counts in (("weight", self.has_weight), ("bias", self.has_bias)) if counts]
        return [getattr(self.module, name) for name in chosen]

    @property
    def n_parameters(self) -> int:
        """Number of parameters that count, of all members together."""
        return sum(p.numel() for p in self.parameters())

    @property
    def can_be_divided(self) -> bool:
        """Whether gradients of some output channels can be had without those of the others."""
        return isinstance(self.module, DividedModule)

    @property
    def out_features(self) -> int:
        """Size of the axis of outputs, along which its parameters can be divided."""
        axis = {StackedLinear: -1, StackedConv2d: 1}.get(type(self.module), 0)
        return self.module.weight.shape[axis]


def candidate(module: nn.Module) -> Layer | None:
    """Returns the module as a layer, if it is just that: no subclass, no hooks, no replaced `forward`.

    Its `form` is provisional: that of a linear layer depends on how it is called (`form_of_call`).
    """
    if not isinstance(module, LayerModule) or type(module) not in get_args(LayerModule):
        return None
    if module._forward_hooks or module._forward_pre_hooks or "weight" not in module._parameters:
        return None
    if "forward" in module.__dict__:
        return None
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.padding_mode != "zeros":
        return None
    if isinstance(module, BatchNorm) and module.running_mean is None:
        return None
    trains = {name for name, p in module._parameters.items() if p is not None and p.requires_grad}
    if not trains:
        return None
    form: Form = "factors" if isinstance(module, StackedLinear | nn.Linear) else "gradients"
    return Layer(module, "weight" in trains, "bias" in trains, form)


def form_of_call(module: LayerModule, x: Tensor, members: int, n: int) -> Form | None:
    """How a layer enters the kernel, judged by one call.

    Args:
        module: the module of a candidate.
        x: the input of its only call.
        members: networks in the stack.
        n: samples that the network was evaluated at.

    Returns:
        `factors` if a sample is one row of `x`, `gradients` if it is several positions, None if the axes of `x`
        are not those of samples and members.
    """
    if isinstance(module, StackedLinear):
        fits = module.weight.shape[0] == members and x.shape[:-1] in ((n,), (1, n), (members, n))
        return "factors" if fits else None
    if members != 1 or x.dim() < 2 or x.shape[0] != n:
        return None
    if isinstance(module, nn.Linear):
        return "factors" if x.dim() == 2 else "gradients"
    wanted = {nn.Conv1d: 3, nn.Conv2d: 4, StackedConv2d: 4}.get(type(module), x.dim())
    return "gradients" if x.dim() == wanted else None
