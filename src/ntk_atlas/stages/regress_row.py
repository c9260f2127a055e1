"""Kernel regression with all empirical NTKs of one row at one init scale; finished units are kept."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ntk_atlas.arrays import LabelledArrays, UnitStore, join
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.stages.empirical_regression import KernelSource, regress_empirical
from ntk_atlas.stages.row_files import row_grid
from ntk_atlas.stages.row_networks import row_networks
from ntk_atlas.study.cells import Unit, seed_blocks
from ntk_atlas.study.prediction_specs import EmpiricalSpec, RowDigests

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowStores:
    """Where finished units of a row at one init scale lie: networks, and regressions with each kind of kernel."""

    networks: UnitStore
    initial: UnitStore
    trained: UnitStore
    pretrained: UnitStore
    epochs: UnitStore

    @classmethod
    def of_row(cls, folder: Path, row: str) -> "RowStores":
        """The stores of the row of that name, below the folder of all units."""
        stages = ("networks", "initial_ntk", "trained_ntk", "pretrained_ntk", "epoch_ntk")
        return cls(*(UnitStore(folder / stage / row) for stage in stages))


@dataclass(frozen=True)
class _Row:
    """What all regressions of a row share."""

    spec: EmpiricalSpec
    dataset: Dataset
    stores: RowStores
    digests: RowDigests
    training_digests: dict[Unit, str]

    def finish(
        self,
        store: UnitStore,
        unit: str,
        digest: str,
        compute: Callable[[tuple[int, ...]], LabelledArrays],
        *,
        training: Unit | None = None,
    ) -> None:
        """Computes and saves the seeds of a unit that the store does not have, a block at a time.

        Those whose `training` is not finished, because it took too long, are left out.
        """
        for block in seed_blocks(self.spec.seeds, self.spec.seeds_per_unit):
            seeds = store.missing(unit, digest, block)
            if training is not None:
                seeds = self.stores.networks.done(training.name, self.training_digests[training], seeds)
            if seeds:
                log.info("%s of %s, %s, seeds %s", store.folder.parent.name, self.spec.row.name, unit, seeds)
                store.save(unit, digest, seeds, compute(seeds))

    def weights(self, unit: Unit, seeds: Sequence[int]) -> LabelledArrays:
        """Weights kept of a unit's trainings, and their epochs."""
        return self.stores.networks.load(unit.name, self.training_digests[unit], seeds, ("weights",))

    def checkpoint(self, draw: int, seeds: Sequence[int], weights: torch.Tensor) -> KernelSource:
        """Networks of the row with weights of a checkpoint."""
        network = row_networks(self.spec, self.dataset, draw, seeds)
        network.load_weights(weights)
        subtract = self.spec.initial_output == "subtract"
        return KernelSource(network, seeds, row_networks(self.spec, self.dataset, draw, seeds) if subtract else None)


def regress_row(
    spec: EmpiricalSpec,
    dataset: Dataset,
    dataset_digest: str,
    stores: RowStores,
    source: str,
    training_digests: dict[Unit, str],
) -> RowDigests:
    """Regression with all empirical kernels of a row that are asked for; computes what is not finished yet.

    Args:
        spec: the row at one init scale, its settings and the predictors wanted.
        dataset: the data.
        dataset_digest: digest of the data's contents.
        stores: where finished units lie.
        source: digest of the code that computes.
        training_digests: digest of each unit's training.

    Returns:
        The digests under which the results lie in `stores`.
    """
    for store in (stores.initial, stores.trained, stores.pretrained, stores.epochs):  # networks are another job's
        store.remove_temporaries()
    digests = spec.unit_digests(dataset_digest, source, training_digests)
    row = _Row(spec, dataset, stores, digests, training_digests)
    _initial(row)
    _trained(row)
    _pretrained(row)
    _epochs(row)
    return digests


