"""Variance over initializations of linearized training at finite time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import (
    Axes,
    check_symmetric,
    checked_block,
    checked_kernel,
    precision_of,
    sample_major,
)
from ntk_atlas.regression.training_modes import Dynamics, training_modes
from ntk_atlas.tensors import Given, real_tensor


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
        nngp_test_train: K(x, X), likewise.
        nngp_test_test: K(x, x'), likewise; without `covariance` its diagonal `(n_test,)` will do.
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
