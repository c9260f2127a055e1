"""Mean predictions of linearized training at finite time: gradient flow, gradient descent, heavy ball."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ntk_atlas.regression.system import checked_matrix, checked_targets

Dynamics = Literal["gradient_flow", "gradient_descent", "heavy_ball"]


@dataclass(frozen=True)
class FiniteTimeMean:
    """Predictions of the linearized network after each time.

    Attributes:
        times: steps t, `(n_times,)`.
        train: on the training samples, `(n_times, n, n_outputs)`.
        test: on the test samples, `(n_times, n_test, n_outputs)`.
    """

    times: Tensor
    train: Tensor
    test: Tensor


def finite_time_mean(
    ntk_train_train: Tensor,
    ntk_test_train: Tensor,
    y_train: Tensor,
    *,
    times: Sequence[float],
    learning_rate: float,
    dynamics: Dynamics = "gradient_flow",
    momentum: float = 0.9,
    f0_train: Tensor | None = None,
    f0_test: Tensor | None = None,
) -> FiniteTimeMean:
    r"""Training with the constant kernel Θ on the loss 1/(2n) Σ‖f(x_i) − y_i‖², after t steps.

    f_t(x) = f₀(x) + Θ(x, X) Θ⁻¹ (I − D_t)(y − f₀(X)) (Lee et al. 2019, eq. 14 for the flow), where D_t acts
    on the eigenvalues λ of Θ, with u = ηλ/n, as

    - gradient flow: e^{−ut};
    - gradient descent: (1 − u)^t, stable for u < 2;
    - heavy ball θ_{t+1} = θ_t − ηg + β(θ_t − θ_{t−1}), started at rest: d_{t+1} = (1 + β − u)d_t − βd_{t−1},
      d_0 = d_{−1} = 1, stable for u < 2(1 + β).

    (1 − D_t)/λ is evaluated without dividing by λ, so that modes with λ = 0 keep their finite-time value.

    Args:
        ntk_train_train: Θ(X, X), `(n, n)` if outputs do not mix (each output is trained by the same kernel),
            or the full kernel `(n, n, n_outputs, n_outputs)`.
        ntk_test_train: Θ(x, X), `(n_test, n)` or `(n_test, n, n_outputs, n_outputs)`.
        y_train: `(n, n_outputs)`.
        times: numbers of steps t ≥ 0, whole unless gradient flow; `inf` is the limit (of a mode that is null
            to rounding, D = 1; of an unstable mode, NaN).
        learning_rate: η; the flow's time is τ = ηt/n on Θ.
        dynamics: one of the three.
        momentum: β of heavy ball.
        f0_train: network output at t = 0, `(n, n_outputs)`; None is zero.
        f0_test: `(n_test, n_outputs)`; None is zero.

    Returns:
        Predictions in float64.

    Raises:
        ValueError: a shape does not fit, a target is not finite, a time is negative or not whole where steps
            are meant, or the dynamics is unknown.
    """
    ntk_train_train = torch.as_tensor(ntk_train_train)
    device, n = ntk_train_train.device, ntk_train_train.shape[0]
    y = checked_targets("y_train", y_train, (("n", n), ("n_outputs", None)), device)
    n_outputs, n_test = y.shape[1], len(ntk_test_train)
    mixes = ntk_train_train.dim() == 4
    outputs = (("n_outputs", n_outputs), ("n_outputs", n_outputs)) if mixes else ()
    gram = checked_matrix("ntk_train_train", ntk_train_train, (("n", n), ("n", n), *outputs), device)
    rows = checked_matrix("ntk_test_train", ntk_test_train, (("n_test", n_test), ("n", n), *outputs), device)
    start_train, start_test = (
        torch.zeros(size, n_outputs, dtype=torch.float64, device=device)
        if value is None
        else checked_matrix(name, value, ((axis, size), ("n_outputs", n_outputs)), device)
        for name, value, axis, size in (
            ("f0_train", f0_train, "n", n),
            ("f0_test", f0_test, "n_test", n_test),
        )
    )
    times = _checked_times(times, dynamics)
    if mixes:
        gram, rows = (k.transpose(1, 2).reshape(k.shape[0] * n_outputs, n * n_outputs) for k in (gram, rows))
    gap = y - start_train
    eigenvalues, vectors = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp(min=0.0)
    tolerance = len(gram) * torch.finfo(torch.float64).eps * eigenvalues[-1]
    eigenvalues = torch.where(eigenvalues > tolerance, eigenvalues, 0.0)
    # (1 − D_t)/λ in units of η/n, for every time and mode.
    reach = _reach(eigenvalues * learning_rate / n, times, dynamics, momentum) * (learning_rate / n)
    reach = reach.where((eigenvalues > 0) | torch.isfinite(times)[:, None].to(device), 0.0)
    modes = vectors.mT @ (gap.reshape(-1, 1) if mixes else gap)
    coefficients = vectors @ (reach[:, :, None] * modes)
    learned_train = vectors @ ((reach * eigenvalues)[:, :, None] * modes)
    return FiniteTimeMean(
        times,
        start_train + learned_train.reshape(len(times), n, n_outputs),
        start_test + (rows @ coefficients).reshape(len(times), n_test, n_outputs),
    )


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