def _initial(row: _Row) -> None:
    """The NTK at initialization: a unit is a draw, for one kernel serves all n_train."""
    spec = row.spec
    for number, digest in row.digests.initial.items():

        def compute(seeds: tuple[int, ...], number: int = number) -> LabelledArrays:
            source = KernelSource(row_networks(spec, row.dataset, number, seeds), seeds)
            draw = make_draw(row.dataset, spec.dataset, number)
            return regress_empirical(spec, source, draw, spec.n_train, spec.variants("ntk_init"))

        row.finish(row.stores.initial, f"draw-{number}", digest, compute)


def _trained(row: _Row) -> None:
    """NTKs trained on n samples and regressed on the same n, each at one checkpoint."""
    spec = row.spec
    for unit, digest in row.digests.trained.items():

        def compute(seeds: tuple[int, ...], unit: Unit = unit) -> LabelledArrays:
            saved, draw = row.weights(unit, seeds), make_draw(row.dataset, spec.dataset, unit.draw)
            epochs, found = saved["weight_epoch"].tolist(), []
            for name in spec.trained_predictors:
                index = -1 if name == "ntk_final" else epochs.index(int(name.removeprefix("ntk_epoch_")))
                source = row.checkpoint(unit.draw, seeds, torch.as_tensor(saved["weights"][:, index]))
                found.append(regress_empirical(spec, source, draw, (unit.n_train,), spec.variants(name)))
            return join(found, {})

        row.finish(row.stores.trained, unit.name, digest, compute, training=unit)


def _pretrained(row: _Row) -> None:
    """NTKs trained on m samples and regressed on every n ≥ m: one kernel serves all of them."""
    spec = row.spec
    for unit, digest in row.digests.pretrained.items():

        def compute(seeds: tuple[int, ...], unit: Unit = unit) -> LabelledArrays:
            saved, draw = row.weights(unit, seeds), make_draw(row.dataset, spec.dataset, unit.draw)
            source = row.checkpoint(unit.draw, seeds, torch.as_tensor(saved["weights"][:, -1]))
            sizes = spec.regressed_sizes(unit)
            return regress_empirical(spec, source, draw, sizes, spec.variants(f"{PRETRAINED}{unit.n_train}"))

        row.finish(row.stores.pretrained, unit.name, digest, compute, training=unit)


def _epochs(row: _Row) -> None:
    """NTKs of all checkpoints, regressed on what the networks are trained on; their outputs are not kept."""
    spec = row.spec.model_copy(update={"solve": row.spec.solve.model_copy(update={"keep_predictions": False})})
    for unit, digest in row.digests.epochs.items():

        def compute(seeds: tuple[int, ...], unit: Unit = unit) -> LabelledArrays:
            saved, draw = row.weights(unit, seeds), make_draw(row.dataset, spec.dataset, unit.draw)
            found = []
            for index, epoch in enumerate(saved["weight_epoch"]):
                source = row.checkpoint(unit.draw, seeds, torch.as_tensor(saved["weights"][:, index]))
                regressed = regress_empirical(spec, source, draw, (unit.n_train,), spec.variants(EPOCHS))
                found.append(regressed.at(epoch=epoch))
            return join(found, {"seed": seeds, "epoch": None})

        row.finish(row.stores.epochs, unit.name, digest, compute, training=unit)


def empirical_predictions(spec: EmpiricalSpec, stores: RowStores, digests: RowDigests) -> LabelledArrays:
    """The finished regressions of a row: `<field>_<predictor>` over (n_train, draw, seed[, epoch], ridge).

    Args:
        spec: the row, at one init scale.
        stores: where finished units lie.
        digests: what `regress_row` gave.

    Returns:
        All fields of all predictors; NaN where a kernel is not regressed on a size, or not yet.
    """
    seeds = range(spec.seeds)
    pieces = [stores.initial.load(f"draw-{d}", digest, seeds).at(draw=d) for d, digest in digests.initial.items()]
    for kind in ("trained", "pretrained", "epochs"):
        store: UnitStore = getattr(stores, kind)
        for unit, digest in getattr(digests, kind).items():
            pieces.append(store.load(unit.name, digest, seeds, partial=True).at(draw=unit.draw))
    return join(pieces, row_grid(spec))
