r"""What an activation is: φ with all that networks, phases and kernels of infinite width ask of it.

A network needs φ alone. All else follows from φ, and an activation that knows better says so: its slope φ' (else by
automatic differentiation), its kinks and whether it is homogeneous (else searched for), and its dual,

    T(a, b, c) = E[φ(u) φ(v)],   Ṫ(a, b, c) = E[φ'(u) φ'(v)] = ∂T/∂c,   (u, v) ~ N(0, [[a, c], [c, b]]),

in closed form (else by a Hermite series with an error bound, `kernels.infinite.series`). Nothing here, nor in the file
of an activation, imports torch before a tensor is there: a run is planned without it.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ntk_atlas.quadrature import integrate

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FAR = 64.0 * 1.0137  # so that no kink at a round number is an end of the first panels
_NARROW = 1e-6


class ActivationError(ValueError):
    """What is no activation (it fails, mixes entries, jumps or has no derivative), or none that theory takes."""


class ActivationOverflowError(ActivationError):
    """An activation that is not finite, or too steep to integrate, where a Gaussian of a layer's variance reaches."""


class DualTile(NamedTuple):
    """Dual activations of one tile.

    Attributes:
        moment: gain · T.
        slope: gain · Ṫ.
        moment_error: bound on the error of gain · T by quadrature; 0 for closed forms.
        slope_error: the same of gain · Ṫ.
    """

    moment: "Tensor"
    slope: "Tensor"
    moment_error: float = 0.0
    slope_error: float = 0.0


class Dual(Protocol):
    """Expectations of one activation. Variances and covariances have any shapes that broadcast.

    A dual is evaluated in place on tiles: `side` prepares what depends on one sample only, once per sample and layer,
    `evaluate` overwrites a tile of covariances.
    """

    closed_form: ClassVar[bool]

    def at(self, q: "Tensor") -> "Dual":
        """The same dual, made ready for variances q (float64)."""

    def moment_errors(self, q: "Tensor") -> tuple[float, float]:
        """Largest errors of `second_moment` and of `slope_moment` at variances q, relative to them."""

    def curvature_moment(self, q: "Tensor") -> float:
        """Largest E[φ''(√q z)²] over variances q, by which an error of c enters Ṫ; 0 if nothing has an error."""

    def fixed_bytes(self) -> int:
        """Memory of what does not depend on samples."""

    def bytes_per_sample(self, element_size: int) -> int:
        """Memory of a `side`, while it is made, for each of its samples."""

    def second_moment(self, q: "Tensor") -> "Tensor":
        """E[φ(√q z)²], z ~ N(0, 1), float64."""

    def slope_moment(self, q: "Tensor") -> "Tensor":
        """E[φ'(√q z)²], float64."""

    def side(self, q: "Tensor", dtype: "torch.dtype") -> Any:
        """What `evaluate` needs of samples with variances q (float64), shaped as q."""

    def crop(self, side: Any, region: tuple[slice, slice]) -> Any:
        """The part of a side in a region of its first two dimensions."""

    def evaluate(self, c: "Tensor", a: Any, b: Any, scratch: "tuple[Tensor, Tensor]", gain: float) -> DualTile:
        """T and Ṫ times `gain` at covariances c, whose memory and `scratch` (two more like c) are overwritten."""


def dual_at(dual: Dual, a: "Tensor", b: "Tensor", c: "Tensor") -> "tuple[Tensor, Tensor]":
    """T and Ṫ at variances a, b and covariances c, float64; the three broadcast, and stay as they are."""
    import torch

    a, b, c = (t.clone() for t in torch.broadcast_tensors(a, b, c))
    ready = dual.at(torch.stack([a, b]))
    scratch = (torch.empty_like(c), torch.empty_like(c))
    tile = ready.evaluate(c, ready.side(a, c.dtype), ready.side(b, c.dtype), scratch, 1.0)
    return tile.moment, tile.slope


class ClosedFormDual:
    """What closed forms share: no quadrature, so no error of it."""

    closed_form: ClassVar[bool] = True

    def at(self: Dual, q: "Tensor") -> Dual:
        """Returns itself."""
        return self

    def moment_errors(self, q: "Tensor") -> tuple[float, float]:
        """Returns zeros."""
        return 0.0, 0.0

    def curvature_moment(self, q: "Tensor") -> float:
        """Returns 0."""
        return 0.0

    def crop(self, side: Any, region: tuple[slice, slice]) -> Any:
        """Returns the part of a side in a region of its first two dimensions."""
        if not isinstance(side, tuple):
            return side[region]
        return tuple(None if part is None else part[region] for part in side)

    def fixed_bytes(self) -> int:
        """Returns 0."""
        return 0

    def bytes_per_sample(self, element_size: int) -> int:
        """Returns the memory of four numbers and their float64 forms."""
        return 4 * (element_size + 8)


