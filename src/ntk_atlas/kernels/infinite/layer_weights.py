"""What the layers of a network count in its infinite-width NTK: a parameterization's part of the recursion."""

from typing import Literal

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.parameterizations import Parameter, parameterization


def check_infinite_limit(settings: NetworkSettings, width: int | None) -> None:
    """Checks that networks have kernels of infinite width.

    Args:
        settings: the network.
        width: hidden units or channels; None if none are given.

    Raises:
        KernelInputError: if there is no limit, or the NTK grows with the width and there is none.
    """
    value = parameterization(settings.parameterization)
    if reason := value.without_infinite_kernel():
        raise KernelInputError(f"there are no kernels of infinite width: {reason}; take parameterization='ntk'")
    if value.ntk_grows_with_width() and width is None:
        raise KernelInputError(
            f"the NTK of the {value.label} parameterization grows with the width: give `width`, "
            "or take parameterization='ntk'"
        )


def kernel_factor(settings: NetworkSettings, kind: Literal["weight", "bias"], fan_in: int, variance: float) -> float:
    """fan_in · forward², see `Parameterization.kernel_factor`; a limit is that of all hidden layers alike."""
    parameter = Parameter("hidden", kind, fan_in, fan_in)
    return parameterization(settings.parameterization).kernel_factor(parameter, variance)


def bias_part(settings: NetworkSettings) -> float:
    """What the biases of a layer add to the NTK; 0 if they are not trained."""
    return kernel_factor(settings, "bias", 1, settings.bias_variance) if settings.trainable_biases else 0.0
