r"""Dual activations: Gaussian expectations of an activation and its derivative.

For (u, v) ~ N(0, [[a, c], [c, b]]),  T = E[φ(u) φ(v)]  and  Ṫ = E[φ'(u) φ'(v)].

* ReLU (Cho & Saul 2009): with angle θ between u and v, T = (√(ab − c²) + c (π − θ)) / 2π, Ṫ = (π − θ) / 2π;
* erf (Williams 1997): T = (2/π) asin(2c / √((1+2a)(1+2b))), Ṫ = (4/π) / √((1+2a)(1+2b) − 4c²).

On the diagonal, T(a, a) = E[φ(√a z)²] is known for every activation.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Covariances this close to their bound are equal or scaled inputs plus rounding: the angle, which is the
# square root of what is left, would turn 1e-15 into 3e-8.
_ROUNDING = 32 * torch.finfo(torch.float64).eps
_STEP = 0.1
_REACH = 20.0


class UnsupportedActivationError(ValueError):
    """An activation without a closed-form dual where one is needed."""


def dual_activation(activation: str) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The function `(a, b, c) → (T, Ṫ)` of an activation; the three broadcast.

    Args:
        activation: `relu` or `erf`.

    Returns:
        The function.

    Raises:
        UnsupportedActivationError: for any other activation.
    """
    if activation not in _DUALS:
        raise UnsupportedActivationError(
            f"no closed-form infinite-width kernel for activation {activation!r}: available are {', '.join(_DUALS)}"
        )
    return _DUALS[activation]


def second_moment(activation: str, variance: Tensor, *, step: float = _STEP) -> Tensor:
    r"""E[φ(√q z)²] for z ~ N(0, 1), by closed form or quadrature.

    tanh and sigmoid use the trapezoidal rule, which converges geometrically on analytic integrands that decay
    on both sides: in t = √q z where the activation is the narrower factor (q > 1), in z where the Gaussian
    is. The default step leaves only rounding, at any q; halving it shows that.

    Args:
        activation: any of `config.network.Activation`.
        variance: q ≥ 0, any shape, float64.
        step: of the trapezoidal rule.

    Returns:
        The moments, the shape of `variance`.
    """
    return _MOMENTS[activation](variance, step)


def _relu(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    sine, c = _sine_side(a, b, c)
    angle = torch.atan2(sine, c)
    share = (math.pi - angle) / (2 * math.pi)
    return sine / (2 * math.pi) + c * share, share


def _erf(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    sine, c = _sine_side(a, b, c)
    root = torch.sqrt(1.0 + 2.0 * (a + b) + 4.0 * sine**2)
    return (2 / math.pi) * torch.atan2(2.0 * c, root), (4 / math.pi) / root


def _sine_side(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Returns √(ab − c²) without cancellation, and c moved onto ±√(ab) where it is within rounding of it."""
    bound = torch.sqrt(a) * torch.sqrt(b)
    c = torch.where(bound - c.abs() <= _ROUNDING * bound, torch.copysign(bound, c), c)
    return torch.sqrt((bound - c) * (bound + c)), c


def _relu_moment(q: Tensor, step: float) -> Tensor:
    return 0.5 * q


def _erf_moment(q: Tensor, step: float) -> Tensor:
    return (2 / math.pi) * torch.atan2(2.0 * q, torch.sqrt(1.0 + 4.0 * q))


def _gelu_moment(q: Tensor, step: float) -> Tensor:
    """Returns E[u² Φ(u)²] by Stein's lemma applied to u² Φ², u ~ N(0, q)."""
    arcsine = torch.atan2(q, torch.sqrt(1.0 + 2.0 * q))
    return q / 4 + q * arcsine / (2 * math.pi) + q**2 / (math.pi * (1.0 + q) * torch.sqrt(1.0 + 2.0 * q))


def _tanh_moment(q: Tensor, step: float) -> Tensor:
    s = torch.sqrt(q).flatten()
    node = torch.arange(-_REACH, _REACH + step / 2, step, dtype=q.dtype, device=q.device)
    moments = []
    for block in s.split(4096):
        narrow, wide = block.clamp(max=1.0)[:, None], block.clamp(min=1.0)[:, None]
        t = narrow * node
        # φ(t/s) dt/s with t = min(s, 1)·node and dt/s = step / max(s, 1).
        weight = torch.exp(-0.5 * (node / wide) ** 2) * (step / math.sqrt(2 * math.pi)) / wide
        small = (weight * torch.tanh(t) ** 2).sum(1)
        # For s > 1 the tails do not end within reach; those of 1 − tanh² do.
        large = 1.0 - (weight / torch.cosh(t) ** 2).sum(1)
        moments.append(torch.where(block <= 1.0, small, large))
    return torch.cat(moments).reshape(q.shape)


def _sigmoid_moment(q: Tensor, step: float) -> Tensor:
    """Returns E[σ(u)²] from σ(u) = (1 + tanh(u/2)) / 2, whose odd part has no mean."""
    return 0.25 * (1.0 + _tanh_moment(q / 4, step))


_DUALS = {"relu": _relu, "erf": _erf}
_MOMENTS = {
    "relu": _relu_moment,
    "erf": _erf_moment,
    "gelu": _gelu_moment,
    "tanh": _tanh_moment,
    "sigmoid": _sigmoid_moment,
}
