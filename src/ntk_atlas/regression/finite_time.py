"""Mean predictions of linearized training at finite time: gradient flow, gradient descent, heavy ball."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import (
    checked_block,
    checked_kernel,
    checked_matrix,
    checked_targets,
    precision_of,
    sample_major,
)
from ntk_atlas.regression.training_modes import Dynamics, training_modes
from ntk_atlas.tensors import real_tensor


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
