"""Training of networks linearized at their own initialization: the middle term between theory and them.

Full-batch gradient descent and heavy ball on squared error have a closed form, which is exact and quick; whatever else
is trained as the network is, by the same Lightning module on the module of `networks.linearize`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.kernels.empirical.evaluation import evaluation_mode
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.networks.linearized import LinearizedStack
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.regression.finite_time import finite_time_mean
from ntk_atlas.streams import Label
from ntk_atlas.training.schedule import dynamics_of, has_closed_form


@dataclass(frozen=True)
class LinearizedTraining:
    """S linearized networks at E epochs, in units of the original targets.

    Like a trained network, one whose training loss grows beyond `divergence_factor` times its first one is NaN from
    that epoch on, and one that stopped repeats what it was.
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
    stop_epochs: Sequence[int] | None = None,
    batch_labels: Sequence[Sequence[Label]] | None = None,
    labels_train: Tensor | None = None,
    closed_form: bool | None = None,
) -> LinearizedTraining:
    r"""Training of f_lin(x) = f₀(x) + ∇f₀(x)·(θ − θ₀) of each member, as the member itself is trained.

    Where there is a closed form, f_t(x) = f₀(x) + Θ₀(x, X) Θ₀⁻¹ (I − D_t)(y − f₀(X)) with the member's own full
    empirical NTK Θ₀ and D_t of gradient descent or heavy ball (`regression.training_modes`; Lee et al. 2019, section
    2.2), in float64. Else the linear model is trained step by step, by the optimizer, loss and schedule of the settings
    and in the batches of the network, in the precision of the settings. At t = 0 either is the network itself; a model
    that is linear in its parameters they are at every t.

    Args:
        network: the members at initialization; their precision is changed.
        x_train: `(n, *input_shape)`.
        y_train: `(n, C)` in original units.
        x_predicted: `(P, *input_shape)`, the samples to predict.
        learning_rates: η of each member, for the loss 1/(2n) Σ‖f − target_scale·y‖².
        epochs: ascending, 0 first.
        settings: how the networks are trained; `initial_output: subtract` removes f₀. `stop_loss` is not read.
        target_scale: targets are multiplied by it for the training.
        stop_epochs: the epoch at which each network stopped, and its linearization does; None for the last.
        batch_labels: labels of each member's stream of batch orders; needed for minibatches.
        labels_train: class indices `(n,)`; needed for cross-entropy.
        closed_form: whether to use it; None where there is one.

    Returns:
        Predictions and training errors.

    Raises:
        ValueError: if the closed form is asked for and there is none, see `dynamics_of`, or labels are missing.
        FactoryError: if a network has no derivatives along its parameters that can be differentiated.
    """
    last = [int(epochs[-1])] * network.n_members
    stops = last if stop_epochs is None else [min(int(s), e) for s, e in zip(stop_epochs, last, strict=True)]
    if closed_form if closed_form is not None else has_closed_form(settings):
        return _solved(network, x_train, y_train, x_predicted, learning_rates, epochs, settings, target_scale, stops)
    return _trained(
        network, x_train, y_train, x_predicted, learning_rates, epochs, settings, target_scale, stops,
        batch_labels=batch_labels, labels_train=labels_train,
    )  # fmt: skip


def _solved(
    network: StackedNetwork,
    x_train: Tensor,
    y_train: Tensor,
    x_predicted: Tensor,
    learning_rates: Sequence[float],
    epochs: Sequence[int],
    settings: TrainingSettings,
    target_scale: float,
    stops: Sequence[int],
) -> LinearizedTraining:
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
            times=[min(epoch, stops[member]) for epoch in epochs],
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


def _trained(
    network: StackedNetwork,
    x_train: Tensor,
    y_train: Tensor,
    x_predicted: Tensor,
    learning_rates: Sequence[float],
    epochs: Sequence[int],
    settings: TrainingSettings,
    target_scale: float,
    stops: Sequence[int],
    *,
    batch_labels: Sequence[Sequence[Label]] | None,
    labels_train: Tensor | None,
) -> LinearizedTraining:
    from ntk_atlas.training.ensemble_module import EnsembleTraining  # Lightning takes seconds
    from ntk_atlas.training.train import fit_module
    from ntk_atlas.training.unit import UnitData

    if settings.batch_size != "full" and batch_labels is None:
        raise ValueError("minibatches have an order of each member's own: give batch_labels")
    if settings.loss == "cross_entropy" and labels_train is None:
        raise ValueError("cross-entropy is of classes: give labels_train")
    dtype = getattr(torch, settings.dtype)
    network = network.to(dtype)

    def real(x: Tensor) -> Tensor:
        return x.to(dtype) if x.is_floating_point() or not network.takes_tokens else x

    # The samples predicted are those whose outputs are recorded. The module watches validation and test samples too,
    # which nobody asks of here: one is enough.
    x, y = real(x_train), y_train.to(dtype)
    one = None if labels_train is None else labels_train[:1]
    data = UnitData(
        x, y, x[:1], y[:1], x[:1], y[:1], x_probe=x[:1], x_outputs=real(x_predicted),
        labels_train=labels_train, labels_validation=one, labels_test=one,
    )  # fmt: skip
    module = EnsembleTraining(
        LinearizedStack(network),
        data,
        settings=settings,
        target_scale=target_scale,
        epochs=epochs,
        member_labels=batch_labels or [()] * network.n_members,
        rates=learning_rates,
        stop_epochs=None if min(stops) == epochs[-1] else stops,
    )
    fit_module(module, int(epochs[-1]), threads=settings.threads)
    found = module.history.at(epochs)
    return LinearizedTraining(found["probe_predictions"], found["train_mse"])
