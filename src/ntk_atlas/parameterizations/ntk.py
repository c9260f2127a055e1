"""NTK parameterization (Jacot et al. 2018): the scale of a layer is a factor in the forward pass."""

from ntk_atlas.parameterizations import Parameter, Parameterization


class NTK(Parameterization):
    """z = (σ_w/√fan_in) W x + σ_b b with W, b ~ N(0, 1), one learning rate for all layers.

    The NTK has a limit at infinite width. Gradients in the biases are proportional to σ_b (Lee et al. 2019, section 2).
    """

    name, label = "ntk", "NTK"

    def split(self, parameter: Parameter, size: float) -> tuple[float, float]:
        """See `Parameterization.split`."""
        return 1.0, size

    def rate(self, parameter: Parameter) -> float:
        """See `Parameterization.rate`."""
        return 1.0

    def ntk_grows_with_width(self) -> bool:
        """See `Parameterization.ntk_grows_with_width`."""
        return False

    def without_infinite_kernel(self) -> str:
        """See `Parameterization.without_infinite_kernel`."""
        return ""

    def kernel_factor(self, parameter: Parameter, variance: float) -> float:
        """σ_w² or σ_b², without the rounding of a root and its square; see `Parameterization.kernel_factor`."""
        return variance


ntk = NTK()
