"""The judge of regimes on real small networks whose regime is known: null and planted worlds, by every stage."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import ExperimentSettings
from ntk_atlas.cubes import ExperimentFiles, assemble_cube
from ntk_atlas.datasets import kernel_probes, make_draw, read_dataset, shared_samples
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.linearize_networks import linearize_row, linearized_row
from ntk_atlas.jobs.parts import join_row
from ntk_atlas.jobs.parts.slice import canonical_text, rows
from ntk_atlas.jobs.regress_empirical import RowStores, empirical_predictions, regress_row
from ntk_atlas.jobs.regress_infinite import regress_infinite
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.regimes import FirstBreak, Regime, regimes
from ntk_atlas.study import load_regime_thresholds

THRESHOLDS = load_regime_thresholds(Path(__file__).parents[2] / "config" / "regimes.yaml")
DIGITS = {"source": "digits", "task": "binary", "n_validation": 16, "n_test": 128}
PARITY = {
    "source": "teacher", "teacher": "parity", "parity_bits": 3, "inputs": "signs", "dimension": 10, "n_validation": 16,
    "n_test": 300,
}  # fmt: skip


def experiment(
    depth: int = 1,
    width: int = 32,
    init_scale: float = 2.0,
    n_train: int = 32,
    dataset: dict | None = None,
    network: dict | None = None,
    **training: object,
) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": dataset or DIGITS,
            "grid": {
                "depth": [depth], "width": [width], "init_scale": [init_scale], "n_train": [n_train], "draws": 5,
                "seeds": 1,
            },
            "network": {"activation": "relu", "parameterization": "ntk", "bias_variance": 0.1, **(network or {})},
            "training": {
                "optimizer": "momentum", "learning_rate": {"relative": 0.5}, "max_epochs": 400, "seed": 11,
                "initial_output": "subtract", "checkpoints": {"epochs": [1], "n_probe": 4}, **training,
            },
            "regression": {"predictors": ["linearized", "ntk_init", "infinite_ntk"], "ridge_grid": [1e-3]},
        }
    )  # fmt: skip


def cube_of(settings: ExperimentSettings, folder: Path) -> xr.Dataset:
    """The cube of one cell, as the jobs make it."""
    dataset, (row,) = read_dataset(settings.dataset), rows(settings.grid)
    (scale,) = row.init_scale
    stores, store = RowStores.of_row(folder, row.name), UnitStore(folder / "linearized")
    spec, linear, kernels = (
        job_slice(job, settings, row.name) for job in ("train_networks", "linearize_networks", "regress_empirical")
    )
    trained = train_row(spec, dataset, "data", stores.networks, "source")
    linearized = linearize_row(linear, dataset, stores.networks, store, "source", trained)
    regressed = regress_row(kernels, dataset, "data", stores, "source", trained)
    found = {
        "networks": network_row(spec, stores.networks, trained),
        "linearized": linearized_row(linear, store, linearized),
        "empirical": empirical_predictions(kernels, stores, regressed),
    }
    for kind, arrays in found.items():
        write_labelled(join_row(spec, {scale: arrays}), folder / f"{kind}.nc")
    infinite = job_slice("regress_infinite", settings, canonical_text(scale))
    write_labelled(regress_infinite(infinite, dataset), folder / "infinite.nc")
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    return assemble_cube(
        settings,
        ExperimentFiles(
            **{kind: {row: folder / f"{kind}.nc"} for kind in found}, infinite={scale: folder / "infinite.nc"}
        ),
        targets=np.stack([kernel_probes(draw, settings.training.checkpoints.probed_parts, 4).y for draw in draws]),
        labels=None,
        zero_train_mse=[[np.mean(draw.y_pool[:n] ** 2) for draw in draws] for n in settings.grid.n_train],
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )


LAZY = {"width": 1024, "network": {"output_scale": 100.0}}
WORLDS = {
    "a linear model": (experiment(depth=0, width=1), {Regime.INFINITE_NTK}, FirstBreak.NOTHING),
    "wide and lazy": (experiment(**LAZY), {Regime.INFINITE_NTK}, FirstBreak.NOTHING),
    "narrow and lazy": (experiment(width=16, network=LAZY["network"]), {Regime.OWN_NTK}, FirstBreak.KERNEL_RANDOM),
    "a fraction of the budget": (experiment(**LAZY, max_epochs=10), {Regime.FINITE_TIME}, FirstBreak.NOT_TRAINED),
    "parity from a small last layer": (
        experiment(
            dataset=PARITY, n_train=300, width=64, init_scale=1.0, network={"last_layer_scale": 0.03}, max_epochs=1500
        ),
        {Regime.FEATURES_BETTER},
        FirstBreak.KERNEL_MOVES,
    ),
    "deep, narrow and chaotic": (
        experiment(depth=8, width=12, init_scale=5.0, network={"activation": "tanh"}),
        {regime for regime in Regime if not regime.holds},
        None,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_networks_of_a_known_regime_are_judged_so(tmp_path, name):
    settings, right, link = WORLDS[name]
    found = regimes(cube_of(settings, tmp_path), settings, THRESHOLDS).squeeze()
    said = Regime(int(found["regime"]))
    numbers = {str(key): round(float(value), 3) for key, value in found.data_vars.items()}
    assert said in right, f"{said.words}: {numbers}"
    assert link is None or FirstBreak(int(found["breaks_first"])) is link, numbers
