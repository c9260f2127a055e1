"""Functions of a user's own as activations: values and derivatives at many points, checked."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ntk_atlas.tensors import equal_tensors
from ntk_atlas.user_code import told

Elementwise = Callable[[Tensor], Tensor]


class ActivationError(ValueError):
    """Something that is no activation: it fails, mixes entries, or has no derivative."""


_SHAPES = ((11,), (3, 4), (1, 2, 3, 2))
"""Of what networks and kernels call an activation with."""


@dataclass(frozen=True)
class ElementwiseFunction:
    """φ with φ' by automatic differentiation.

    Attributes:
        function: φ, a function of a tensor that acts on each entry alone.
        dtypes: the precisions in which it is tried.
    """

    function: Elementwise
    dtypes: tuple[torch.dtype, ...] = (torch.float64,)
    error: ClassVar[type[ValueError]] = ActivationError

    def __post_init__(self):
        name = getattr(self.function, "__name__", None) or type(self.function).__name__
        for shape, dtype in itertools.product(_SHAPES, self.dtypes):
            probe = torch.linspace(-2.3, 2.1, math.prod(shape), dtype=torch.float64).reshape(shape).to(dtype)
            try:
                self._check(probe, f"activation {name}")
            except self.error:
                raise
            except (Exception, SystemExit) as error:
                tried = f"a {str(dtype).removeprefix('torch.')} tensor of shape {shape}"
                raise self.error(f"activation {name} failed on {tried}: {told(error)}") from error

    def _check(self, probe: Tensor, name: str) -> None:
        given, state = probe.clone(), _state(self.function)
        values = self(given)
        if not torch.equal(given, probe):
            raise self.error(f"{name} changes its input: return a new tensor (torch.relu(u), not u.relu_())")
        again = self(probe)
        if not equal_tensors(values, again) or state != _state(self.function):
            raise self.error(
                f"{name} gives other values when it is called again: remove what draws random numbers or keeps a state"
            )
        first, slopes = self.values_and_slopes(probe)
        if not (torch.isfinite(first).all() and torch.isfinite(slopes).all()):
            raise self.error(f"{name} or its derivative is not finite on [−2.3, 2.1]")
        alone = torch.cat([self(one) for one in probe.reshape(-1, *[1] * probe.dim())]).reshape(probe.shape)
        tolerance = 100 * torch.finfo(probe.dtype).eps
        if not torch.allclose(first, alone, rtol=tolerance, atol=tolerance * float(first.abs().max()), equal_nan=True):
            raise self.error(f"{name} does not act on each entry alone: its value at one entry changes with the others")

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
            slopes = torch.autograd.grad(values.sum(), u, allow_unused=True)[0] if values.requires_grad else None
            if slopes is None:
                raise self.error(
                    "the activation has no derivative for automatic differentiation: write it with torch functions, "
                    "without detach or no_grad"
                )
        return values.detach(), slopes

    def _checked(self, values: Tensor, u: Tensor) -> Tensor:
        if not isinstance(values, Tensor) or values.shape != u.shape or values.dtype != u.dtype:
            got = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise self.error(
                f"an activation maps a tensor to one of its shape and dtype; {tuple(u.shape)} {u.dtype} became {got}"
            )
        return values


def _state(function: object) -> list[tuple[str, bytes]]:
    """Buffers of a module that is used as a function."""
    buffers = function.named_buffers() if isinstance(function, nn.Module) else ()
    return [(name, buffer.detach().cpu().contiguous().view(-1).numpy().tobytes()) for name, buffer in buffers]
