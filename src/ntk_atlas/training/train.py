"""Train one unit: a stack of networks on one training set, with everything that is recorded of it."""

import dataclasses
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter, methodcaller
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import plain_attention, precise_math
from ntk_atlas.regression.metrics import fold_errors
from ntk_atlas.streams import Label
from ntk_atlas.training.callbacks import (
    EmpiricalNTKCheckpoint,
    ProgressLog,
    Resume,
    TrainingState,
    TrainingTimedOutError,
)
from ntk_atlas.training.ensemble_module import EnsembleTraining, latest_record
from ntk_atlas.training.lightning_import import LightningEnvironment, pl
from ntk_atlas.training.rates import best_of_rates, n_rates, repeated
from ntk_atlas.training.schedule import scheduled_epochs, selected_checkpoint
from ntk_atlas.training.unit import TrainedUnit, UnitData

log = logging.getLogger(__name__)


def train_unit(
    network: StackedNetwork,
    data: UnitData,
    *,
    settings: TrainingSettings,
    target_scale: float = 1.0,
    n_epochs: int,
    batch_labels: Sequence[Sequence[Label]],
    lambda_max: float | None = None,
    resume: Resume | None = None,
) -> TrainedUnit:
    """Trains the members of a stack on one training set.

    A member's result does not depend on the others, beyond rounding. A member that diverges is a status,
    not an error. With several relative learning rates R runs of each member train side by side, from the same
    weights and in the same batch order, and the one with the lowest final training loss is the member's result
    (`learning_rates`): memory and time are those of R · S members.

    Args:
        network: the untrained members; they are trained in place (one that diverged is NaN).
        data: inputs, targets, probe samples; brought to the precision of the settings, tokens aside.
        settings: how to train and what to keep.
        target_scale: targets are multiplied by it for the training, and everything reported is divided back.
        n_epochs: epochs, see `epoch_budget`.
        batch_labels: the labels of each member's stream of batch orders.
        lambda_max: for `learning_rate.of: infinite_ntk`, the largest eigenvalue of the full infinite-width Gram on
            the training set.
        resume: where the state of the training is kept while it runs. If a killed call with the same arguments left
            one there, the training goes on from it, with the numbers that it would have had without the kill.

    Returns:
        Errors, kernels and weights at the scheduled epochs, and what became of each member.

    Raises:
        ValueError: if the labels are not one a member, cross-entropy has no classes, or `lambda_max` is missing
            or not asked for.
        TrainingTimedOutError: if it takes longer than `settings.max_seconds`; its state is kept.
    """
    state = TrainingState(resume, max_seconds=settings.max_seconds)
    _check(network, data, settings, batch_labels, lambda_max)
    dtype = getattr(torch, settings.dtype)
    network.to(dtype)
    kept = "x" if network.takes_tokens else ""
    data = dataclasses.replace(
        data,
        **{
            name: t if name[0] in kept and not t.is_floating_point() else t.to(dtype)
            for name, t in vars(data).items()
            if t is not None and name[0] in "xy"
        },
    )
    epochs = scheduled_epochs(settings.checkpoints, n_epochs)
    n_runs = n_rates(settings.learning_rate)
    runs = network if n_runs == 1 else network.select(repeated(range(network.n_members), n_runs))
    module = EnsembleTraining(
        runs,
        data,
        settings=settings,
        target_scale=target_scale,
        epochs=epochs,
        member_labels=repeated(batch_labels, n_runs),
        lambda_max=lambda_max,
    )
    ntk = EmpiricalNTKCheckpoint(
        data.x_probe,
        epochs=epochs,
        network=attrgetter("network"),
        keep_weights=settings.checkpoints.weights == "scheduled",
    )
    first_weights = runs.weights().cpu().numpy()
    found = state.found()
    fit_module(module, n_epochs, [ntk, state], threads=settings.threads, found=found)
    if state.timed_out:
        raise TrainingTimedOutError(f"stopped after {state.seconds:.0f} s, of {settings.max_seconds:g} s allowed")
    if ntk.keep_weights:
        weights, weight_epochs = ntk.weights[:, latest_record(ntk.epochs, epochs)], np.asarray(epochs)
    else:
        weights = np.stack([first_weights, runs.weights().cpu().numpy()], axis=1)
        weight_epochs = np.array([0, n_epochs])
    kernels = ntk.kernels[:, latest_record(ntk.epochs, epochs)]
    unit = _result(module, data, kernels, weights, weight_epochs, state.seconds)
    unit = best_of_rates(unit, n_runs)
    if n_runs > 1:
        network.load_weights(torch.as_tensor(unit.weights[:, -1]))
    for index in np.flatnonzero(unit.status == Status.DIVERGED):
        log.warning("member %d diverged at epoch %d", index, unit.stop_epoch[index])
    return unit


