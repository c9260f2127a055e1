"""How far linearized training has come along each eigenvector of the kernel, after each time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Dynamics = Literal["gradient_flow", "gradient_descent", "heavy_ball"]


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
) -> TrainingModes:
    r"""Modes of training with the constant kernel Θ on the loss 1/(2n) Σ‖f(x_i) − y_i‖².

    With u = ηλ/n the misfit of a mode is multiplied after t steps by D_t(u):

    - gradient flow: e^{−ut};
    - gradient descent: (1 − u)^t, stable for u < 2;
    - heavy ball θ_{t+1} = θ_t − ηg + β(θ_t − θ_{t−1}), started at rest: d_{t+1} = (1 + β − u)d_t − βd_{t−1},
      d_0 = d_{−1} = 1, stable for u < 2(1 + β).

    (1 − D_t)/λ is evaluated without dividing by λ, so that modes with λ = 0 keep their finite-time value.

    Args:
        gram: Θ(X, X) as a matrix, float64; of order n_samples, or times the outputs for a full kernel.
        n_samples: n.
        times: numbers of steps t ≥ 0, whole unless gradient flow; `inf` is the limit (of a mode that is null
            to rounding, D = 1).
        learning_rate: η.
        dynamics: one of the three.
        momentum: β of heavy ball.

    Returns:
        The modes.

    Raises:
        ValueError: a time is negative or not whole where steps are meant, or the dynamics is unknown.
    """
    checked = _checked_times(times, dynamics)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp(min=0.0)
    tolerance = len(gram) * torch.finfo(torch.float64).eps * eigenvalues[-1]
    eigenvalues = torch.where(eigenvalues > tolerance, eigenvalues, 0.0)
    step = learning_rate / n_samples
    reach = _reach(eigenvalues * step, checked, dynamics, momentum) * step
    never = (eigenvalues == 0) & torch.isinf(checked)[:, None].to(gram.device)
    return TrainingModes(checked, eigenvalues, vectors, reach.masked_fill(never, 0.0))


def _checked_times(times: Sequence[float], dynamics: str) -> Tensor:
    if dynamics not in ("gradient_flow", "gradient_descent", "heavy_ball"):
        raise ValueError(f"dynamics is {dynamics!r}, expected 'gradient_flow', 'gradient_descent' or 'heavy_ball'")
    checked = torch.as_tensor(times, dtype=torch.float64).flatten()
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
    before, now = torch.zeros_like(u), torch.zeros_like(u)
    for step in range(int(max(wanted, default=0)) + 1):
        if step in wanted:
            at_time[step] = now
        before, now = now, 1.0 + (1.0 + momentum - u) * now - momentum * before
    return torch.stack([at_time[t] for t in times.tolist()])
