"""An activation as a function with its derivative: by name, from the user's file, or any function of a tensor."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from ntk_atlas.config.network import LEAKY_RELU_SLOPE, is_own_activation
from ntk_atlas.phases.quadrature import integrate

ValuesAndSlopes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
_FAR = 64.0 * 1.0137  # so that no kink at a round number is an end of the first panels
_NARROW = 1e-6


@dataclass(frozen=True, eq=False)
class ActivationFunction:
    """φ and φ' on arrays of float64.

    Attributes:
        name: what to call it in messages.
        values_and_slopes: φ and φ' at many points.
        homogeneous: slopes below and above 0 if φ(λu) = λ φ(u) for λ > 0, else None.
        kinks: points up to |u| = 64 where φ' jumps.
        known: moments that have been computed, by variance.
    """

    name: str
    values_and_slopes: ValuesAndSlopes
    homogeneous: tuple[float, float] | None = None
    kinks: tuple[float, ...] = ()
    known: dict = field(default_factory=dict, repr=False)

    def mean_square_slope(self, u: float) -> float:
        """½ (φ'(u)² + φ'(−u)²): E[φ'(√q z)²] as √q → 0 or ∞ together with u, where that has a limit."""
        _, slopes = self.values_and_slopes(np.array([-u, u]))
        with np.errstate(over="ignore"):
            return float(0.5 * (slopes**2).sum())


ActivationLike = object
"""A name of `config.network.Activation`; `my_phi.py:phi`; a torch module or any elementwise function of a tensor; or an
`ActivationFunction`, which saves looking for its kinks again."""


def activation_function(activation: ActivationLike) -> ActivationFunction:
    """The function behind a choice of activation; derivatives of the user's own come from autograd in float64.

    Args:
        activation: a name, `my_phi.py:phi`, or a function of a tensor (`torch.sin`, `nn.Softplus(beta=2.0)`).

    Returns:
        The function.

    Raises:
        KeyError: if there is no activation of that name.
        ActivationError: if a function of the user's own is none of a tensor's entries, has no derivative, or jumps.
    """
    if isinstance(activation, ActivationFunction):
        return activation
    if not isinstance(activation, str):
        return _of_tensors(activation, getattr(activation, "__name__", None) or repr(activation))
    if not is_own_activation(activation):
        return _named(activation)
    path = Path(activation.rpartition(":")[0])
    return _from_file(activation, path.absolute(), path.read_bytes() if path.is_file() else b"")


@lru_cache(maxsize=32)
def _named(name: str) -> ActivationFunction:
    if name in _HOMOGENEOUS:
        below, above = _HOMOGENEOUS[name]
        return ActivationFunction(
            name, lambda u: (np.where(u > 0, above, below) * u, np.where(u > 0, above, below)), (below, above)
        )
    return ActivationFunction(name, _NAMED[name])


@lru_cache(maxsize=32)
def _from_file(spec: str, _path: Path, _content: bytes) -> ActivationFunction:
    from ntk_atlas.activations.user_file import load_activation

    return _of_tensors(load_activation(spec), spec)


def _of_tensors(function: Callable, name: str) -> ActivationFunction:
    import torch

    from ntk_atlas.activations.elementwise import ActivationError, ElementwiseFunction

    if not callable(function):
        raise ActivationError(f"an activation is a name or a function of a tensor, got {function!r}")
    if any(True for _ in getattr(function, "parameters", tuple)()):
        raise ActivationError(f"activation {name} has parameters, which would be trained: fix them")
    checked = ElementwiseFunction(function)

    def evaluate(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, slopes = checked.values_and_slopes(torch.from_numpy(np.ascontiguousarray(u)))
        return values.numpy(), slopes.numpy()

    found = ActivationFunction(name, evaluate, _slopes_if_homogeneous(evaluate), _kinks(evaluate))
    if _jumps(found):
        raise ActivationError(
            f"the derivative of activation {name} (by automatic differentiation) does not integrate to it: it jumps, "
            "or part of it is detached; phases need a continuous activation"
        )
    return found


def _slopes_if_homogeneous(evaluate: ValuesAndSlopes) -> tuple[float, float] | None:
    u = np.geomspace(1e-6, 1e6, 25)
    slopes = []
    for sign in (-1.0, 1.0):
        values, derivative = evaluate(sign * u)
        slope = sign * values[12]  # at 1
        if not (np.allclose(values, slope * sign * u, rtol=1e-12, atol=0) and np.allclose(derivative, slope)):
            return None
        slopes.append(float(slope))
    return slopes[0], slopes[1]


def _kinks(evaluate: ValuesAndSlopes) -> tuple[float, ...]:
    # Where halving ends in narrow panels. The arctangent keeps what φ' does far out from hiding what it does near 0.
    steps = _FAR * np.array([0.0, *2.0 ** np.arange(-8.0, 1.0)])
    panels = integrate(lambda u: np.arctan(evaluate(u)[1])[None], np.concatenate([-steps[:0:-1], steps]), 1e-13).edges
    narrow = panels[panels[:, 1] - panels[:, 0] < _NARROW]
    if not len(narrow):
        return ()
    groups = np.split(narrow, np.flatnonzero(narrow[1:, 0] - narrow[:-1, 1] > _NARROW) + 1)
    return tuple(_largest_step(evaluate, group[0, 0], group[-1, 1]) for group in groups)


def _largest_step(evaluate: ValuesAndSlopes, low: float, high: float) -> float:
    # Halves towards the larger change of φ'.
    for _ in range(60):
        middle = 0.5 * (low + high)
        at_low, at_middle, at_high = evaluate(np.array([low, middle, high]))[1]
        low, high = (low, middle) if abs(at_middle - at_low) > abs(at_high - at_middle) else (middle, high)
    return float(high)


def _jumps(function: ActivationFunction) -> bool:
    # Stein's lemma: E[z φ(z)] = E[φ'(z)].
    def both(z: np.ndarray) -> np.ndarray:
        values, slopes = function.values_and_slopes(z)
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        return np.stack([(z * values - slopes) * density, np.abs(z * values) * density])

    edges = np.unique([*np.arange(-8.0, 9.0), *(kink for kink in function.kinks if abs(kink) < 8.0)])
    (gap, size), _, _ = integrate(both, edges, 1e-9)
    return bool(abs(gap) > 1e-6 * size)


def _logistic(u: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * u))


def _erf(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import erf

    return erf(u), 2.0 / math.sqrt(math.pi) * np.exp(-(u**2))


def _tanh(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # 1 − tanh² would cancel where it is small.
    value, decay = np.tanh(u), np.exp(-2.0 * np.abs(u))
    return value, 4.0 * decay / (1.0 + decay) ** 2


def _sigmoid(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value, slope = _tanh(0.5 * u)
    return 0.5 * (1.0 + value), 0.25 * slope


def _gelu(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import ndtr

    cdf = ndtr(u)
    return u * cdf, cdf + u * np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)


def _silu(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value = _logistic(u)
    return u * value, value * (1.0 + u * _logistic(-u))


_HOMOGENEOUS = {"relu": (0.0, 1.0), "leaky_relu": (LEAKY_RELU_SLOPE, 1.0)}
_NAMED: dict[str, ValuesAndSlopes] = {"erf": _erf, "tanh": _tanh, "sigmoid": _sigmoid, "gelu": _gelu, "silu": _silu}
