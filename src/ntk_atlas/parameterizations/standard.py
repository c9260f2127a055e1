"""Standard parameterization: weights carry their scale themselves, as libraries of networks initialize them."""

from ntk_atlas.parameterizations import Parameter, Parameterization


class Standard(Parameterization):
    """z = W x + b, W ~ N(0, σ_w²/fan_in), b ~ N(0, σ_b²), one learning rate for all layers.

    The NTK grows with the width: each hidden layer adds fan_in · E[φ φ′]. Gradients in the biases count at σ_b = 0 too.
    """

    name, label = "standard", "standard"

    def split(self, parameter: Parameter, size: float) -> tuple[float, float]:
        """See `Parameterization.split`."""
        return size, 1.0

    def rate(self, parameter: Parameter) -> float:
        """See `Parameterization.rate`."""
        return 1.0

    def ntk_grows_with_width(self) -> bool:
        """See `Parameterization.ntk_grows_with_width`."""
        return True

    def without_infinite_kernel(self) -> str:
        """See `Parameterization.without_infinite_kernel`."""
        return ""

    def kernel_factor(self, parameter: Parameter, variance: float) -> float:
        """The fan-in; see `Parameterization.kernel_factor`."""
        return float(parameter.fan_in)


standard = Standard()