def fit_module(
    module: EnsembleTraining,
    n_epochs: int,
    callbacks: Sequence[pl.Callback] = (),
    *,
    threads: int,
    found: Path | None = None,
) -> None:
    """Trains the networks of a module, quietly.

    Args:
        module: what is trained.
        n_epochs: epochs.
        callbacks: beside a progress log.
        threads: of the process.
        found: a state to go on from.
    """
    with precise_math(threads=threads), plain_attention(), quiet_lightning():
        every = [ProgressLog(describe=methodcaller("progress")), *callbacks]
        lean_trainer(n_epochs, every).fit(module, ckpt_path=found, weights_only=True)


def lean_trainer(n_epochs: int, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """A Trainer for one small single-device job: nothing written, nothing printed.

    The plain environment keeps Lightning from taking over a cluster's signals and from counting its tasks.

    Args:
        n_epochs: epochs.
        callbacks: its only callbacks.

    Returns:
        The Trainer, on whatever device there is.
    """
    return pl.Trainer(
        # Apple's accelerator has no double precision, which spectra and some trainings need.
        accelerator="cpu" if torch.backends.mps.is_available() else "auto",
        devices=1,
        max_epochs=n_epochs,
        plugins=[LightningEnvironment()],
        callbacks=list(callbacks),
        deterministic="warn",
        logger=False,
        enable_checkpointing=any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tempfile.gettempdir(),
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside the block, Lightning neither advertises nor warns of what is meant, and keeps no global state.

    Yields:
        Nothing; log levels, warnings and determinism flags come back at the end of the block.
    """
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    logger.setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
            warnings.filterwarnings("ignore", message=".*eval mode at the start of training.*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        logger.setLevel(level)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark


def _check(
    network: StackedNetwork,
    data: UnitData,
    settings: TrainingSettings,
    batch_labels: Sequence,
    lambda_max: float | None,
) -> None:
    if len(batch_labels) != network.n_members:
        raise ValueError(f"{len(batch_labels)} batch_labels for {network.n_members} members: give one a member")
    if settings.loss == "cross_entropy" and (data.labels_train is None or data.y_train.shape[1] < 2):
        raise ValueError("cross_entropy needs class labels and one output a class: use loss: mse")
    rate = settings.learning_rate
    if (rate.relative is not None and rate.of == "infinite_ntk") != (lambda_max is not None):
        raise ValueError(
            f"lambda_max is {lambda_max}, and the learning rate is a share of the limit of: {rate.of}: give lambda_max "
            "for a relative rate of infinite_ntk, and for no other"
        )


def _result(
    module: EnsembleTraining,
    data: UnitData,
    kernels: np.ndarray,
    weights: np.ndarray,
    weight_epochs: np.ndarray,
    seconds: float,
) -> TrainedUnit:
    settings, members = module.settings, module.members
    epochs, metrics = np.asarray(module.epochs), module.history.at(module.epochs)
    stop_epoch, diverged = np.asarray(members.stop_epoch), np.asarray(members.diverged)
    kernels[diverged[:, None] & (epochs >= stop_epoch[:, None])] = np.nan
    weights[diverged[:, None] & (weight_epochs >= stop_epoch[:, None])] = np.nan
    if settings.loss == "cross_entropy":
        reached = metrics["train_error"][:, -1] == 0.0
    else:
        reached = metrics["train_mse"][:, -1] <= settings.target_mse
    status = np.where(diverged, Status.DIVERGED, np.where(reached, Status.CONVERGED, Status.BUDGET_SPENT))
    selected = selected_checkpoint(metrics["validation_mse"], settings.selection)
    rows = np.arange(len(selected))
    # A network that diverged predicts nothing, whatever a checkpoint before its divergence said.
    selected_mse, selected_error = (
        np.where(diverged, np.nan, metrics[name][rows, selected]) for name in ("test_mse", "test_error")
    )
    predictions = np.where(diverged[:, None, None], np.nan, _numpy(module.selected_predictions))
    probe_predictions = metrics.pop("probe_predictions").astype(kernels.dtype)
    return TrainedUnit(
        epochs=epochs,
        **metrics,
        probe_predictions=probe_predictions,
        probe_kernels=kernels,
        weights=weights,
        weight_epochs=weight_epochs,
        status=status.astype(np.int8),
        stop_epoch=stop_epoch,
        learning_rate=_numpy(module.learning_rate),
        lambda_max=_numpy(module.lambda_max),
        target_scale=float(module.target_scale),
        selected_epoch=epochs[selected],
        test_predictions=predictions,
        selected_test_mse=selected_mse,
        selected_test_mse_folds=fold_errors(predictions, data.y_test, data.test_folds),
        selected_test_error=selected_error,
        n_rates_diverged=diverged.astype(np.int16),
        seconds=seconds,
    )


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
