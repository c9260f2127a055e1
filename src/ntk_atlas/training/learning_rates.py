"""The learning rate of each member: given, or a share of a stability limit."""

import torch
from torch import Tensor

from ntk_atlas.config.training import LearningRateSettings
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.training.rate_choice import n_rates, relative_rates


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