def squared_cosine(sine: "Tensor", a: "Sequence[Tensor]", b: "Sequence[Tensor]", out: "Tensor") -> "Tensor":
    """1 − s² with s = c/√((1 + a)(1 + b)), from √(a/(1 + a)) and 1/(1 + a) of both samples; s is held to c² ≤ ab.

    c² ≤ ab makes 1 − s² at least (1 + a + b)/((1 + a)(1 + b)), which is what equal samples have. Rounding would break
    both: s comes near to 1 as variances grow, 1 − s² would be rounding alone, and a correlation above 1 grows from
    layer to layer.
    """
    import torch

    limit = a[0] * b[0]
    torch.minimum(sine, limit, out=sine)
    torch.maximum(sine, limit.neg_(), out=sine)
    torch.addcmul(sine.new_tensor(1.0), sine, sine, value=-1.0, out=out)
    return torch.maximum(out, a[0].square() * b[1] + a[1], out=out)


class FormulaDual(ClosedFormDual):
    """The dual of an activation that gives T and Ṫ as one formula, `Activation.closed_form`."""

    def __init__(self, formula: "Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]"):
        self._formula = formula

    def second_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ(√q z)²]."""
        return self._formula(q, q, q)[0]

    def slope_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ'(√q z)²]."""
        return self._formula(q, q, q)[1]

    def side(self, q: "Tensor", dtype: "torch.dtype") -> "tuple[Tensor, Tensor]":
        """Returns q and √q."""
        return q.to(dtype), q.sqrt().to(dtype)

    def evaluate(self, c: "Tensor", a: Any, b: Any, scratch: "tuple[Tensor, Tensor]", gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`; c is held to c² ≤ ab, which rounding would break."""
        limit = a[1] * b[1]
        moment, slope = self._formula(a[0], b[0], c.clamp_(-limit, limit))
        return DualTile(scratch[1].copy_(moment).mul_(gain), scratch[0].copy_(slope).mul_(gain))


class Moments(NamedTuple):
    """E[φ(√q z)²] and E[φ'(√q z)²] as functions of q and of the step of a trapezoidal rule."""

    second: "Callable[[Tensor, float], Tensor]"
    slope: "Callable[[Tensor, float], Tensor]"


STEP = 0.1
"""Of `short_range_mean`."""
_REACH = 22.0


def short_range_mean(function: "Callable[[Tensor], Tensor]", q: "Tensor", step: float = STEP) -> "Tensor":
    """E[g(√q z)] of a g that is analytic near the real line and vanishes outside |t| < 22, to rounding at any q.

    The trapezoidal rule converges geometrically: in t where g is the narrower factor, in z where the Gaussian is.

    Args:
        function: g, elementwise.
        q: variances, any shape, float64.
        step: of the rule, in t for q > 1 and in z below.

    Returns:
        The means, the shape of `q`.
    """
    import torch

    node = torch.arange(-_REACH, _REACH + step / 2, step, dtype=q.dtype, device=q.device)
    means = []
    for block in q.sqrt().flatten().split(512):
        narrow, wide = block.clamp(max=1.0)[:, None], block.clamp(min=1.0)[:, None]
        # g(t) n(t/√q) dt/√q with t = min(√q, 1)·node and dt/√q = step / max(√q, 1).
        weight = torch.exp(-0.5 * (node / wide) ** 2) * (step / math.sqrt(2 * math.pi)) / wide
        means.append((weight * function(narrow * node)).sum(1))
    return torch.cat(means).reshape(q.shape)


class Activation:
    """φ, entry by entry. A subclass defines `phi`; everything else has a default.

    Attributes:
        name: in the config; for messages.
        moments: accurate moments beside a dual by series; None takes them from the series' nodes.
    """

    name: str = ""
    moments: Moments | None = None

    def phi(self, u: "Tensor") -> "Tensor":
        """φ of every entry of u: a new tensor of its shape and dtype, by functions that autograd differentiates.

        Raises:
            ActivationError: if a subclass does not define it.
        """
        raise ActivationError(f"activation {type(self).__name__} has no φ: define `def phi(self, u)`")

    def with_slope(self, u: "Tensor") -> "tuple[Tensor, Tensor]":
        """φ(u) and φ'(u), without a graph.

        Raises:
            ActivationError: if φ cannot be differentiated, or changes shape or precision.
        """
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            u = (u.clone() if u.is_inference() else u.detach()).requires_grad_()
            values = _checked(self.phi(u), u)
            slopes = torch.autograd.grad(values.sum(), u, allow_unused=True)[0] if values.requires_grad else None
            if slopes is None:
                raise ActivationError(
                    "the activation has no derivative for automatic differentiation: write it with torch functions, "
                    "without detach or no_grad"
                )
        return values.detach(), slopes

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """φ(u) and φ'(u) of an array of float64; phases take them, also where a run is planned."""
        import torch

        values, slopes = self.with_slope(torch.from_numpy(np.ascontiguousarray(u)))
        return values.numpy(), slopes.numpy()

    def closed_form(self, a: "Tensor", b: "Tensor", c: "Tensor") -> "tuple[Tensor, Tensor]":
        """T and Ṫ at variances a, b and covariances c, |c| ≤ √(ab); the three broadcast. A subclass may define it.

        Raises:
            ActivationError: if it does not.
        """
        raise ActivationError(f"activation {self.name} has no closed form")

    def dual(self) -> Dual | None:
        """The dual in closed form, None if there is none."""
        has_formula = type(self).closed_form is not Activation.closed_form
        return FormulaDual(self.closed_form) if has_formula else None

    def of_torch(self, function: object) -> "Activation | None":
        """This activation, or one of its family, if a function or module of torch is the same; else None."""
        return None

    @cached_property
    def homogeneous(self) -> tuple[float, float] | None:
        """The slopes below and above 0 if φ(λu) = λ φ(u) for λ > 0, else None."""
        u = np.geomspace(1e-6, 1e6, 25)
        slopes = []
        for sign in (-1.0, 1.0):
            values, derivative = self.on_array(sign * u)
            slope = sign * values[12]  # at 1
            if not (np.allclose(values, slope * sign * u, rtol=1e-12, atol=0) and np.allclose(derivative, slope)):
                return None
            slopes.append(float(slope))
        return slopes[0], slopes[1]

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        """The points up to |u| = 64 where φ' jumps.

        Raises:
            ActivationError: if φ itself jumps.
        """
        found = self._narrow_panels()
        self._check_continuous(found)
        return found

    def mean_square_slope(self, u: float) -> float:
        """½ (φ'(u)² + φ'(−u)²): E[φ'(√q z)²] as √q → 0 or ∞ together with u, where that has a limit."""
        _, slopes = self.on_array(np.array([-u, u]))
        with np.errstate(over="ignore"):
            return float(0.5 * (slopes**2).sum())

    def _narrow_panels(self) -> tuple[float, ...]:
        # Where halving ends in narrow panels. The arctangent keeps what φ' does far out from hiding what it does
        # near 0.
        steps = _FAR * np.array([0.0, *2.0 ** np.arange(-8.0, 1.0)])
        edges = np.concatenate([-steps[:0:-1], steps])
        panels = integrate(lambda u: np.arctan(self.on_array(u)[1])[None], edges, 1e-13).edges
        narrow = panels[panels[:, 1] - panels[:, 0] < _NARROW]
        if not len(narrow):
            return ()
        groups = np.split(narrow, np.flatnonzero(narrow[1:, 0] - narrow[:-1, 1] > _NARROW) + 1)
        return tuple(self._largest_step(group[0, 0], group[-1, 1]) for group in groups)

    def _largest_step(self, low: float, high: float) -> float:
        # Halves towards the larger change of φ'.
        for _ in range(60):
            middle = 0.5 * (low + high)
            at_low, at_middle, at_high = self.on_array(np.array([low, middle, high]))[1]
            low, high = (low, middle) if abs(at_middle - at_low) > abs(at_high - at_middle) else (middle, high)
        return float(high)

    def _check_continuous(self, kinks: tuple[float, ...]) -> None:
        # Stein's lemma: E[z φ(z)] = E[φ'(z)].
        def both(z: np.ndarray) -> np.ndarray:
            values, slopes = self.on_array(z)
            density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
            return np.stack([(z * values - slopes) * density, np.abs(z * values) * density])

        edges = np.unique([*np.arange(-8.0, 9.0), *(kink for kink in kinks if abs(kink) < 8.0)])
        (gap, size), _, _ = integrate(both, edges, 1e-9)
        if abs(gap) > 1e-6 * size:
            raise ActivationError(
                f"the derivative of activation {self.name} (by automatic differentiation) does not integrate to it: it "
                "jumps, or part of it is detached; phases need a continuous activation"
            )


def _checked(values: "Tensor", u: "Tensor") -> "Tensor":
    if getattr(values, "shape", None) != u.shape or getattr(values, "dtype", None) != u.dtype:
        got = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, type(u)) else type(values).__name__
        raise ActivationError(
            f"an activation maps a tensor to one of its shape and dtype; {tuple(u.shape)} {u.dtype} became {got}"
        )
    return values
