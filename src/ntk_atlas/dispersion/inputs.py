"""What the law of the kernel at initialization depends on: one family of networks and the geometry of two inputs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntk_atlas.activations import built_in
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.parameterizations import Parameter, layer_parameters, parameterization

PARAMETERS = ("all", "weights")
"""Which parameters Θ sums over: all that are trained, or the weights alone."""


def has_exact_law(network: NetworkSettings) -> bool:
    """Whether Θ(x, x) has a law that a chain of layers draws exactly: ReLU with biases 0 at initialization."""
    if network.family.without_dispersion() or network.bias_variance != 0.0:
        return False
    phi = built_in(network.activation)
    return phi is not None and phi.homogeneous == (0.0, 1.0)


@dataclass(frozen=True)
class InitialKernelLaw:
    """Networks of one depth and width with one output, at x and inputs x_r with ‖x_r‖ = ‖x‖ and cosines r.

    First-layer weights are Gaussian, so that the joint law of the kernel depends on the inputs through ‖x‖² and r
    alone: x = ‖x‖ e₁ and x_r = ‖x‖ (r e₁ + √(1 − r²) e₂) stand for all, and of the first layer only two columns
    matter, whatever n₀ is.

    Attributes:
        network: activation, parameterization, σ_b², biases and output scale.
        depth: hidden layers.
        width: units of each hidden layer.
        n_inputs: n₀, of which the first layer's weight variance σ_w²/n₀ depends.
        squared_norm: ‖x‖².
        correlations: cosines r, the first of them 1.
    """

    network: NetworkSettings
    depth: int
    width: int
    n_inputs: int
    squared_norm: float = 1.0
    correlations: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if reason := self.network.family.without_dispersion():
            raise ValueError(reason)
        if self.correlations[0] != 1.0:
            raise ValueError(f"correlations {self.correlations} must start with 1, the diagonal")

    @property
    def n_layers(self) -> int:
        """L, the layers of weights: depth + 1."""
        return self.depth + 1

    @property
    def inputs(self) -> np.ndarray:
        """The inputs in the plane that they span, `(n_correlations, 2)`."""
        r = np.array(self.correlations)
        inputs: np.ndarray = np.sqrt(self.squared_norm) * np.stack([r, np.sqrt(1.0 - r**2)], axis=1)
        return inputs

    @property
    def has_bias_gradients(self) -> bool:
        """Whether gradients in the biases enter Θ: they are trained, and the parameterization gives them weight."""
        return self.bias_gradient_factor > 0.0

    @property
    def has_exact_law(self) -> bool:
        """Whether Θ(x, x) has a law that a chain of layers draws exactly: ReLU with biases 0 at initialization."""
        return has_exact_law(self.network)

    def weight_gradient_factors(self, init_scale: float) -> np.ndarray:
        """(∂z/∂W over x)² of each layer, `(L,)`: 1, or σ_w²/fan-in under the NTK parameterization."""
        value, weights = parameterization(self.network.parameterization), [weight for weight, _ in self._parameters]
        return np.array([value.kernel_factor(weight, init_scale) / weight.fan_in for weight in weights])

    @cached_property
    def bias_gradient_factor(self) -> float:
        """(∂z/∂b)²: 1, or σ_b² under the NTK parameterization; 0 if biases are not trained."""
        if not self.network.trainable_biases:
            return 0.0
        bias = self._parameters[-1][1]
        return parameterization(self.network.parameterization).kernel_factor(bias, self.network.bias_variance)

    @cached_property
    def _parameters(self) -> list[tuple[Parameter, Parameter]]:
        return layer_parameters([self.n_inputs, *[self.width] * self.depth], self.width)
