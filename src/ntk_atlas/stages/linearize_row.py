"""Linearize all networks of one row at their own initialization, and train that; only what is not finished yet."""

import logging

import numpy as np

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import make_draw, probe_indices
from ntk_atlas.numerics import compute_device
from ntk_atlas.stages.row_networks import as_tensor, row_networks, target_scale
from ntk_atlas.study.cells import Unit, seed_blocks, units
from ntk_atlas.study.output_variance_specs import LinearizeSpec
from ntk_atlas.training.linearized import train_linearized
from ntk_atlas.unit_store import Arrays, UnitStore, unit_digest

log = logging.getLogger(__name__)

LINEARIZED_ARRAYS = ("linearized_predictions", "linearized_train_mse")
"""Arrays of a finished unit, members on their first axis."""


def linearize_row(
    spec: LinearizeSpec,
    dataset: Dataset,
    networks: UnitStore,
    store: UnitStore,
    source: str,
    training_digests: dict[Unit, str],
) -> dict[Unit, str]:
    """Linearized trainings of a row, with the learning rates and at the epochs of its trained networks.

    Args:
        spec: the row.
        dataset: the data.
        networks: the finished trainings, of which the learning rates and epochs are read.
        store: where finished units of this stage lie.
        source: digest of the code that computes.
        training_digests: digest of each unit's training, which says everything that a unit depends on.

    Returns:
        The digest of each unit; its arrays are `LINEARIZED_ARRAYS` and `epochs`.
    """
    digests = {}
    for unit in units(spec.n_train, spec.draws):
        digest = digests[unit] = unit_digest("linearized", training_digests[unit], source)
        for block in seed_blocks(spec.seeds, spec.seeds_per_unit):
            seeds = store.missing(unit.name, digest, block)
            if not seeds:
                continue
            log.info("linearized networks of %s, %s, seeds %s", spec.row.name, unit.name, seeds)
            trained = networks.load(unit.name, training_digests[unit], seeds, ("learning_rate", "epochs"))
            store.save(unit.name, digest, seeds, _linearize(spec, dataset, unit, seeds, trained))
    return digests


def _linearize(spec: LinearizeSpec, dataset: Dataset, unit: Unit, seeds: tuple[int, ...], trained: Arrays) -> Arrays:
    draw = make_draw(dataset, spec.dataset, unit.draw)
    x_train, y_train = draw.training_set(unit.n_train)
    x_probe = draw.x_test[probe_indices(draw, spec.training.checkpoints.n_probe)]
    device, epochs = compute_device(), trained["epochs"][0].tolist()
    result = train_linearized(
        row_networks(spec, dataset, unit.draw, seeds),
        as_tensor(x_train).to(device),
        as_tensor(y_train),
        as_tensor(x_probe),
        learning_rates=trained["learning_rate"].tolist(),
        epochs=epochs,
        settings=spec.training,
        target_scale=target_scale(spec, spec.training.target_scale, draw),
    )
    return {
        "linearized_predictions": result.predictions,
        "linearized_train_mse": result.train_mse,
        "epochs": np.broadcast_to(np.array(epochs), (len(seeds), len(epochs))),
    }
