"""The learning rate of each member: given, or a share of the stability limit of its own initial NTK."""

import torch
from torch import Tensor

from ntk_atlas.config.training import LearningRateSettings
from ntk_atlas.networks.stacked import StackedNetwork


def learning_rates(network: StackedNetwork, x_train: Tensor, settings: LearningRateSettings) -> tuple[Tensor, Tensor]:
    """Learning rates for the loss 1/(2n) Σ‖f(x_i) − y_i‖².

    Gradient descent on the linearized network contracts by I − ηΘ₀/n, so it is stable below η =
    2n/λ_max(Θ₀) with the full nC × nC Gram: `relative` is the share η₀ of that. `absolute` is divided by
    α², the output scale, which keeps the first step of f where it was.

    Args:
        network: the untrained members.
        x_train: the training inputs, `(n, *input_shape)`.
        settings: relative or absolute.

    Returns:
        Learning rates `(S,)`, and λ_max(Θ₀) `(S,)`, NaN if it was not needed. A member with no positive
        finite λ_max (a network with dead outputs has Θ₀ = 0) gets the rate 0.
    """
    like = {"dtype": x_train.dtype, "device": x_train.device}
    if settings.absolute is not None:
        rate = settings.absolute / network.output_scale**2
        return torch.full((network.n_members,), rate, **like), torch.full((network.n_members,), torch.nan, **like)
    from ntk_atlas.kernels.stability import largest_eigenvalue
    from ntk_atlas.streams import torch_stream

    # The residual bounds the error in λ_max to second order, and a rate needs two digits.
    lambda_max = largest_eigenvalue(
        network, x_train, generator=torch_stream("largest eigenvalue"), relative_tolerance=1e-2, runs=2
    ).to(**like)
    rate = settings.relative * 2 * x_train.shape[0] / lambda_max
    return torch.where(torch.isfinite(rate) & (lambda_max > 0), rate, 0.0), lambda_max
