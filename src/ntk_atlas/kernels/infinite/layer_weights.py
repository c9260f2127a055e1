"""What the layers of a network count in its infinite-width NTK: a parameterization's part of the recursion."""

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
    if reason := value.no_infinite_kernel():
        raise KernelInputError(f"there are no kernels of infinite width: {reason}; take parameterization='ntk'")
    if value.ntk_grows_with_width() and width is None:
        raise KernelInputError(
            f"the NTK of the {value.label} parameterization grows with the width: give `width`, "
            "or take parameterization='ntk'"
        )


def weight_part(settings: NetworkSettings, fan_in: int, width: int | None, sigma_w2: float) -> float:
    """What the weights of a layer count in the NTK, the factor of E[φ φ′]: see `Parameterization.kernel_factor`."""
    parameter = Parameter("hidden", "weight", fan_in, width or 1)
    return parameterization(settings.parameterization).kernel_factor(parameter, sigma_w2)


def bias_part(settings: NetworkSettings, width: int | None) -> float:
    """What the biases of a layer add to the NTK; 0 if they are not trained."""
    if not settings.trainable_biases:
        return 0.0
    parameter = Parameter("hidden", "bias", 1, width or 1)
    return parameterization(settings.parameterization).kernel_factor(parameter, settings.bias_variance)
