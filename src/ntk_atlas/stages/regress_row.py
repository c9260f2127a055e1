"""Kernel regression with the empirical NTKs of one row at one init scale, before and after training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import compute_device
from ntk_atlas.regression.regress import NestedRegression, regress_nested
from ntk_atlas.stages.regression_arrays import regression_arrays
from ntk_atlas.stages.row_networks import as_tensor, row_networks, target_scale
from ntk_atlas.study.cells import Unit, seed_blocks, units
from ntk_atlas.study.prediction_specs import EmpiricalSpec
from ntk_atlas.unit_store import Arrays, UnitStore, unit_digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowStores:
    """Where finished units of a row at one init scale lie: networks, and regressions before and after training."""

    networks: UnitStore
    initial: UnitStore
    trained: UnitStore

    @classmethod
    def of_row(cls, folder: Path, row: str) -> "RowStores":
        """The stores of the row of that name, below the folder of all units."""
        return cls(*(UnitStore(folder / stage / row) for stage in ("networks", "initial_ntk", "trained_ntk")))


@dataclass(frozen=True)
class RowDigests:
    """Digests of a row's finished regressions: by draw with the initial kernels, by unit with the trained ones."""

    initial: dict[int, str]
    trained: dict[Unit, str]


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
    work = (spec, dataset, dataset_digest, stores, source)
    return RowDigests(
        initial=regress_initial(*work) if spec.has_initial else {},
        trained=regress_trained(*work, training_digests) if spec.trained_predictors else {},
    )


def regress_initial(
    spec: EmpiricalSpec, dataset: Dataset, dataset_digest: str, stores: RowStores, source: str
) -> dict[int, str]:
    """Regression with the NTK at initialization: a unit is a draw, for one kernel serves all n_train.

    Returns:
        The digest of each draw's units.
    """
    digests, store = {}, stores.initial
    for number in range(spec.draws):
        digest = unit_digest("initial", spec.cell_settings(), spec.n_train, number, dataset_digest, source)
        digests[number] = digest
        for block in seed_blocks(spec.seeds, spec.seeds_per_unit):
            seeds = store.missing(f"draw-{number}", digest, block)
            if not seeds:
                continue
            log.info("initial NTK of %s, draw %d, seeds %s", spec.row.name, number, seeds)
            draw = make_draw(dataset, spec.dataset, number)
            network = row_networks(spec, dataset, number, seeds)
            center = spec.predictor_center == "network" and spec.initial_output == "keep"
            results = _regress(spec, network, draw, spec.n_train, center_on=network if center else None)
            store.save(f"draw-{number}", digest, seeds, regression_arrays(results))
    return digests


def regress_trained(
    spec: EmpiricalSpec,
    dataset: Dataset,
    dataset_digest: str,
    stores: RowStores,
    source: str,
    training_digests: dict[Unit, str],
) -> dict[Unit, str]:
    """Regression with the NTKs of trained networks: trained on n samples, regressed on the same n.

    Returns:
        The digest of each unit; its arrays are named `<field>_<predictor>`, `(n_seeds, 2, 1)`.
    """
    digests, store = {}, stores.trained
    for unit in units(spec.n_train, spec.draws):
        trained = training_digests[unit]
        digest = unit_digest("trained", spec.cell_settings(), spec.trained_predictors, trained, dataset_digest, source)
        digests[unit] = digest
        for block in seed_blocks(spec.seeds, spec.seeds_per_unit):
            seeds = store.missing(unit.name, digest, block)
            if not seeds:
                continue
            log.info("trained NTK of %s, %s, seeds %s", spec.row.name, unit.name, seeds)
            draw = make_draw(dataset, spec.dataset, unit.draw)
            saved = stores.networks.load(unit.name, trained, seeds, ("weights", "weight_epochs"))
            arrays: Arrays = {}
            for predictor in spec.trained_predictors:
                results = _regress_checkpoint(spec, dataset, draw, unit, seeds, saved, predictor)
                arrays |= {f"{name}_{predictor}": a for name, a in regression_arrays(results).items()}
            store.save(unit.name, digest, seeds, arrays)
    return digests


def _regress_checkpoint(
    spec: EmpiricalSpec,
    dataset: Dataset,
    draw: Draw,
    unit: Unit,
    seeds: Sequence[int],
    saved: Arrays,
    predictor: str,
) -> list[NestedRegression]:
    epochs = saved["weight_epochs"][0].tolist()
    index = -1 if predictor == "ntk_final" else epochs.index(int(predictor.removeprefix("ntk_epoch_")))
    network = row_networks(spec, dataset, unit.draw, seeds)
    subtract = row_networks(spec, dataset, unit.draw, seeds) if spec.initial_output == "subtract" else None
    network.load_weights(torch.as_tensor(saved["weights"][:, index]))
    center_on = network if spec.predictor_center == "network" else None
    return _regress(spec, network, draw, (unit.n_train,), center_on=center_on, subtract=subtract)


def _regress(
    spec: EmpiricalSpec,
    network: StackedNetwork,
    draw: Draw,
    sizes: Sequence[int],
    *,
    center_on: StackedNetwork | None,
    subtract: StackedNetwork | None = None,
) -> list[NestedRegression]:
    """One regression a member, at all sizes, with the kernel in float64."""
    x_train, y_train = draw.training_set(max(sizes))
    device = compute_device()
    inputs = [as_tensor(x).to(device) for x in (x_train, draw.x_validation, draw.x_test)]
    network = network.double().to(device)
    k_train_train = empirical_ntk(network, inputs[0]).cpu()
    k_rest_train = empirical_ntk(network, torch.cat(inputs[1:]), inputs[0]).cpu()
    n_validation = len(inputs[1])
    scale = target_scale(spec, spec.target_scale, draw)
    offsets = None if center_on is None else _outputs(center_on, subtract, inputs, scale)
    labels = None if draw.labels_test is None else torch.as_tensor(draw.labels_test)
    return [
        regress_nested(
            k_train_train[member],
            k_rest_train[member, :n_validation],
            k_rest_train[member, n_validation:],
            y_train=as_tensor(y_train),
            y_validation=as_tensor(draw.y_validation),
            y_test=as_tensor(draw.y_test),
            test_labels=labels,
            sizes=sizes,
            settings=spec.solve,
            offset=None if offsets is None else tuple(f[member] for f in offsets),
        )
        for member in range(network.n_members)
    ]


@torch.no_grad()
def _outputs(
    network: StackedNetwork, subtract: StackedNetwork | None, inputs: Sequence[Tensor], scale: float
) -> list[Tensor]:
    """What the networks say on each set of inputs, `(n_members, n, n_outputs)`, in units of the target."""
    outputs = [network(x) for x in inputs]
    if subtract is not None:
        initial = subtract.double().to(inputs[0].device)
        outputs = [f - initial(x) for f, x in zip(outputs, inputs, strict=True)]
    return [f.cpu() / scale for f in outputs]
