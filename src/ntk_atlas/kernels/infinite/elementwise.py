"""Functions of a user's own as activations: values and derivatives at many points, checked."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.kernels.errors import KernelInputError

Elementwise = Callable[[Tensor], Tensor]


class UnsupportedActivationError(KernelInputError):
    """An activation whose infinite-width kernel is not known or cannot be computed."""


@dataclass(frozen=True)
class ElementwiseFunction:
    """φ with φ' by automatic differentiation.

    Attributes:
        function: φ, a function of a tensor that acts on each entry alone.
    """

    function: Elementwise

    def __post_init__(self):
        probe = torch.linspace(-2.3, 2.1, 11, dtype=torch.float64)
        name = getattr(self.function, "__name__", repr(self.function))
        try:
            values, slopes = self.values_and_slopes(probe)
            alone = torch.cat([self(one) for one in probe.split(1)])
        except UnsupportedActivationError:
            raise
        except Exception as error:
            raise UnsupportedActivationError(
                f"activation {name} failed on a float64 tensor of 11 values: {type(error).__name__}: {error}"
            ) from error
        if not torch.allclose(values, alone, rtol=1e-12, atol=1e-300, equal_nan=True):
            raise UnsupportedActivationError(
                f"activation {name} does not act on each entry alone: its value at one entry changes with the others "
                "or from call to call"
            )
        if not (torch.isfinite(values).all() and torch.isfinite(slopes).all()):
            raise UnsupportedActivationError(f"activation {name} or its derivative is not finite on [−2.3, 2.1]")

    def __call__(self, u: Tensor) -> Tensor:
        """Returns φ(u)."""
        with torch.no_grad():
            return self._checked(self.function(u), u)

    def values_and_slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Returns φ(u) and φ'(u).

        Raises:
            UnsupportedActivationError: if the function cannot be differentiated or changes shape or precision.
        """
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            values = self._checked(self.function(u), u)
            if not values.requires_grad:
                raise UnsupportedActivationError(
                    "the activation has no derivative for automatic differentiation: write it with torch functions"
                )
            (slopes,) = torch.autograd.grad(values.sum(), u)
        return values.detach(), slopes

    def _checked(self, values: Tensor, u: Tensor) -> Tensor:
        if not isinstance(values, Tensor) or values.shape != u.shape or values.dtype != u.dtype:
            got = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise UnsupportedActivationError(
                f"an activation maps a tensor to one of its shape and dtype; {tuple(u.shape)} {u.dtype} became {got}"
            )
        return values


@dataclass(frozen=True)
class Grid:
    """Midpoint nodes z on [−12, 12], never at a kink in 0, with Gaussian weights."""

    z: Tensor
    weight: Tensor

    @classmethod
    def of(cls, n_nodes: int, device: torch.device | None = None) -> "Grid":
        """The grid of `n_nodes`."""
        step = 24.0 / n_nodes
        z = (torch.arange(n_nodes, dtype=torch.float64, device=device) + 0.5) * step - 12.0
        return cls(z, torch.exp(-0.5 * z**2) * (step / math.sqrt(2 * math.pi)))
