"""Trains the networks of a row: unit by unit, and only the units that are not finished yet."""

from ntk_atlas.jobs import ROW, Job

JOB = Job(
    reads=("dataset", "grid", "network", "training"),
    folder="networks",
    kind="networks",
    made_of=("prepare_dataset",),
    per=ROW,
    # Which samples are observed follows from all training sizes, and is the same at each of them.
    narrowed=lambda experiment: {
        "training.checkpoints.n_probe": experiment.training.checkpoints.probe_count(experiment.grid.n_train)
    },
    stores=("networks",),
    message="training {row} (progress in {log})",
    minutes=240,
)

import logging
from collections.abc import Mapping

import numpy as np
import torch

from ntk_atlas.arrays import LabelledArrays, Status, UnitStore, join
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, kernel_probes, make_draw, missing_classes, output_probes
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.finished import finished_units, row_grid, training_digests
from ntk_atlas.jobs.parts.row_networks import as_tensor, batch_stream_labels, row_networks, target_scale
from ntk_atlas.jobs.parts.slice import Unit, seed_blocks
from ntk_atlas.training.callbacks import Resume, TrainingTimedOutError
from ntk_atlas.training.schedule import epoch_budget
from ntk_atlas.training.train import train_unit
from ntk_atlas.training.unit import TrainedUnit, UnitData

log = logging.getLogger(__name__)


def compute(part: Slice, given: Given) -> LabelledArrays:
    """The trained networks of a row at one init scale, those that are missing trained first."""
    store = UnitStore(given.units / "networks" / part.row.name)
    digests = train_row(part, given.dataset, given.data_digest, store, given.source, save_every=given.save_every)
    return network_row(part, store, digests)


def train_row(
    spec: Slice,
    dataset: Dataset,
    dataset_digest: str,
    store: UnitStore,
    source: str,
    *,
    save_every: float = 60.0,
) -> dict[Unit, str]:
    """Trains what is missing of a row; each finished unit is in the store at once.

    A training under way leaves its state in the store and goes on from there; one that takes longer than
    `training.max_seconds` is marked in the store, and the row goes on without it.

    Args:
        spec: the row and its settings, at one init scale.
        dataset: the data.
        dataset_digest: digest of the data's contents.
        store: where finished units lie.
        source: digest of the code that trains.
        save_every: seconds after which the state of a training under way is written.

    Returns:
        The digest of each unit.
    """
    store.remove_temporaries()
    todo, digests = [], training_digests(spec, dataset_digest, source)
    for unit, digest in digests.items():
        for block in seed_blocks(spec.grid.seeds, spec.training.seeds_per_unit):
            missing = store.missing(unit.name, digest, block, TrainedUnit.DIMS)
            if missing:
                todo.append((unit, digest, missing))
        store.remove_overtaken(unit.name, digest)  # of a kill between a block's writing and its state's removal
    log.info("row %s: %d blocks of networks to train, the others are finished", spec.row.name, len(todo))
    draws: dict[int, Draw] = {}
    for number, (unit, digest, seeds) in enumerate(todo, start=1):
        if unit.draw not in draws:
            draws[unit.draw] = make_draw(dataset, spec.dataset, unit.draw)
        if missing := missing_classes(draws[unit.draw], unit.n_train):
            log.warning(
                "%s: its %d training samples have none of the classes %s, which cannot be learned from them: a larger "
                "n_train has them", unit.name, unit.n_train, ", ".join(map(str, missing)),
            )  # fmt: skip
        if number == 1 and (notice := _mode_notice(spec, dataset, draws[unit.draw], seeds)):
            log.warning(notice)
        log.info("training %d of %d: %s, %s, seeds %s", number, len(todo), spec.row.name, unit.name, seeds)
        owner = store.owner(unit.name, digest, seeds)
        resume = Resume(store.progress(unit.name, digest, seeds), save_every, owner=owner)
        try:
            trained = _train(spec, dataset, draws[unit.draw], unit, seeds, resume)
        except TrainingTimedOutError as stop:
            log.warning("%s: its networks are timed_out in the cube; a larger max_seconds lets it go on", stop)
            store.mark_timed_out(unit.name, digest, seeds)
        else:
            store.save(unit.name, digest, seeds, trained)
    return digests


