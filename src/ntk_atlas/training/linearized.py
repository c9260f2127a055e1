"""Closed-form training of networks linearized at their own initialization: the middle term between theory and them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.kernels.empirical.evaluation import evaluation_mode
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.regression.finite_time import finite_time_mean
from ntk_atlas.training.schedule import dynamics_of


@dataclass(frozen=True)
class LinearizedTraining:
    """S linearized networks at E epochs, in units of the original targets.

    Like a trained network, one whose training loss grows beyond `divergence_factor` times its first one is NaN from
    that epoch on.
    """

    predictions: np.ndarray
    """`(S, E, P, C)` on the samples predicted."""
    train_mse: np.ndarray
    """`(S, E)`, mean over samples and outputs."""


def train_linearized(
    network: StackedNetwork,
    x_train: Tensor,
    y_train: Tensor,
    x_predicted: Tensor,
    *,
    learning_rates: Sequence[float],
    epochs: Sequence[int],
    settings: TrainingSettings,
    target_scale: float = 1.0,
) -> LinearizedTraining:
    r"""Training of f_lin(x) = f₀(x) + ∇f₀(x)·(θ − θ₀) of each member, exactly.

    f_t(x) = f₀(x) + Θ₀(x, X) Θ₀⁻¹ (I − D_t)(y − f₀(X)) with the member's own full empirical NTK Θ₀ and D_t of gradient
    descent or heavy ball (`regression.training_modes`; Lee et al. 2019, section 2.2), in float64. At t = 0
    that is the network itself; a model that is linear in its parameters it is at every t.

    Args:
        network: the members at initialization; brought to float64.
        x_train: `(n, *input_shape)`.
        y_train: `(n, C)` in original units.
        x_predicted: `(P, *input_shape)`, the samples to predict.
        learning_rates: η of each member, for the loss 1/(2n) Σ‖f − target_scale·y‖².
        epochs: full-batch epochs, which are steps.
        settings: optimizer, momentum, `initial_output` (`subtract` removes f₀) and `divergence_factor`.
        target_scale: targets are multiplied by it for the training.

    Returns:
        Predictions and training errors.

    Raises:
        ValueError: if the dynamics has no linearized form, see `dynamics_of`.
    """
    dynamics = dynamics_of(settings)
    device = x_train.device
    network = network.to(device).double()
    # Integers are tokens: they stay integers.
    x_train, x_predicted = (x.double() if x.is_floating_point() else x for x in (x_train, x_predicted.to(device)))
    y = target_scale * y_train.to(device).double()
    with evaluation_mode(network), torch.no_grad():
        start_train, start_predicted = network(x_train), network(x_predicted)
    if settings.initial_output == "subtract":
        start_train, start_predicted = torch.zeros_like(start_train), torch.zeros_like(start_predicted)
    # Outputs of one hidden layer are mixed by the kernel of the layers below; a single output mixes with nothing.
    reduction = "full" if y.shape[1] > 1 else "mean"
    within = empirical_ntk(network, x_train, output_reduction=reduction)
    across = empirical_ntk(network, x_predicted, x_train, output_reduction=reduction)
    predictions, errors = [], []
    for member, rate in enumerate(learning_rates):
        if not bool(torch.isfinite(within[member]).all()):
            predictions.append(torch.full((len(epochs), *start_predicted.shape[1:]), torch.nan, dtype=torch.float64))
            errors.append(torch.full((len(epochs),), torch.nan, dtype=torch.float64))
            continue
        path = finite_time_mean(
            within[member],
            across[member],
            y,
            times=epochs,
            learning_rate=float(rate),
            dynamics=dynamics,
            momentum=settings.momentum,
            f0_train=start_train[member],
            f0_test=start_predicted[member],
            allow_divergence=True,
        )
        loss = (path.train - y).square().mean(dim=(1, 2))
        lost = (~(loss <= settings.divergence_factor * loss[0])).cumsum(0) > 0
        predictions.append((path.test / target_scale).masked_fill(lost[:, None, None], torch.nan).cpu())
        errors.append((loss / target_scale**2).masked_fill(lost, torch.nan).cpu())
    return LinearizedTraining(torch.stack(predictions).numpy(), torch.stack(errors).numpy())
