"""Activations, one file each: φ and φ' for networks, phases, kernels and checks alike.

A network needs φ alone. All else follows from φ, and an activation that knows better says so: its slope φ' (else by
automatic differentiation), its kinks and whether it is homogeneous (else searched for), and its dual,

    T(a, b, c) = E[φ(u) φ(v)],   Ṫ(a, b, c) = E[φ'(u) φ'(v)] = ∂T/∂c,   (u, v) ~ N(0, [[a, c], [c, b]]),

in closed form (else by a Hermite series with an error bound, `kernels.infinite.series`). Nothing here, nor in the file
of an activation, imports torch before a tensor is there: a run is planned without it. A function of a tensor,
`my_phi.py:phi` or `torch.sin`, becomes an activation too; all that a user brings is checked.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ntk_atlas.quadrature import integrate
from ntk_atlas.registry import Registry, is_own
from ntk_atlas.user_code import check_function, told

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FAR = 64.0 * 1.0137  # so that no kink at a round number is an end of the first panels
_NARROW = 1e-6
_SHAPES = ((11,), (3, 4), (1, 2, 3, 2))
"""Of what networks and kernels call an activation with."""
_WRONG_FORMULA = 0.02


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


_adopted: dict[str, tuple[object, Activation]] = {}


class FunctionActivation(Activation):
    """φ as a function of a tensor that acts on each entry alone.

    Attributes:
        function: φ; a torch module without parameters is one.
    """

    def __init__(self, function: "Callable[[Tensor], Tensor]", name: str):
        self.function, self.name = function, name

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        return self.function(u)


def of_function(function: object) -> Activation:
    """The activation of a function of a tensor, tried in float64.

    Raises:
        ActivationError: if it is none: see `check_elementwise`.
    """
    import torch

    if isinstance(function, type):
        raise ActivationError(f"activation {function.__name__} is a class: give an instance, {function.__name__}()")
    if not callable(function):
        raise ActivationError(f"an activation is a name or a function of a tensor, got {function!r}")
    name = getattr(function, "__name__", None) or repr(function)
    _check_parameters(function, name)
    found = FunctionActivation(function, name)
    check_elementwise(found, (torch.float64,))
    return found


def adopted(found: object, spec: str) -> Activation:
    """What a user's file defines, as a checked activation: the same one as long as the object is the same.

    Args:
        found: an `Activation`; or a function of one tensor that returns φ of each entry, of the same shape and dtype,
            written with torch functions (autograd gives φ'). A `torch.nn.Module` without parameters,
            `phi = nn.Softplus(beta=2.0)`, is a function.
        spec: file and name, `my_phi.py:phi`.

    Returns:
        The activation.

    Raises:
        ActivationError: if it is none, or its closed form or its slopes are those of another function.
    """
    if spec not in _adopted or _adopted[spec][0] is not found:
        _adopted[spec] = (found, _checked_of_file(found, spec))
    return _adopted[spec][1]


def _checked_of_file(found: Any, spec: str) -> Activation:
    import torch

    if isinstance(found, Activation):
        phi = found
    else:
        check_function(found, spec, "activation", ActivationError, "a function of a tensor", instance="phi")
        try:
            inspect.signature(found).bind(None)
        except TypeError as error:
            raise ActivationError(
                f"activation {spec!r} cannot be called with one tensor ({error}): define `def phi(u)`"
            ) from None
        except ValueError:  # a signature that Python does not know
            pass
        _check_parameters(found, repr(spec))
        phi = FunctionActivation(found, spec)
    try:
        check_elementwise(phi, (torch.float64, torch.float32))
        _check_what_is_given(phi)
    except ActivationError as error:
        raise ActivationError(f"activation {spec!r}: {error}") from error
    if not phi.with_slope(torch.linspace(-3.1, 2.9, 64, dtype=torch.float64))[1].any():
        raise ActivationError(
            f"activation {spec!r} has the derivative 0 all over [−3.1, 2.9]: layers below it are not trained"
        )
    return phi


def _check_parameters(function: object, name: str) -> None:
    if any(True for _ in getattr(function, "parameters", tuple)()):
        raise ActivationError(
            f"activation {name} has parameters, which would be trained, and no kernel of infinite width is known for "
            "it: fix them (nn.LeakyReLU(0.25) in place of nn.PReLU()), or build the whole network by network.factory"
        )


def check_elementwise(activation: Activation, dtypes: "tuple[torch.dtype, ...]") -> None:
    """Tries an activation on small tensors.

    Raises:
        ActivationError: if it fails, changes its input, draws random numbers, keeps a state, mixes entries, changes
            shape or precision, has no derivative, or is not finite on [−2.3, 2.1].
    """
    import torch

    function = getattr(activation, "function", activation)
    name = f"activation {getattr(function, '__name__', None) or type(function).__name__}"
    for shape in _SHAPES:
        for dtype in dtypes:
            probe = torch.linspace(-2.3, 2.1, math.prod(shape), dtype=torch.float64).reshape(shape).to(dtype)
            try:
                _try(activation, probe, name)
            except ActivationError:
                raise
            except (Exception, SystemExit) as error:
                tried = f"a {str(dtype).removeprefix('torch.')} tensor of shape {shape}"
                raise ActivationError(f"{name} failed on {tried}: {told(error)}") from error


def _try(activation: Activation, probe: "Tensor", name: str) -> None:
    import torch

    from ntk_atlas.numerics import equal_tensors

    state = _state(activation)
    given = probe.clone()
    with torch.no_grad():
        values = activation.phi(given)
        if not torch.equal(given, probe):
            raise ActivationError(f"{name} changes its input: return a new tensor (torch.relu(u), not u.relu_())")
        again = activation.phi(probe)
    first, slopes = activation.with_slope(probe)
    if not equal_tensors(values, again) or state != _state(activation):
        raise ActivationError(
            f"{name} gives other values when it is called again: remove what draws random numbers or keeps a state"
        )
    if not (torch.isfinite(first).all() and torch.isfinite(slopes).all()):
        raise ActivationError(f"{name} or its derivative is not finite on [−2.3, 2.1]")
    with torch.no_grad():
        alone = torch.cat([activation.phi(one) for one in probe.reshape(-1, *[1] * probe.dim())]).reshape(probe.shape)
    tolerance = 100 * torch.finfo(probe.dtype).eps
    if not torch.allclose(first, alone, rtol=tolerance, atol=tolerance * float(first.abs().max()), equal_nan=True):
        raise ActivationError(
            f"{name} does not act on each entry alone: its value at one entry changes with the others"
        )


def _check_what_is_given(activation: Activation) -> None:
    """Holds slopes, homogeneity and the closed form that a user's class gives against φ itself.

    Raises:
        ActivationError: if one is that of another function.
    """
    import torch

    u = torch.linspace(-2.3, 2.1, 44, dtype=torch.float64)
    expected = Activation.with_slope(activation, u)
    arrays = map(torch.as_tensor, activation.on_array(u.numpy()))
    for given in (activation.with_slope(u), tuple(arrays)):
        if not all(torch.allclose(x, y, rtol=1e-6, atol=1e-9) for x, y in zip(given, expected, strict=True)):
            raise ActivationError("`with_slope` or `on_array` gives other values than φ and its derivative")
    if activation.homogeneous is not None:
        below, above = activation.homogeneous
        if not torch.allclose(expected[0], torch.where(u > 0, above, below) * u, rtol=1e-9, atol=0):
            raise ActivationError(f"φ has not the slopes {below:g} and {above:g} of `homogeneous`")
    dual = activation.dual()
    if dual is None:
        return
    grid = (torch.arange(1200, dtype=torch.float64) + 0.5) * 0.015 - 9.0
    weight = torch.exp(-0.5 * grid**2) * (0.015 / math.sqrt(2 * math.pi))
    a, b = torch.tensor([[1.3]], dtype=torch.float64), torch.tensor([[0.6]], dtype=torch.float64)
    for rho in (-0.4, 0.7):
        u, v = a.sqrt() * grid[:, None], b.sqrt() * (rho * grid[:, None] + math.sqrt(1 - rho**2) * grid)
        parts = zip(activation.with_slope(u), activation.with_slope(v), strict=True)
        closed = dual_at(dual, a, b, rho * (a * b).sqrt())
        for symbol, said, (x, y) in zip(("T", "Ṫ"), map(float, closed), parts, strict=True):
            integral = float(weight @ (x * y) @ weight)
            size = float((weight @ x**2).sum() * (weight @ y**2 @ weight)) ** 0.5
            if not abs(said - integral) < _WRONG_FORMULA * size:
                raise ActivationError(
                    f"`closed_form` is not that of φ: at a = 1.3, b = 0.6 and correlation {rho}, {symbol} is "
                    f"{integral:.4g} by quadrature, {said:.4g} in closed form"
                )


def _state(activation: Activation) -> list[tuple[str, bytes]]:
    """Buffers of a module that is used as a function."""
    named_buffers = getattr(getattr(activation, "function", None), "named_buffers", tuple)
    return [(name, buffer.detach().cpu().contiguous().view(-1).numpy().tobytes()) for name, buffer in named_buffers()]


__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ActivationChoice",
    "ActivationError",
    "ActivationOverflowError",
    "activation",
    "built_in",
    "dual_at",
]

ACTIVATIONS = Registry("ntk_atlas.activations", Activation, "activation", error=ActivationError, adopt=adopted)
"""All activations that a config can name."""
ActivationChoice = str | Activation | Callable[..., Any]
"""A name of `ACTIVATIONS`; `my_phi.py:phi`; an `Activation`; a torch module such as `nn.LeakyReLU(0.2)`, or any
function that maps a tensor to one of the same shape, entry by entry, differentiable by autograd."""


def activation(choice: ActivationChoice) -> Activation:
    """The activation behind a choice.

    Args:
        choice: see `ActivationChoice`.

    Returns:
        The activation; of a function or module of torch the built-in one, if there is one.

    Raises:
        ActivationError: if there is no activation of that name, or a function is none: it fails, mixes entries, has
            parameters or no derivative.
    """
    if isinstance(choice, Activation):
        return choice
    if isinstance(choice, str):
        return ACTIVATIONS.get(choice)
    known = (value.of_torch(choice) for value in ACTIVATIONS.values())
    return next((value for value in known if value is not None), None) or of_function(choice)


def built_in(name: str) -> Activation | None:
    """The activation of a name; None if it lies in a user's file, which runs in jobs and not where a run is planned."""
    return None if is_own(name) else ACTIVATIONS.get(name)