def network_row(spec: Slice, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """The trained networks of a row: curves, probe kernels, predictions, and where the weights lie.

    Epochs at which a unit has no checkpoint are NaN: units differ in their last epoch under `min_steps`. So is all of
    a network that is not finished, whose status is `missing` or `timed_out`; a row without any has its status alone.

    Args:
        spec: the row, at one init scale.
        store: the finished units.
        digests: digest of each unit.

    Returns:
        Arrays over (n_train, draw, seed), with `epoch`, `probe` and `probe_2` (samples of the kernels) and
        `output_probe` (samples of the outputs) where they apply;
        `unit_digest` (n_train, draw) names the units that hold the weights.
    """
    pieces, seeds = [], range(spec.grid.seeds)
    for unit, digest in digests.items():
        stopped = store.timed_out(unit.name, digest)
        status = [Status.TIMED_OUT if seed in stopped else Status.MISSING for seed in seeds]
        own = {"status": (("seed",), np.array(status, dtype=np.int8)), "unit_digest": ((), digest)}
        pieces.append(LabelledArrays.of(own, seed=seeds).at(n_train=unit.n_train, draw=unit.draw))
    names = [name for name in TrainedUnit.DIMS if name != "weights"]
    return join([*pieces, *finished_units(spec, store, digests, names)], row_grid(spec))


def _mode_notice(spec: Slice, dataset: Dataset, draw: Draw, seeds: tuple[int, ...]) -> str | None:
    """What is off in a network of the user's own, in a sentence; None for built-in networks."""
    if not spec.network.family.measured:
        return None
    from ntk_atlas.networks.notices import evaluation_mode_notice

    module = row_networks(spec, dataset, draw.draw, seeds[:1]).member(0).module
    x = as_tensor(draw.training_set(min(2, len(draw.indices.pool)))[0], spec.training.dtype)
    return evaluation_mode_notice(module, x, f"network factory {spec.network.factory!r}")


def _train(
    spec: Slice, dataset: Dataset, draw: Draw, unit: Unit, seeds: tuple[int, ...], resume: Resume
) -> LabelledArrays:
    trained = train_unit(
        row_networks(spec, dataset, unit.draw, seeds),
        unit_data(spec, draw, unit.n_train),
        settings=spec.training,
        target_scale=target_scale(spec, spec.training.target_scale, draw),
        n_epochs=epoch_budget(spec.training, unit.n_train),
        batch_labels=[batch_stream_labels(spec, unit.n_train, unit.draw, seed) for seed in seeds],
        lambda_max=_shared_lambda_max(spec, draw, unit.n_train),
        resume=resume,
    )
    return trained.labelled()


def _shared_lambda_max(spec: Slice, draw: Draw, n_train: int) -> float | None:
    """λ_max of the infinite NTK where learning rates are a share of its limit, else None."""
    rate = spec.training.learning_rate
    if rate.relative is None or rate.of != "infinite_ntk":
        return None
    from ntk_atlas.kernels.infinite.kernels import infinite_lambda_max

    return infinite_lambda_max(
        as_tensor(draw.training_set(n_train)[0]),
        depth=spec.row.depth,
        settings=spec.network,
        init_scale=spec.only_init_scale,
        width=spec.row.width,
    )


def unit_data(spec: Slice, draw: Draw, n_train: int) -> UnitData:
    """The tensors that a unit trains and is measured on, in the precision of the training."""
    x_train, y_train = draw.training_set(n_train)
    dtype, checkpoints = spec.training.dtype, spec.training.checkpoints
    labels = {
        "labels_train": None if draw.labels_pool is None else torch.as_tensor(draw.labels_pool[:n_train]),
        "labels_validation": None if draw.labels_pool is None else torch.as_tensor(draw.labels_validation),
        "labels_test": None if draw.labels_pool is None else torch.as_tensor(draw.labels_test),
    }
    return UnitData(
        x_train=as_tensor(x_train, dtype),
        y_train=as_tensor(y_train, dtype),
        x_validation=as_tensor(draw.x_validation, dtype),
        y_validation=as_tensor(draw.y_validation, dtype),
        x_test=as_tensor(draw.x_test, dtype),
        y_test=as_tensor(draw.y_test, dtype),
        x_probe=as_tensor(kernel_probes(draw, checkpoints.probed_parts, checkpoints.n_probe).x, dtype),
        x_outputs=as_tensor(output_probes(draw, checkpoints.n_probe), dtype),
        test_folds=draw.test_folds,
        **labels,
    )
