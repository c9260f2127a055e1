r"""Parameterizations by name: where the size of a layer stands, and how its learning rate follows the width.

A new parameterization is one file in this folder, or a file of the user's (`docs/extending.md`); nothing here imports
torch, so that a run is planned with the same objects that networks are built from.

A parameter θ of a layer (its weights W, or its biases b) has a size s: σ_w/√fan_in for weights, σ_b for biases. It is
drawn as θ = initial · N(0, 1) and enters the layer as forward · θ, so that networks in the standard and the NTK
parameterization are the same functions at initialization, initial · forward = s, and differ in training: gradients
meet the factor `forward` twice, once in ∂f/∂θ and once in what a step of θ changes.

A rate of its own for a layer needs no third number under gradient descent and momentum: a layer that learns c times
as fast is one whose forward factor is √c times as large, and its initial scale √c times smaller (Yang & Hu 2021,
section 3). So the NTK Σ_θ forward² … of a network is always the kernel of its own training at one learning rate.
Optimizers that normalize gradients do not see the factor, and take `rate`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from ntk_atlas.registry import Registry

Role = Literal["input", "hidden", "output", "linear"]
"""Which fans of a layer grow with the width: `input`: those out; `hidden`: both; `output`: those in; `linear`: none,
the only layer of a network without hidden ones."""
Kind = Literal["weight", "bias"]


@dataclass(frozen=True)
class Parameter:
    """The weights or the biases of one layer.

    Attributes:
        role: of the layer.
        kind: `weight` or `bias`.
        fan_in: numbers that an output of the layer sees, k² · channels for a convolution; 1 for biases.
        width: units (channels) of the hidden layers.
    """

    role: Role
    kind: Kind
    fan_in: int
    width: int


def layer_parameters(fan_ins: Sequence[int], width: int) -> list[tuple[Parameter, Parameter]]:
    """Weights and biases of the layers of a network, from input to output.

    Args:
        fan_ins: of each layer.
        width: units (channels) of the hidden layers.

    Returns:
        A pair per layer.
    """
    last = len(fan_ins) - 1
    hidden: list[Role] = ["hidden"] * (last - 1)
    roles: list[Role] = ["linear"] if last == 0 else ["input", *hidden, "output"]
    return [
        (Parameter(role, "weight", fan_in, width), Parameter(role, "bias", 1, width))
        for role, fan_in in zip(roles, fan_ins, strict=True)
    ]


class ParameterizationError(ValueError):
    """A name that is no parameterization's, or something in a user's file that is none."""


class Parameterization(ABC):
    """Initial scale, forward factor, weight in the NTK and learning rate of every layer.

    Attributes:
        name: in a config.
        label: in figures and tables.
    """

    name: str = ""
    label: str

    @abstractmethod
    def split(self, parameter: Parameter, size: float) -> tuple[float, float]:
        """Where the size of a parameter stands.

        Args:
            parameter: weights or biases of a layer.
            size: s, σ_w/√fan_in or σ_b.

        Returns:
            Standard deviation at initialization, and the factor in the forward pass.
        """

    @abstractmethod
    def rate(self, parameter: Parameter) -> float:
        """Factor on the learning rate of optimizers whose steps do not grow with the gradients, such as Adam."""

    @abstractmethod
    def ntk_grows_with_width(self) -> bool:
        """Whether the infinite-width NTK grows with the width, so that it is computed for a finite one."""

    @abstractmethod
    def without_infinite_kernel(self) -> str:
        """Why networks have no kernel of infinite width, as the end of a sentence; empty if they have one."""

    def kernel_factor(self, parameter: Parameter, variance: float) -> float:
        """fan_in · forward²: what a parameter counts in the NTK.

        A layer's weights add kernel_factor · x·x′/fan_in to Θ, with x the layer's input, and its biases kernel_factor.

        Args:
            parameter: weights or biases of a layer.
            variance: s² · fan_in, σ_w² or σ_b².

        Returns:
            The factor.
        """
        return parameter.fan_in * self.split(parameter, math.sqrt(variance / parameter.fan_in))[1] ** 2

    def no_infinite_kernel(self) -> str:
        """Why kernels of infinite width are not computed: there are none, or their recursion does not hold.

        The recursion counts all layers alike: each with the size σ_w/√fan_in and one `kernel_factor`, which only an NTK
        that grows with the width may have from it.
        """
        if reason := self.without_infinite_kernel():
            return reason
        kinds: tuple[tuple[Kind, float], ...] = (("weight", 0.3), ("bias", 0.7))
        for kind, variance in kinds:
            factors = []
            for role, width in product(get_args(Role), (32, 2048)):
                parameter = Parameter(role, kind, width if kind == "weight" else 1, width)
                size = math.sqrt(variance / parameter.fan_in)
                if not math.isclose(math.prod(self.split(parameter, size)), size):
                    return f"{self.name} draws {kind}s of the {role} layer larger or smaller than kernels count them"
                factors.append(self.kernel_factor(parameter, variance))
            if not all(math.isclose(factor, factors[i % 2]) for i, factor in enumerate(factors)):
                return f"under {self.name} layers count differently in the NTK, which the recursion counts alike"
            if not self.ntk_grows_with_width() and not math.isclose(*factors[:2]):
                return f"the NTK of {self.name} depends on the width: return True in `ntk_grows_with_width`"
        return ""


PARAMETERIZATIONS = Registry(
    "ntk_atlas.parameterizations", Parameterization, "parameterization", error=ParameterizationError
)
"""The room."""

__all__ = [
    "PARAMETERIZATIONS",
    "Parameter",
    "Parameterization",
    "ParameterizationError",
    "layer_parameters",
    "parameterization",
]


def parameterization(name: str) -> Parameterization:
    """The parameterization called `name`, or the one in a user's file that `my_file.py:name` says.

    Raises:
        ParameterizationError: if there is none of that name, or the file does not hold one.
    """
    return PARAMETERIZATIONS.get(name)
