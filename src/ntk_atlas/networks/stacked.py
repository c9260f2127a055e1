"""What a stack of networks is: members of one architecture, evaluated together.

Everything downstream (training, kernels, checkpoints) knows networks only through this interface.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor, nn

from ntk_atlas.activations import ACTIVATIONS, Activation


class StackedNetwork(nn.Module, ABC):
    """`n_members` networks of one architecture; no operation mixes members or samples.

    Attributes:
        n_members: number of networks S.
        input_shape: shape of one sample.
        output_scale: α of f = α f̃, the factor `forward` applies to the raw output.
        takes_tokens: whether inputs that are integers stay integers.
        members_apart: whether kernels are those of one member after another; else of layers with a member axis.
    """

    n_members: int
    input_shape: tuple[int, ...]
    output_scale: float
    members_apart: bool = False
    takes_tokens: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all members.

        Args:
            x: inputs, `(n, *input_shape)` shared by all members or `(n_members, n, *input_shape)`.

        Returns:
            Outputs f(x) = α f̃(x), `(n_members, n, n_outputs)`.
        """

    def is_per_member(self, x: Tensor) -> bool:
        """Returns whether `x` has a leading member axis, rather than being shared by all members."""
        return x.dim() == len(self.input_shape) + 2

    @abstractmethod
    def member(self, index: int) -> nn.Module:
        """Returns one member, `(n, *input_shape)` → `(n, n_outputs)`, with a copy of its weights."""

    @abstractmethod
    def select(self, members: Sequence[int]) -> "StackedNetwork":
        """Returns a stack of copies of the given members."""

    def parameters_of(self, members: Iterable[int]) -> list[tuple[nn.Parameter, list[int] | EllipsisType]]:
        """Returns all parameters of some members, each with the place `p` at which `parameter[p]` is theirs."""
        members = list(members)
        return [(p, members) for p in self.parameters()]

    def weights(self) -> Tensor:
        """Returns a copy of all parameters, `(n_members, n_parameters)`, in the order of `parameters()`."""
        return torch.cat([p.detach().reshape(len(p), -1) for p in self.parameters()], dim=1)

    def rates(self) -> list[float]:
        """Returns the factor on the learning rate of each of `parameters()`, see `Parameterization.rate`."""
        return [1.0] * len(list(self.parameters()))

    def load_weights(self, weights: Tensor) -> None:
        """Overwrites the parameters with what `weights()` returned."""
        start = 0
        with torch.no_grad():
            for p in self.parameters():
                size = p[0].numel()
                p.copy_(weights[:, start : start + size].reshape(p.shape))
                start += size


@dataclass(frozen=True)
class LayerScaling:
    """What a parameterization gives a layer.

    Attributes:
        weight_factor: in the forward pass, see `Parameterization.split`.
        bias_factor: in the forward pass.
        weight_rate: see `Parameterization.rate`.
        bias_rate: of the biases.
        parameterization: its name, or `as written`.
    """

    weight_factor: float = 1.0
    bias_factor: float = 1.0
    weight_rate: float = 1.0
    bias_rate: float = 1.0
    parameterization: str = "as written"


AS_WRITTEN = LayerScaling()


class StackedLinear(nn.Module):
    r"""One affine layer of every member: z = weight_factor · x W + bias_factor · b.

    Attributes:
        weight: `(n_members, fan_in, fan_out)`.
        bias: `(n_members, fan_out)` or None.
        scaling: the factors, and what else the parameterization says of the layer.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, scaling: LayerScaling = AS_WRITTEN):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.scaling = scaling
        self.weight_factor, self.bias_factor = scaling.weight_factor, scaling.bias_factor

    def forward(self, x: Tensor) -> Tensor:
        """Returns z, `(n_members, n, fan_out)`, at x `(n_members, n, fan_in)`, or `(n, fan_in)` for all."""
        if x.dim() == 2:
            x = x.expand(self.weight.shape[0], *x.shape)
        if self.bias is None:
            return self.weight_factor * torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight, beta=self.bias_factor, alpha=self.weight_factor)


class ActivationLayer(nn.Module):
    """φ of every entry.

    Attributes:
        activation: φ; a torch module that a user's φ is made of is a part of this layer.
    """

    def __init__(self, activation: Activation):
        super().__init__()
        self.activation = activation
        function = getattr(activation, "function", None)
        self.part = function if isinstance(function, nn.Module) else None

    def forward(self, z: Tensor) -> Tensor:
        """Returns φ of every entry of z."""
        return self.activation.phi(z)


def acts_on_entries(module: nn.Module) -> bool:
    """Whether a module is a built-in activation; what a user's file holds was tried on a few tensors only."""
    return type(module) is ActivationLayer and module.activation.name in ACTIVATIONS


def layer_rates(layers: Iterable[nn.Module]) -> list[float]:
    """Rates of the parameters of layers that have a `scaling`, in their order; see `StackedNetwork.rates`."""
    rates = [(layer, (layer.scaling.weight_rate, layer.scaling.bias_rate)) for layer in layers]
    return [rate for layer, both in rates for rate, _ in zip(both, layer.parameters(), strict=False)]
