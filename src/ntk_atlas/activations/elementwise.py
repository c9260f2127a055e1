"""Functions of a user's own as activations: values and derivatives at many points, checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]


class ActivationError(ValueError):
    """Something that is no activation: it fails, mixes entries, or has no derivative."""


@dataclass(frozen=True)
class ElementwiseFunction:
    """φ with φ' by automatic differentiation.

    Attributes:
        function: φ, a function of a tensor that acts on each entry alone.
    """

    function: Elementwise
    error: ClassVar[type[ValueError]] = ActivationError

    def __post_init__(self):
        probe = torch.linspace(-2.3, 2.1, 11, dtype=torch.float64)
        name = getattr(self.function, "__name__", repr(self.function))
        try:
            values, slopes = self.values_and_slopes(probe)
            alone = torch.cat([self(one) for one in probe.split(1)])
        except self.error:
            raise
        except Exception as error:
            raise self.error(
                f"activation {name} failed on a float64 tensor of 11 values: {type(error).__name__}: {error}"
            ) from error
        if not torch.allclose(values, alone, rtol=1e-12, atol=1e-300, equal_nan=True):
            raise self.error(
                f"activation {name} does not act on each entry alone: its value at one entry changes with the others "
                "or from call to call"
            )
        if not (torch.isfinite(values).all() and torch.isfinite(slopes).all()):
            raise self.error(f"activation {name} or its derivative is not finite on [−2.3, 2.1]")

    def __call__(self, u: Tensor) -> Tensor:
        """Returns φ(u)."""
        with torch.no_grad():
            return self._checked(self.function(u), u)

    def values_and_slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Returns φ(u) and φ'(u).

        Raises:
            ActivationError: if the function cannot be differentiated or changes shape or precision.
        """
        with torch.inference_mode(False), torch.enable_grad():
            u = (u.clone() if u.is_inference() else u.detach()).requires_grad_()
            values = self._checked(self.function(u), u)
            if not values.requires_grad:
                raise self.error(
                    "the activation has no derivative for automatic differentiation: write it with torch functions"
                )
            (slopes,) = torch.autograd.grad(values.sum(), u)
        return values.detach(), slopes

    def _checked(self, values: Tensor, u: Tensor) -> Tensor:
        if not isinstance(values, Tensor) or values.shape != u.shape or values.dtype != u.dtype:
            got = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise self.error(
                f"an activation maps a tensor to one of its shape and dtype; {tuple(u.shape)} {u.dtype} became {got}"
            )
        return values
