"""Linearized training at finite time, by gradient flow, gradient descent or heavy ball.

How far training has come along each eigenvector of the kernel, the mean prediction after each time, and its variance
over initializations.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ntk_atlas.numerics import Given, real_number, real_tensor
from ntk_atlas.regression.arguments import (
    Axes,
    check_symmetric,
    checked_block,
    checked_kernel,
    checked_matrix,
    checked_number,
    checked_targets,
    precision_of,
    rounding_in,
    sample_major,
)

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
    kernel_dtype: torch.dtype | None = None,
    allow_divergence: bool = False,
) -> FiniteTimeMean:
    r"""Training with the constant kernel Θ on the loss 1/(2n) Σ‖f(x_i) − y_i‖², after t steps.

    f_t(x) = f₀(x) + Θ(x, X) Θ⁻¹ (I − D_t)(y − f₀(X)) (Lee et al. 2019, eq. 14 for the flow), where D_t acts
    on the eigenvalues of Θ as `training_modes` says.

    Args:
        ntk_train_train: Θ(X, X), `(n, n)` if outputs do not mix (each output is trained by the same kernel),
            or the full kernel `(n, n, n_outputs, n_outputs)`.
        ntk_test_train: Θ(x, X), `(n_test, n)` or `(n_test, n, n_outputs, n_outputs)`.
        y_train: `(n, n_outputs)`.
        times: numbers of steps t ≥ 0, whole unless gradient flow; `inf` is the limit, in which modes that
            are rounding (see `training_modes`) are not learned, and unstable ones are NaN.
        learning_rate: η; the flow's time is τ = ηt/n on Θ.
        dynamics: one of the three.
        momentum: β of heavy ball.
        f0_train: network output at t = 0, `(n, n_outputs)`; None is zero, and so must f0_test be.
        f0_test: `(n_test, n_outputs)`; None is zero.
        kernel_dtype: precision in which Θ was computed, where it has been cast since; None takes its own. Eigenvalues
            below the rounding of that precision are no modes.
        allow_divergence: whether predictions may overflow at a finite time, to infinity or NaN, where the rate is above
            the stability limit; a warning is logged either way.

    Returns:
        Predictions in float64.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the kernel is not finite, symmetric and positive
            semi-definite or is of half precision, one f₀ is given without the other, a time is negative or not whole
            where steps are meant, the rate is not positive, or the dynamics is unknown; as `UnstableTrainingError`, the
            rate is above the stability limit and predictions overflow.
    """
    gram, outputs = checked_kernel(ntk_train_train, "ntk_train_train", kernel_dtype=kernel_dtype)
    device, n, mixes = gram.device, len(gram), bool(outputs)
    precision = precision_of(gram, kernel_dtype)
    y = checked_targets("y_train", y_train, (("n", n), outputs[0] if mixes else ("n_outputs", None)), device)
    n_outputs = y.shape[1]
    gram = gram.to(torch.float64)
    given = real_tensor(ntk_test_train, "ntk_test_train")
    test_axis = ("n_test", len(given) if given.dim() else None)
    rows = checked_block("ntk_test_train", given, (test_axis, ("n", n), *outputs), device)
    n_test = len(rows)
    start_train, start_test = (
        torch.zeros(size, n_outputs, dtype=torch.float64, device=device)
        if value is None
        else checked_matrix(name, value, ((axis, size), ("n_outputs", n_outputs)), device)
        for name, value, axis, size in (
            ("f0_train", f0_train, "n", n),
            ("f0_test", f0_test, "n_test", n_test),
        )
    )
    if (f0_train is None) != (f0_test is None):
        missing = "f0_train" if f0_train is None else "f0_test"
        raise ValueError(f"{missing} is None: a network that starts at f₀ has it on both sets, give both or neither")
    gram, rows = sample_major(gram), sample_major(rows)
    modes = training_modes(
        gram, n_samples=n, times=times, learning_rate=learning_rate, dynamics=dynamics, momentum=momentum,
        precision=precision, allow_divergence=allow_divergence,
    )  # fmt: skip
    gap = y - start_train
    scores = modes.vectors.mT @ (gap.reshape(-1, 1) if mixes else gap)
    coefficients = modes.vectors @ (modes.reach[:, :, None] * scores)
    learned_train = modes.vectors @ ((modes.reach * modes.eigenvalues)[:, :, None] * scores)
    n_times = len(modes.times)
    return FiniteTimeMean(
        modes.times,
        start_train + learned_train.reshape(n_times, n, n_outputs),
        start_test + (rows @ coefficients).reshape(n_times, n_test, n_outputs),
    )


@dataclass(frozen=True)
class FiniteTimeVariance:
    """Spread of the outputs of the linearized network over its initializations, after each time.

    With a full NTK of outputs that mix every array has the output axes of the full kernel besides: one for
    variances, two for covariances.

    Attributes:
        times: steps t, `(n_times,)`.
        train: variance at the training samples, `(n_times, n)`, the same for every output.
        test: at the test samples, `(n_times, n_test)`.
        train_covariance: between training samples, `(n_times, n, n)`, or None.
        test_covariance: between test samples, `(n_times, n_test, n_test)`, or None.
    """

    times: Tensor
    train: Tensor
    test: Tensor
    train_covariance: Tensor | None = None
    test_covariance: Tensor | None = None


def finite_time_variance(
    ntk_train_train: Tensor,
    ntk_test_train: Tensor,
    nngp_train_train: Tensor,
    nngp_test_train: Tensor,
    nngp_test_test: Tensor,
    *,
    times: Sequence[float],
    learning_rate: float,
    dynamics: Dynamics = "gradient_flow",
    momentum: float = 0.9,
    covariance: bool = False,
    kernel_dtype: torch.dtype | None = None,
    allow_divergence: bool = False,
) -> FiniteTimeVariance:
    r"""Variance of f_t over f₀ ~ GP(0, K) when training follows the constant kernel Θ.

    Σ_t(x, x') = K_xx' + A_t K_XX A_tᵀ − (A_t K_Xx' + transposed) with A_t = Θ(x, X) Θ⁻¹ (I − D_t), D_t =
    e^{−τΘ} for the flow, τ = ηt/n (Lee et al. 2019, beside eq. 14), or what `training_modes` says for descent
    and heavy ball. At training samples this is D_t K_XX D_t. The targets do not enter. At t = 0 it is the
    prior K; as t → ∞ it vanishes at training samples. In the limit of infinite width Θ is the NTK and K the NNGP
    kernel; for a model that is linear in its parameters the formula is exact.

    Args:
        ntk_train_train: Θ(X, X), `(n, n)`, or the full kernel `(n, n, n_outputs, n_outputs)`.
        ntk_test_train: Θ(x, X), `(n_test, n)` or `(n_test, n, n_outputs, n_outputs)`.
        nngp_train_train: K(X, X) of one output, `(n, n)` (outputs are independent then), or of all outputs,
            `(n, n, n_outputs, n_outputs)`, where the NTK is full too.
        nngp_test_train: K(x, X), `(n_test, n)` or `(n_test, n, n_outputs, n_outputs)`.
        nngp_test_test: K(x, x'), `(n_test, n_test)` or with outputs; without `covariance` its diagonal `(n_test,)`
            will do.
        times: numbers of steps t ≥ 0, whole unless gradient flow, or `inf`.
        learning_rate: η.
        dynamics: `gradient_flow`, `gradient_descent` or `heavy_ball`.
        momentum: β of heavy ball.
        covariance: whether to return covariances too.
        kernel_dtype: precision in which the kernels were computed, see `finite_time_mean`.
        allow_divergence: see `finite_time_mean`.

    Returns:
        Variances in float64; values below zero by no more than rounding are set to zero.

    Raises:
        ValueError: a shape does not fit, a kernel is of half precision, the NTK is not finite, symmetric and positive
            semi-definite, K(X, X) is not symmetric, a time is negative or not whole where steps are meant, the rate is
            not positive, or the dynamics is unknown; as `UnstableTrainingError`, the rate is above the stability limit
            and variances overflow.
    """
    gram, outputs = checked_kernel(ntk_train_train, "ntk_train_train", kernel_dtype=kernel_dtype)
    device, n, precision = gram.device, len(gram), precision_of(gram, kernel_dtype)
    gram = sample_major(gram.to(torch.float64))
    rows = real_tensor(ntk_test_train, "ntk_test_train")
    test_axis = ("n_test", len(rows) if rows.dim() else None)
    rows = checked_block("ntk_test_train", rows, (test_axis, ("n", n), *outputs), device)
    n_test, rows = len(rows), sample_major(rows)
    test_axes = (("n_test", n_test), ("n", n))
    given = (nngp_train_train, nngp_test_train, nngp_test_test)
    covariances = (precision_of(real_tensor(k, "nngp"), kernel_dtype) for k in given)
    rounding = max(torch.finfo(dtype).eps for dtype in (precision, *covariances))
    within = _prior("nngp_train_train", nngp_train_train, (("n", n), ("n", n)), outputs, device)
    across = _prior("nngp_test_train", nngp_test_train, test_axes, outputs, device)
    check_symmetric("nngp_train_train", within, precision_of(real_tensor(nngp_train_train, "nngp"), kernel_dtype))
    prior = real_tensor(nngp_test_test, "nngp_test_test")
    if prior.dim() == 1 and not covariance:
        prior = checked_block("nngp_test_test", prior, (("n_test", n_test),), device)
        variance = prior.repeat_interleave(outputs[0][1]) if outputs else prior
    else:
        prior = _prior("nngp_test_test", prior, (("n_test", n_test), ("n_test", n_test)), outputs, device)
        variance = prior.diagonal()
    modes = training_modes(
        gram, n_samples=n, times=times, learning_rate=learning_rate, dynamics=dynamics, momentum=momentum,
        precision=precision, allow_divergence=allow_divergence,
    )  # fmt: skip
    in_modes = modes.vectors.mT @ within @ modes.vectors
    learned, crossed = rows @ modes.vectors, across @ modes.vectors
    train, test, train_covariance, test_covariance = [], [], [], []
    for reach, decay in zip(modes.reach, modes.decay, strict=True):
        left, gained = modes.vectors * decay, learned * reach
        left_in_modes, gained_in_modes = left @ in_modes, gained @ in_modes
        train.append((left_in_modes * left).sum(1))
        spread = variance + (gained_in_modes * gained).sum(1) - 2.0 * (gained * crossed).sum(1)
        test.append(_without_rounding(spread, variance, rows.shape[1] * rounding))
        if covariance:
            train_covariance.append(left_in_modes @ left.mT)
            mixed = gained @ crossed.mT
            test_covariance.append(prior + gained_in_modes @ gained.mT - mixed - mixed.mT)
    arrays = {"train": (train, n), "test": (test, n_test)}
    if covariance:
        arrays |= {"train_covariance": (train_covariance, n), "test_covariance": (test_covariance, n_test)}
    stacked = {
        name: _with_outputs(torch.stack(values), size, outputs[0][1] if outputs else None)
        for name, (values, size) in arrays.items()
    }
    return FiniteTimeVariance(modes.times, **stacked)


def _prior(name: str, kernel: Given, axes: Axes, outputs: tuple[tuple[str, int], ...], device: torch.device) -> Tensor:
    """Returns a covariance as a matrix over samples and outputs; one without output axes is that of each output."""
    kernel = real_tensor(kernel, name)
    if outputs and kernel.dim() == 2:
        checked = checked_block(name, kernel, axes, device)
        return torch.kron(checked, torch.eye(outputs[0][1], dtype=checked.dtype, device=device))
    return sample_major(checked_block(name, kernel, (*axes, *outputs), device))


def _without_rounding(variance: Tensor, prior: Tensor, rounding: float) -> Tensor:
    """Returns the variance with negative values of the size of rounding set to zero; others are kept, to be seen."""
    tolerance = rounding * prior
    return torch.where((variance < 0) & (variance > -100.0 * tolerance), 0.0, variance)


def _with_outputs(values: Tensor, size: int, n_outputs: int | None) -> Tensor:
    """Returns `(n_times, size)` or `(n_times, size, size)` with the outputs of a full kernel as last axes."""
    if n_outputs is None:
        return values
    if values.dim() == 2:
        return values.reshape(len(values), size, n_outputs)
    return values.reshape(len(values), size, n_outputs, size, n_outputs).transpose(2, 3)
