"""Linearizes all networks of a row at their own initialization, and trains that; only what is not finished yet."""

from typing import TYPE_CHECKING

from ntk_atlas.config.predictors import predictors_of
from ntk_atlas.jobs import ROW, Job

if TYPE_CHECKING:
    pass

JOB = Job(
    reads=("dataset", "grid", "network", "training", "regression.predictors"),
    folder="linearized",
    kind="linearized",
    made_of=("prepare_dataset", "train_networks"),
    per=ROW,
    wanted=lambda experiment: (
        bool(predictors_of("linearized", experiment.regression.predictors)) or experiment.output_variance is not None
    ),
    # The output variance needs the samples alone whose outputs are observed; the predictor, test samples too.
    narrowed=lambda experiment: {
        "regression.predictors": predictors_of("linearized", experiment.regression.predictors),
        "training.checkpoints.n_probe": experiment.training.checkpoints.probe_count(experiment.grid.n_train),
    },
    stores=("linearized",),
    message="linearized networks of {row}",
    minutes=240,
)

import logging

import numpy as np
import torch

from ntk_atlas.arrays import LabelledArrays, Status, UnitStore, join
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw, output_probes
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.finished import finished_units, linearized_digests, row_grid
from ntk_atlas.jobs.parts.row_networks import as_tensor, batch_stream_labels, row_networks, target_scale
from ntk_atlas.jobs.parts.slice import Unit, seed_blocks
from ntk_atlas.numerics import compute_device
from ntk_atlas.regression.metrics import classification_error, fold_errors
from ntk_atlas.training.linearized import train_linearized
from ntk_atlas.training.schedule import selected_checkpoint

log = logging.getLogger(__name__)


def compute(part: Slice, given: Given) -> LabelledArrays:
    """The linearized networks of a row at one init scale; what is missing is NaN, as in `train_networks`."""
    finished, store = (UnitStore(given.units / stage / part.row.name) for stage in ("networks", "linearized"))
    digests = linearize_row(part, given.dataset, finished, store, given.source, given.trained)
    return linearized_row(part, store, digests)


def linearized_row(spec: Slice, store: UnitStore, digests: dict[Unit, str]) -> LabelledArrays:
    """The finished units of a row at one init scale, over (n_train, draw, seed)."""
    return join(finished_units(spec, store, digests), row_grid(spec))


def linearize_row(
    spec: Slice,
    dataset: Dataset,
    networks: UnitStore,
    store: UnitStore,
    source: str,
    training_digests: dict[Unit, str],
) -> dict[Unit, str]:
    """Linearized trainings of a row, with the learning rates and batches, at the epochs of its trained networks.

    Where a network reached `training.stop_loss`, its linearization stops at the same epoch.

    Args:
        spec: the row.
        dataset: the data.
        networks: the finished trainings, of which the learning rates and epochs are read.
        store: where finished units of this stage lie.
        source: digest of the code that computes.
        training_digests: digest of each unit's training, which says everything that a unit depends on.

    Returns:
        The digest of each unit.
    """
    store.remove_temporaries()
    digests = linearized_digests(spec, training_digests, source)
    for unit, digest in digests.items():
        for block in seed_blocks(spec.grid.seeds, spec.training.seeds_per_unit):
            seeds = networks.done(unit.name, training_digests[unit], store.missing(unit.name, digest, block))
            if not seeds:
                continue
            log.info("linearized networks of %s, %s, seeds %s", spec.row.name, unit.name, seeds)
            trained = networks.load(
                unit.name, training_digests[unit], seeds, ("learning_rate", "epoch", "status", "stop_epoch")
            )
            store.save(unit.name, digest, seeds, _linearize(spec, dataset, unit, seeds, trained))
    return digests


def _linearize(
    spec: Slice, dataset: Dataset, unit: Unit, seeds: tuple[int, ...], trained: LabelledArrays
) -> LabelledArrays:
    """Outputs on the probe samples along training, and, if the spec asks, what is predicted of the test samples."""
    draw = make_draw(dataset, spec.dataset, unit.draw)
    x_train, y_train = draw.training_set(unit.n_train)
    samples = [output_probes(draw, spec.training.checkpoints.n_probe)]
    samples += [draw.x_validation, draw.x_test] if spec.regression.predictors else []
    device, epochs = compute_device(), trained["epoch"].tolist()
    labels = None if draw.labels_pool is None else torch.as_tensor(draw.labels_pool[: unit.n_train])
    diverged = trained["status"] == int(Status.DIVERGED)
    result = train_linearized(
        row_networks(spec, dataset, unit.draw, seeds),
        as_tensor(x_train).to(device),
        as_tensor(y_train),
        as_tensor(np.concatenate(samples)),
        learning_rates=trained["learning_rate"].tolist(),
        epochs=epochs,
        settings=spec.training,
        target_scale=target_scale(spec, spec.training.target_scale, draw),
        stop_epochs=np.where(diverged, epochs[-1], trained["stop_epoch"]).tolist(),
        batch_labels=[batch_stream_labels(spec, unit.n_train, unit.draw, seed) for seed in seeds],
        labels_train=labels,
    )
    predictions = np.split(result.predictions, np.cumsum([len(x) for x in samples])[:-1], axis=2)
    arrays = {
        "linearized_predictions": (("seed", "epoch", "probe", "output"), predictions[0]),
        "linearized_train_mse": (("seed", "epoch"), result.train_mse),
    }
    if spec.regression.predictors:
        arrays |= _on_test(spec, draw, result.train_mse, np.array(epochs), *predictions[1:])
    return LabelledArrays.of(arrays, epoch=epochs)


def _on_test(
    spec: Slice, draw: Draw, train_mse: np.ndarray, epochs: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Errors and predictions at the epoch selected as for networks; a member that was ever lost predicts nothing."""
    validation_mse = ((validation - draw.y_validation) ** 2).mean((2, 3))
    lost = ~np.isfinite(train_mse[:, -1])
    chosen, rows = selected_checkpoint(validation_mse, spec.training.selection), np.arange(len(lost))
    predicted = np.where(lost[:, None, None], np.nan, test[rows, chosen])
    error = np.full(len(lost), np.nan)
    if draw.labels_test is not None:
        labels = torch.as_tensor(draw.labels_test)
        error = classification_error(torch.as_tensor(predicted), as_tensor(draw.y_test), labels).numpy()
    folds = fold_errors(predicted, draw.y_test, draw.test_folds)
    return {
        "test_mse_linearized": (("seed",), ((predicted - draw.y_test) ** 2).mean((1, 2))),
        "test_mse_folds_linearized": (("seed", "test_fold"), folds),
        "test_error_linearized": (("seed",), np.where(lost, np.nan, error)),
        "validation_mse_linearized": (("seed",), np.where(lost, np.nan, validation_mse[rows, chosen])),
        "final_train_mse_linearized": (("seed",), train_mse[:, -1]),
        "selected_epoch_linearized": (("seed",), epochs[chosen]),
        "test_predictions": (("seed", "test_sample", "output"), predicted.astype(np.float32)),
    }
