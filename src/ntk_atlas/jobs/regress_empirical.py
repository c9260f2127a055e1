"""Kernel regression with all empirical NTKs of a row, before and after training; finished units are kept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ntk_atlas.config.predictors import predictors_of
from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.jobs import DROPPED, ROW, Job

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


def _narrowed(experiment: "ExperimentSettings") -> Mapping[str, object]:
    regression, n_train = experiment.regression, experiment.grid.n_train
    predictors = predictors_of("empirical", regression.predictors)
    # What is subtracted from a network, and the scale of its targets, matter to kernels around the network only.
    around = () if regression.predictor_center != "zero" else ("initial_output", "target_scale")
    return {
        "regression.predictors": predictors,
        "regression.epoch_n_train": regression.epoch_sizes(n_train) if "ntk_epochs" in predictors else "largest",
        "regression.solver": regression.chosen_solver(n_train)[0],
        **{f"training.{key}": DROPPED for key in around},
    }


JOB = Job(
    reads=(
        "dataset",
        "grid",
        "network",
        *(f"training.{key}" for key in ("seed", "dtype", "seeds_per_unit", "initial_output", "target_scale")),
        *(f"regression.{key}" for key in ("predictors", "predictor_center", "epoch_n_train", "kernel_dtype")),
        *(f"regression.{key}" for key in SolveSettings.model_fields),
    ),
    folder="predictions/empirical",
    kind="empirical",
    made_of=("prepare_dataset", "train_networks"),
    per=ROW,
    wanted=lambda experiment: bool(predictors_of("empirical", experiment.regression.predictors)),
    narrowed=_narrowed,
    stores=("initial_ntk", "trained_ntk", "pretrained_ntk", "epoch_ntk"),
    message="regression with the empirical NTKs of {row}",
    minutes=240,
)

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ntk_atlas.arrays import LabelledArrays, UnitStore, join
from ntk_atlas.config.predictors import AROUND, EPOCHS, PRETRAINED
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.finished import row_grid
from ntk_atlas.jobs.parts.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.jobs.parts.regression_digests import (
    RegressionDigests,
    regressed_sizes,
    regression_digests,
    trained_predictors,
)
from ntk_atlas.jobs.parts.row_networks import as_tensor, row_networks, target_scale
from ntk_atlas.jobs.parts.slice import Unit, seed_blocks
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import compute_device
from ntk_atlas.regression.regress import regress_around

log = logging.getLogger(__name__)


def compute(part: Slice, given: Given) -> LabelledArrays:
    """The regressions of a row at one init scale, those that are missing computed first."""
    stores = RowStores.of_row(given.units, part.row.name)
    digests = regress_row(part, given.dataset, given.data_digest, stores, given.source, given.trained)
    return empirical_predictions(part, stores, digests)


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
class KernelSource:
    """Networks whose kernels predict.

    Attributes:
        network: the stack at the checkpoint; its precision is changed.
        seeds: seeds of its members.
        initial: the same networks at initialization, where their outputs are subtracted; else None.
    """

    network: StackedNetwork
    seeds: Sequence[int]
    initial: StackedNetwork | None = None


@dataclass(frozen=True)
class _Row:
    """What all regressions of a row share."""

    spec: Slice
    dataset: Dataset
    stores: RowStores
    digests: RegressionDigests
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
        for block in seed_blocks(self.spec.grid.seeds, self.spec.training.seeds_per_unit):
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
        around = self.spec.regression.predictor_center != "zero"
        subtract = around and self.spec.training.initial_output == "subtract"
        return KernelSource(network, seeds, row_networks(self.spec, self.dataset, draw, seeds) if subtract else None)


def regress_row(
    spec: Slice,
    dataset: Dataset,
    dataset_digest: str,
    stores: RowStores,
    source: str,
    training_digests: dict[Unit, str],
) -> RegressionDigests:
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
    digests = regression_digests(spec, dataset_digest, source, training_digests)
    row = _Row(spec, dataset, stores, digests, training_digests)
    _initial(row)
    _trained(row)
    _pretrained(row)
    _epochs(row)
    return digests


def _initial(row: _Row) -> None:
    """The NTK at initialization: a unit is a draw, for one kernel serves all n_train.

    Its predictions are always kept: networks are compared with them as functions where the cube is joined.
    """
    spec = row.spec.narrowed({"regression.keep_predictions": True})
    for number, digest in row.digests.initial.items():

        def compute(seeds: tuple[int, ...], number: int = number) -> LabelledArrays:
            source = KernelSource(row_networks(spec, row.dataset, number, seeds), seeds)
            draw = make_draw(row.dataset, spec.dataset, number)
            return regress_empirical(spec, source, draw, spec.grid.n_train, variants(spec, "ntk_init"))

        row.finish(row.stores.initial, f"draw-{number}", digest, compute)


def _trained(row: _Row) -> None:
    """NTKs trained on n samples and regressed on the same n, each at one checkpoint."""
    spec = row.spec
    for unit, digest in row.digests.trained.items():

        def compute(seeds: tuple[int, ...], unit: Unit = unit) -> LabelledArrays:
            saved, draw = row.weights(unit, seeds), make_draw(row.dataset, spec.dataset, unit.draw)
            epochs, found = saved["weight_epoch"].tolist(), []
            for name in trained_predictors(spec):
                index = -1 if name == "ntk_final" else epochs.index(int(name.removeprefix("ntk_epoch_")))
                source = row.checkpoint(unit.draw, seeds, torch.as_tensor(saved["weights"][:, index]))
                found.append(regress_empirical(spec, source, draw, (unit.n_train,), variants(spec, name)))
            return join(found, {})

        row.finish(row.stores.trained, unit.name, digest, compute, training=unit)


def _pretrained(row: _Row) -> None:
    """NTKs trained on m samples and regressed on every n ≥ m: one kernel serves all of them."""
    spec = row.spec
    for unit, digest in row.digests.pretrained.items():

        def compute(seeds: tuple[int, ...], unit: Unit = unit) -> LabelledArrays:
            saved, draw = row.weights(unit, seeds), make_draw(row.dataset, spec.dataset, unit.draw)
            source = row.checkpoint(unit.draw, seeds, torch.as_tensor(saved["weights"][:, -1]))
            sizes = regressed_sizes(spec, unit)
            return regress_empirical(spec, source, draw, sizes, variants(spec, f"{PRETRAINED}{unit.n_train}"))

        row.finish(row.stores.pretrained, unit.name, digest, compute, training=unit)


def _epochs(row: _Row) -> None:
    """NTKs of all checkpoints, regressed on what the networks are trained on; their outputs are not kept."""
    spec = row.spec.narrowed({"regression.keep_predictions": False})
    for unit, digest in row.digests.epochs.items():

        def compute(seeds: tuple[int, ...], unit: Unit = unit) -> LabelledArrays:
            saved, draw = row.weights(unit, seeds), make_draw(row.dataset, spec.dataset, unit.draw)
            found = []
            for index, epoch in enumerate(saved["weight_epoch"]):
                source = row.checkpoint(unit.draw, seeds, torch.as_tensor(saved["weights"][:, index]))
                regressed = regress_empirical(spec, source, draw, (unit.n_train,), variants(spec, EPOCHS))
                found.append(regressed.at(epoch=epoch))
            return join(found, {"seed": seeds, "epoch": None})

        row.finish(row.stores.epochs, unit.name, digest, compute, training=unit)


def empirical_predictions(spec: Slice, stores: RowStores, digests: RegressionDigests) -> LabelledArrays:
    """The finished regressions of a row: `<field>_<predictor>` over (n_train, draw, seed[, epoch], ridge).

    Args:
        spec: the row, at one init scale.
        stores: where finished units lie.
        digests: what `regress_row` gave.

    Returns:
        All fields of all predictors; NaN where a kernel is not regressed on a size, or not yet.
    """
    seeds = range(spec.grid.seeds)
    pieces = [stores.initial.load(f"draw-{d}", digest, seeds).at(draw=d) for d, digest in digests.initial.items()]
    for kind in ("trained", "pretrained", "epochs"):
        store: UnitStore = getattr(stores, kind)
        for unit, digest in getattr(digests, kind).items():
            pieces.append(store.load(unit.name, digest, seeds, partial=True).at(draw=unit.draw))
    return join(pieces, row_grid(spec))


def variants(spec: Slice, predictor: str) -> dict[str, bool]:
    """Names under which a kernel predicts, each with whether it does so around the network.

    The initial kernel around f₀ is the one around zero where f₀ is subtracted from the network.
    """
    center = spec.regression.predictor_center
    if center == "zero":
        return {predictor: False}
    around_nothing = predictor == "ntk_init" and spec.training.initial_output == "subtract"
    if center == "both" and not around_nothing:
        return {predictor: False, predictor + AROUND: True}
    return {predictor: center == "network" and not around_nothing}


def regress_empirical(
    spec: Slice,
    source: KernelSource,
    draw: Draw,
    sizes: Sequence[int],
    names: Mapping[str, bool],
) -> LabelledArrays:
    """One regression a member and variant, at all sizes, solved in float64.

    Args:
        spec: the row.
        source: whose kernels.
        draw: the data.
        sizes: numbers of training samples, ascending.
        names: of the predictor, each with whether it predicts around the network.

    Returns:
        `<field>_<name>` over (seed, ridge, n_train).
    """
    device, n_train, n_validation = compute_device(), max(sizes), len(draw.x_validation)
    inputs = [as_tensor(x).to(device) for x in (draw.training_set(n_train)[0], draw.x_validation, draw.x_test)]
    offsets = None
    if any(names.values()):  # before the network is rounded to the precision of the kernel
        offsets = _outputs(source, inputs, target_scale(spec, spec.training.target_scale, draw))
    dtype = getattr(torch, spec.regression.kernel_dtype)
    network, x_train = source.network.to(device, dtype), inputs[0].to(dtype)
    k_train_train = empirical_ntk(network, x_train).cpu()
    k_rest_train = empirical_ntk(network, torch.cat(inputs[1:]).to(dtype), x_train).cpu()
    targets = regression_targets(draw, n_train)
    by_member = [
        regress_around(
            k_train_train[member],
            k_rest_train[member, :n_validation],
            k_rest_train[member, n_validation:],
            **targets,
            sizes=sizes,
            settings=spec.regression.solve(spec.grid.n_train),
            offsets=[tuple(f[member] for f in offsets) if around else None for around in names.values()],
        )
        for member in range(network.n_members)
    ]
    by_variant = zip(names, zip(*by_member, strict=True), strict=True)
    return join([regression_arrays(results, name, sizes, seed=source.seeds) for name, results in by_variant], {})


@torch.no_grad()
def _outputs(source: KernelSource, inputs: Sequence[Tensor], scale: float) -> list[Tensor]:
    """What the networks say on each set of inputs, `(n_members, n, n_outputs)`, in units of the target."""
    network = source.network.to(inputs[0].device, torch.float64)
    outputs = [network(x) for x in inputs]
    if source.initial is not None:
        initial = source.initial.double().to(inputs[0].device)
        outputs = [f - initial(x) for f, x in zip(outputs, inputs, strict=True)]
    return [f.cpu() / scale for f in outputs]
