"""The learning rate of each member: given, or a share of a stability limit; of several, the best training is kept."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.config.training import LearningRateSettings
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.training.unit import TrainedUnit

_OF_THE_UNIT = ("epochs", "weight_epochs", "target_scale", "seconds")


def relative_rates(settings: LearningRateSettings) -> tuple[float, ...]:
    """The shares η₀ of the stability limit to try, ascending; empty for an absolute rate."""
    if settings.relative is None:
        return ()
    return settings.relative if isinstance(settings.relative, tuple) else (settings.relative,)


def n_rates(settings: LearningRateSettings) -> int:
    """How many learning rates each network is trained with."""
    return max(1, len(relative_rates(settings)))


def repeated(items: Sequence, times: int) -> list:
    """Each item `times` times in a row: run r of member m stands at m · times + r."""
    return [item for item in items for _ in range(times)]


def kept_runs(final_loss: np.ndarray, diverged: np.ndarray, stop_epoch: np.ndarray) -> np.ndarray:
    """The run of each network that counts: the lowest final training loss among those that did not diverge.

    Divergence is a property of the learning rate, so a network is lost only if all its runs are; then the run that
    lasted longest is kept. Of equal runs the one with the smallest rate is.

    Args:
        final_loss: `(S, R)`, R runs a network in the order of ascending rates.
        diverged: `(S, R)`.
        stop_epoch: `(S, R)`.

    Returns:
        `(S,)` indices of runs.
    """
    usable = ~diverged & np.isfinite(final_loss)
    best = np.where(usable, final_loss, np.inf).argmin(axis=1)
    return np.where(usable.any(axis=1), best, stop_epoch.argmax(axis=1))


def best_of_rates(runs: TrainedUnit, n_runs: int) -> TrainedUnit:
    """One training a network out of `n_runs`, see `kept_runs`.

    Args:
        runs: all trainings, ordered as `repeated` orders them.
        n_runs: runs a network.

    Returns:
        The unit of the S networks, with the number of rates at which each diverged.
    """
    if n_runs == 1:
        return runs
    diverged = (runs.status == Status.DIVERGED).reshape(-1, n_runs)
    losses, stop_epoch = (a.reshape(diverged.shape) for a in (runs.train_loss[:, -1], runs.stop_epoch))
    kept = np.arange(len(diverged)) * n_runs + kept_runs(losses, diverged, stop_epoch)
    arrays = {
        field.name: getattr(runs, field.name)[kept]
        for field in dataclasses.fields(runs)
        if field.name not in _OF_THE_UNIT
    }
    return dataclasses.replace(runs, **arrays | {"n_rates_diverged": diverged.sum(axis=1, dtype=np.int16)})


def learning_rates(
    network: StackedNetwork, x_train: Tensor, settings: LearningRateSettings, *, lambda_max: float | None = None
) -> tuple[Tensor, Tensor]:
    """Learning rates for the loss 1/(2n) Σ‖f(x_i) − y_i‖².

    Gradient descent on the linearized network contracts by I − ηΘ/n, so it is stable below η = 2n/λ_max(Θ) with
    the full nC × nC Gram: `relative` is the share η₀ of that. `absolute` is divided by α², the output scale, which
    keeps the first step of f where it was. With several `relative`, the members are runs: R in a row, one a rate in
    ascending order, have the same weights.

    Args:
        network: the untrained members.
        x_train: the training inputs, `(n, *input_shape)`.
        settings: relative or absolute.
        lambda_max: λ_max(Θ) of all members; None for that of each member's own initial NTK.

    Returns:
        Learning rates `(S,)`, and λ_max(Θ) `(S,)`, NaN if it was not needed. A member with no positive finite
        λ_max (a network with dead outputs has Θ₀ = 0) gets the rate 0.
    """
    n_members, n_runs = network.n_members, n_rates(settings)
    # Inputs may be tokens, which are integers.
    like = {"dtype": torch.promote_types(x_train.dtype, next(network.parameters()).dtype), "device": x_train.device}
    if settings.absolute is not None:
        rate = common_learning_rate(settings, len(x_train), output_scale=network.output_scale)
        return torch.full((n_members,), rate, **like), torch.full((n_members,), torch.nan, **like)
    if lambda_max is None:
        one_each = network if n_runs == 1 else network.select(range(0, n_members, n_runs))
        largest = _own_lambda_max(one_each, x_train).to(**like).repeat_interleave(n_runs)
    else:
        largest = torch.full((n_members,), lambda_max, **like)
    share = torch.tensor(relative_rates(settings), **like).repeat(n_members // n_runs)
    rate = share * 2 * x_train.shape[0] / largest
    return torch.where(torch.isfinite(rate) & (largest > 0), rate, 0.0), largest


def common_learning_rate(
    settings: LearningRateSettings, n_train: int, *, output_scale: float = 1.0, lambda_max: float | None = None
) -> float:
    """The one learning rate of all networks of a cell: η/α² for `absolute`, η₀ · 2n/λ_max for a single `relative`.

    Args:
        settings: the rate.
        n_train: n.
        output_scale: α; λ_max has it already.
        lambda_max: of the infinite-width NTK.

    Returns:
        The learning rate.

    Raises:
        ValueError: if the networks have no rate in common.
    """
    if settings.absolute is not None:
        return settings.absolute / output_scale**2
    if lambda_max is None or n_rates(settings) > 1:
        raise ValueError(
            "networks have one learning rate in common if it is `absolute`, or one `relative` of the infinite NTK"
        )
    (share,) = relative_rates(settings)
    return share * 2 * n_train / lambda_max


def _own_lambda_max(network: StackedNetwork, x_train: Tensor) -> Tensor:
    from ntk_atlas.kernels.stability import largest_eigenvalue
    from ntk_atlas.streams import torch_stream

    # The residual bounds the error in λ_max to second order, and a rate needs two digits.
    return largest_eigenvalue(
        network, x_train, generator=torch_stream("largest eigenvalue"), relative_tolerance=1e-2, runs=2
    )
