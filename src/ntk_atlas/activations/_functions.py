"""Functions of a tensor as activations, and the checks of all that a user brings: `my_phi.py:phi`, `torch.sin`."""

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntk_atlas.activations.activation import Activation, ActivationError, dual_at
from ntk_atlas.user_code import check_function, told

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SHAPES = ((11,), (3, 4), (1, 2, 3, 2))
"""Of what networks and kernels call an activation with."""
_WRONG_FORMULA = 0.02
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

    from ntk_atlas.tensors import equal_tensors

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
