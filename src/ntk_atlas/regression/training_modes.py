"""How far linearized training has come along each eigenvector of the kernel, after each time."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import checked_number, rounding_in
from ntk_atlas.tensors import real_number, real_tensor

logger = logging.getLogger(__name__)

Dynamics = Literal["gradient_flow", "gradient_descent", "heavy_ball"]


class UnstableTrainingError(ValueError):
    """A learning rate above the stability limit, at a time at which what it diverges to is no number."""


# Steps of the heavy ball that are taken one by one.
_MOST_STEPS = 1_000_000
# Share of the largest eigenvalue up to which a negative one is noise of quadrature, or of a precision not told.
_NOISE = 1e-4


@dataclass(frozen=True)
class TrainingModes:
    """Θ = QΛQᵀ with what training does to its modes.

    Attributes:
        times: steps t, `(n_times,)`, on the CPU.
        eigenvalues: Λ, ascending, zero where they are zero to rounding, `(n,)`.
        vectors: Q, `(n, n)`.
        reach: (1 − D_t)/Λ, finite where Λ = 0, `(n_times, n)`; NaN where a mode is unstable and t infinite.
    """

    times: Tensor
    eigenvalues: Tensor
    vectors: Tensor
    reach: Tensor

    @property
    def decay(self) -> Tensor:
        """D_t, the share of the initial misfit that is left, `(n_times, n)`."""
        return 1.0 - self.reach * self.eigenvalues


def training_modes(
    gram: Tensor,
    *,
    n_samples: int,
    times: Sequence[float],
    learning_rate: float,
    dynamics: Dynamics,
    momentum: float,
    precision: torch.dtype = torch.float64,
    allow_divergence: bool = False,
) -> TrainingModes:
    r"""Modes of training with the constant kernel Θ on the loss 1/(2n) Σ‖f(x_i) − y_i‖².

    With u = ηλ/n the misfit of a mode is multiplied after t steps by D_t(u):

    - gradient flow: e^{−ut};
    - gradient descent: (1 − u)^t, stable for u < 2;
    - heavy ball θ_{t+1} = θ_t − ηg + β(θ_t − θ_{t−1}), started at rest: d_{t+1} = (1 + β − u)d_t − βd_{t−1},
      d_0 = d_{−1} = 1, stable for u < 2(1 + β).

    (1 − D_t)/λ is evaluated without dividing by λ, so that modes with λ = 0 keep their finite-time value.

    An eigenvalue below τ is rounding: τ is n roundings times λ_max for a Θ of float64, √n times the largest diagonal
    entry for one of float32, and −λ_min where that is more, since the exact Θ has no negative eigenvalue. A mode of
    rounding is not learned (D = 1) at times at which one of eigenvalue τ is: what training then made of it would be
    noise times t.

    Args:
        gram: Θ(X, X) as a matrix, float64; of order n_samples, or times the outputs for a full kernel.
        n_samples: n.
        times: numbers of steps t ≥ 0, whole unless gradient flow; `inf` is the limit (of a mode that is null
            to rounding, D = 1).
        learning_rate: η.
        dynamics: one of the three.
        momentum: β of heavy ball.
        precision: in which Θ was computed.
        allow_divergence: whether a finite time may have modes that overflow.

    Returns:
        The modes.

    Raises:
        ValueError: Θ is not finite or not positive semi-definite, a time is negative or not whole where steps are
            meant, the rate is not positive, the momentum not in [0, 1), or the dynamics is unknown; as
            UnstableTrainingError, the rate is above the stability limit and modes overflow at a finite time.
    """
    checked = _checked_times(times, dynamics)
    checked_number("learning_rate", learning_rate, positive=True)
    if dynamics == "heavy_ball" and not 0.0 <= real_number(momentum, "momentum") < 1.0:
        raise ValueError(f"momentum is {momentum}, expected a number from 0 to below 1")
    if not bool(torch.isfinite(gram).all()):
        raise ValueError("ntk_train_train has entries that are NaN or infinite: training by it is not defined")
    eigenvalues, vectors = torch.linalg.eigh(gram)
    lowest, highest = float(eigenvalues[0]), float(eigenvalues[-1])
    if lowest < -_NOISE * highest or highest < 0.0:
        raise ValueError(
            f"ntk_train_train is not positive semi-definite: its eigenvalues run from {lowest:.3g} to {highest:.3g}, "
            "and training along a negative one grows without end"
        )
    eigenvalues = eigenvalues.clamp(min=0.0)
    tolerance = len(gram) * torch.finfo(torch.float64).eps * eigenvalues[-1]
    unit = highest if precision == torch.float64 else float(gram.diagonal().max())
    rounding = max(rounding_in(gram, precision) * unit, -lowest)
    is_rounding = eigenvalues <= rounding
    eigenvalues = torch.where(eigenvalues > tolerance, eigenvalues, 0.0)
    step = learning_rate / n_samples
    reach = _reach(eigenvalues * step, checked, dynamics, momentum) * step
    learned_late = checked.to(gram.device)[:, None] * (step * rounding) >= 1.0
    never = is_rounding & (learned_late | torch.isinf(checked)[:, None].to(gram.device))
    reach = reach.masked_fill(never, 0.0)
    overflows = (
        [] if allow_divergence else checked[torch.isfinite(checked) & ~torch.isfinite(reach).all(1).cpu()].tolist()
    )
    _check_stable(highest * step, overflows, dynamics, momentum, learning_rate)
    return TrainingModes(checked, eigenvalues, vectors, reach)


def _check_stable(u: float, overflows: list[float], dynamics: str, momentum: float, learning_rate: float) -> None:
    limit = {"gradient_flow": math.inf, "gradient_descent": 2.0, "heavy_ball": 2.0 * (1.0 + momentum)}[dynamics]
    if u < limit:
        return
    beyond = (
        f"learning_rate is {learning_rate:.6g}, above the stability limit {learning_rate * limit / u:.6g} that the "
        f"largest eigenvalue of the kernel sets {dynamics}: training diverges"
    )
    if overflows:
        at = ", ".join(f"{time:g}" for time in overflows[:3])
        raise UnstableTrainingError(f"{beyond}, and what it has come to after {at} steps overflows; lower the rate")
    logger.warning("%s", beyond)


def _checked_times(times: Sequence[float], dynamics: str) -> Tensor:
    if dynamics not in ("gradient_flow", "gradient_descent", "heavy_ball"):
        raise ValueError(f"dynamics is {dynamics!r}, expected 'gradient_flow', 'gradient_descent' or 'heavy_ball'")
    checked = real_tensor(times, "times").to(torch.float64).flatten()
    if len(checked) == 0:
        raise ValueError("times is empty, expected numbers of steps ≥ 0")
    if not bool((checked >= 0).all()):
        raise ValueError(f"times is {checked.tolist()}, expected numbers of steps ≥ 0")
    if dynamics != "gradient_flow" and not bool((checked[torch.isfinite(checked)] % 1 == 0).all()):
        raise ValueError(f"times is {checked.tolist()}, expected whole numbers of steps for {dynamics}")
    return checked


def _reach(u: Tensor, times: Tensor, dynamics: str, momentum: float) -> Tensor:
    """Returns (1 − d_t(u))/u with its limits at u = 0 and t = ∞, `(n_times, n_modes)`."""
    if dynamics == "heavy_ball":
        return _heavy_ball_reach(u, times, momentum)
    t = times.to(u.device)[:, None]
    if dynamics == "gradient_flow":
        decayed = -torch.expm1(-u * t)
        return torch.where(u > 0, decayed / u, t)
    # log1p keeps the digits of 1 − (1 − u)^t where u is small; the power keeps its sign where u > 1.
    decayed = torch.where(u < 0.5, -torch.expm1(t * torch.log1p(-u.clamp(max=0.5))), 1.0 - (1.0 - u) ** t)
    decayed = torch.where(torch.isinf(t) & (u >= 2), math.nan, decayed)
    return torch.where(u > 0, decayed / u, t)


def _heavy_ball_reach(u: Tensor, times: Tensor, momentum: float) -> Tensor:
    """Returns s_t = (1 − d_t)/u by s_{t+1} = 1 + (1 + β − u)s_t − βs_{t−1}, s_0 = s_{−1} = 0."""
    limit = torch.where(u < 2 * (1 + momentum), 1.0 / u, math.nan)
    at_time = {math.inf: limit}
    wanted = {t for t in times.tolist() if math.isfinite(t)}
    early = {t for t in wanted if t <= _MOST_STEPS}
    before, now = torch.zeros_like(u), torch.zeros_like(u)
    for step in range(int(max(early, default=0)) + 1):
        if step in early:
            at_time[step] = now
        before, now = now, 1.0 + (1.0 + momentum - u) * now - momentum * before
    for t in wanted - early:
        at_time[t] = _heavy_ball_by_squares(u, int(t), momentum)
    return torch.stack([at_time[t] for t in times.tolist()])


def _heavy_ball_by_squares(u: Tensor, steps: int, momentum: float) -> Tensor:
    """Returns s_t of `_heavy_ball_reach`: (s_t, s_{t−1}, 1) is the t-th power of one step's matrix times (0, 0, 1)."""
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    rows = [[1.0 + momentum - u, -momentum * one, one], [one, zero, zero], [zero, zero, one]]
    power = torch.stack([torch.stack(row, -1) for row in rows], -2)
    state = torch.stack([zero, zero, one], -1)[..., None]
    while steps:
        if steps % 2:
            state = power @ state
        power, steps = power @ power, steps // 2
    return state[..., 0, 0]
