"""Activations and their dual: by name, as a torch module or function, or a function of one's own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntk_atlas.activations.user_file import load_activation
from ntk_atlas.config.network import LEAKY_RELU_SLOPE, is_own_activation
from ntk_atlas.kernels.infinite import dual_moments
from ntk_atlas.kernels.infinite.dual_activations import Dual, ErfDual, GeluDual, HomogeneousDual
from ntk_atlas.kernels.infinite.dual_expansion import ExpansionDual
from ntk_atlas.kernels.infinite.elementwise import ElementwiseFunction, UnsupportedActivationError
from ntk_atlas.networks.activations import Erf

ActivationChoice = str | nn.Module | Callable[[Tensor], Tensor]
"""A name of `config.network.Activation`, `my_phi.py:phi`, a torch module or function, or any elementwise function of a
tensor."""

_BY_NAME: dict[str, Callable[[], Dual]] = {
    "relu": HomogeneousDual,
    "leaky_relu": lambda: HomogeneousDual(LEAKY_RELU_SLOPE),
    "erf": ErfDual,
    "gelu": GeluDual,
    "tanh": lambda: ExpansionDual(ElementwiseFunction(torch.tanh), dual_moments.TANH),
    "sigmoid": lambda: ExpansionDual(ElementwiseFunction(torch.sigmoid), dual_moments.SIGMOID),
    "silu": lambda: ExpansionDual(ElementwiseFunction(F.silu), dual_moments.SILU),
}
_NAMES = {
    torch.relu: "relu",
    F.relu: "relu",
    nn.ReLU: "relu",
    torch.erf: "erf",
    Erf: "erf",
    F.gelu: "gelu",
    torch.tanh: "tanh",
    F.tanh: "tanh",
    nn.Tanh: "tanh",
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    nn.Sigmoid: "sigmoid",
    F.silu: "silu",
    nn.SiLU: "silu",
    F.leaky_relu: "leaky_relu",
}


def dual_of(activation: ActivationChoice) -> Dual:
    """The dual of an activation: closed form for ReLU, leaky ReLU, erf, GELU and the identity, else a Hermite series.

    Args:
        activation: a name; a function in a file, `my_phi.py:phi`; a torch module such as `nn.LeakyReLU(0.2)`; or a
            function that maps a tensor to one of the same shape, entry by entry, differentiable by autograd and
            continuous.

    Returns:
        The dual.

    Raises:
        UnsupportedActivationError: if there is no activation of that name, or the function is not such a one.
    """
    if isinstance(activation, str) and is_own_activation(activation):
        activation = load_activation(activation)
    if isinstance(activation, str):
        if activation not in _BY_NAME:
            raise UnsupportedActivationError(
                f"no infinite-width kernel for activation {activation!r}: available are {', '.join(_BY_NAME)}, and "
                "any elementwise function of a tensor"
            )
        return _BY_NAME[activation]()
    if isinstance(activation, nn.Module) and any(True for _ in activation.parameters()):
        raise UnsupportedActivationError(
            f"activation {activation} has parameters, which would be trained: the kernel of infinite width is "
            "not known for it; fix them (nn.LeakyReLU(0.25) in place of nn.PReLU())"
        )
    if isinstance(activation, nn.LeakyReLU):
        return HomogeneousDual(activation.negative_slope)
    if isinstance(activation, nn.Identity):
        return HomogeneousDual(1.0)
    if isinstance(activation, nn.GELU) and activation.approximate == "none":
        return GeluDual()
    name = _NAMES.get(type(activation) if isinstance(activation, nn.Module) else activation)
    if name is not None:
        return _BY_NAME[name]()
    if isinstance(activation, type):
        raise UnsupportedActivationError(
            f"activation {activation.__name__} is a class: give an instance, {activation.__name__}()"
        )
    if not callable(activation):
        raise UnsupportedActivationError(f"an activation is a name or a function of a tensor, got {activation!r}")
    return ExpansionDual(ElementwiseFunction(activation))


def second_moment(activation: ActivationChoice, variance: Tensor) -> Tensor:
    """E[φ(√q z)²] for z ~ N(0, 1).

    Args:
        activation: see `dual_of`.
        variance: q ≥ 0, any shape, float64.

    Returns:
        The moments, the shape of `variance`.
    """
    return dual_of(activation).second_moment(variance)


def dual_activation(activation: ActivationChoice) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The function `(a, b, c) → (T, Ṫ)` of an activation; the three broadcast.

    Args:
        activation: see `dual_of`.

    Returns:
        The function, of float64 tensors.
    """
    dual = dual_of(activation)

    def evaluate(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c = (t.clone() for t in torch.broadcast_tensors(a, b, c))
        ready = dual.at(torch.stack([a, b]))
        scratch = (torch.empty_like(c), torch.empty_like(c))
        tile = ready.evaluate(c, ready.side(a, c.dtype), ready.side(b, c.dtype), scratch, 1.0)
        return tile.moment, tile.slope

    return evaluate
