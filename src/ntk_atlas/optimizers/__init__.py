"""Optimizers by name: how weights follow gradients, when that is stable, and what it is in a linear model.

A new optimizer is one file in this folder, or a file of the user's (`docs/extending.md`). A run is planned with the
same objects that train: they import torch only where they make its optimizer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ntk_atlas.registry import Registry

if TYPE_CHECKING:
    import torch

Linearization = Literal["gradient_descent", "heavy_ball"]
"""Full-batch trainings of a linear model that have a closed form (`regression.training_modes`)."""


class OptimizerError(ValueError):
    """A name that is no optimizer's, or something in a user's file that is none or mixes the members of a stack."""


class Optimizer(ABC):
    """How the weights of networks follow gradients.

    All members of a stack take one step together, although their learning rates may differ. An optimizer whose steps
    are proportional to the gradients gets the sum of the members' losses, each times its learning rate, and runs at
    rate 1. One that normalizes gradients does not see such factors: it runs at one rate for all members, and each
    layer has the share of it that the parameterization gives it.

    Attributes:
        name: in a config.
        label: in sentences.
    """

    name: str = ""
    label: str

    @abstractmethod
    def stability_limit(self, momentum: float) -> float | None:
        """The η λ_max(Θ)/n below which full-batch steps on squared error converge in a linear model.

        Args:
            momentum: β.

        Returns:
            The limit; None for an optimizer whose steps are not proportional to the gradients.
        """

    @abstractmethod
    def linearization(self) -> Linearization | None:
        """What full-batch training of a linear model is; None if it has no closed form here."""

    @abstractmethod
    def make(self, groups: Sequence[dict[str, Any]], *, momentum: float, fused: bool) -> "torch.optim.Optimizer":
        """Makes the optimizer of a stack.

        Args:
            groups: parameters with their learning rates, as `torch.optim` takes them.
            momentum: β.
            fused: whether the device updates all weights in one pass, for torch's optimizers.

        Returns:
            An optimizer that updates each entry by itself, its state in tensors of the parameter's shape: members of a
            stack do not mix.
        """

    def normalizes_gradients(self) -> bool:
        """Whether steps do not grow with the gradients."""
        return self.stability_limit(0.0) is None

    def without_relative_rate(self) -> str:
        """Why a learning rate cannot be a share of a stability limit, as a sentence; empty if it can."""
        if not self.normalizes_gradients():
            return ""
        return (
            "learning_rate.relative is a share of gradient descent's stability limit, which "
            f"{self.name} does not have: give learning_rate.absolute"
        )


OPTIMIZERS = Registry("ntk_atlas.optimizers", Optimizer, "optimizer", error=OptimizerError)
"""The room."""

__all__ = ["OPTIMIZERS", "Linearization", "Optimizer", "OptimizerError", "optimizer"]


def optimizer(name: str) -> Optimizer:
    """The optimizer called `name`, or the one in a user's file that `my_file.py:name` says.

    Raises:
        OptimizerError: if there is none of that name, or the file does not hold one.
    """
    return OPTIMIZERS.get(name)
