"""Errors by folds of the test samples: every test MSE of a cube has them, and they add up to it."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dictionary_checks import departures

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import AROUND, ExperimentSettings
from ntk_atlas.cubes import (
    CUBE,
    FUNCTIONS,
    PAIRS,
    ExperimentFiles,
    assemble_cube,
    assemble_functions,
    pair_name,
    predictor_values,
)
from ntk_atlas.datasets import kernel_probes, make_draw, read_dataset, shared_samples
from ntk_atlas.folds import N_FOLDS, fold_means, fold_sizes, sample_folds
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.linearize_networks import linearize_row, linearized_row
from ntk_atlas.jobs.parts import join_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.regress_empirical import RowStores, empirical_predictions, regress_row
from ntk_atlas.jobs.regress_infinite import regress_infinite
from ntk_atlas.jobs.regress_rivals import regress_rivals
from ntk_atlas.jobs.train_networks import network_row, train_row

N_TEST = 70
PREDICTORS = (
    "ntk_init", "ntk_final", "ntk_epoch_2", "ntk_epochs", "ntk_pretrained_8", "infinite_ntk", "nngp", "linearized",
    "laplace", "rbf",
)  # fmt: skip


def experiment(keep_predictions: bool = True) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits", "task": "binary", "n_validation": 12, "n_test": N_TEST},
            "grid": {
                "depth": [1], "width": [6], "init_scale": [2.0], "n_train": [8, 16], "draws": 2, "seeds": 2,
            },
            "training": {
                "max_epochs": 3, "learning_rate": {"relative": 0.5}, "dtype": "float64", "target_mse": 1e-8,
                "checkpoints": {"epochs": [1, 2, 3], "n_probe": 4, "weights": "scheduled"},
            },
            "regression": {"predictors": PREDICTORS, "predictor_center": "both", "keep_predictions": keep_predictions},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[xr.Dataset, xr.Dataset]:
    """The cube and the functions, by every stage that the workflow has."""
    return assembled(experiment(), tmp_path_factory.mktemp("folds"))


def assembled(settings: ExperimentSettings, folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    dataset, (row,) = read_dataset(settings.dataset), rows(settings.grid)
    stores, store = RowStores.of_row(folder, row.name), UnitStore(folder / "linearized")
    spec, linear, kernels = (
        job_slice("train_networks", settings, row.name),
        job_slice("linearize_networks", settings, row.name),
        job_slice("regress_empirical", settings, row.name),
    )
    trained = train_row(spec, dataset, "data", stores.networks, "source")
    linearized = linearize_row(linear, dataset, stores.networks, store, "source", trained)
    regressed = regress_row(kernels, dataset, "data", stores, "source", trained)
    found = {
        "networks": network_row(spec, stores.networks, trained),
        "linearized": linearized_row(linear, store, linearized),
        "empirical": empirical_predictions(kernels, stores, regressed),
    }
    files = {kind: {row: folder / f"{kind}.nc"} for kind in found}
    for kind, arrays in found.items():
        write_labelled(join_row(spec, {2.0: arrays}), files[kind][row])
    infinite = job_slice("regress_infinite", settings, "2.0")
    write_labelled(regress_infinite(infinite, dataset), folder / "infinite.nc")
    rivals = job_slice("regress_rivals", settings, "+".join(("laplace", "rbf")))
    write_labelled(regress_rivals(rivals, dataset), folder / "laplace+rbf.nc")
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    files = ExperimentFiles(**files, infinite={2.0: folder / "infinite.nc"}, rivals=(folder / "laplace+rbf.nc",))
    cube = assemble_cube(
        settings,
        files,
        targets=np.stack([kernel_probes(draw, settings.training.checkpoints.probed_parts, 4).y for draw in draws]),
        labels=None,
        zero_train_mse=[[np.mean(draw.y_pool[:n] ** 2) for draw in draws] for n in settings.grid.n_train],
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )
    return cube, assemble_functions(settings, files, draws=draws, provenance={})


def test_means_of_folds_weighted_give_the_mean():
    values, folds = np.random.default_rng(0).standard_normal((3, N_TEST)), sample_folds(200, 1)[:N_TEST]
    means, sizes = fold_means(values, folds), fold_sizes(folds)
    np.testing.assert_allclose(means[:, 5], values[:, folds == 5].mean(-1))
    np.testing.assert_allclose(np.nansum(means * sizes, -1) / N_TEST, values.mean(-1))


def test_folds_without_samples_are_missing():
    means = fold_means(np.array([1.0, 3.0, 5.0]), np.array([7, 2, 7]))
    assert (means[7], means[2]) == (3.0, 3.0)
    assert np.isnan(np.delete(means, [2, 7])).all()
    assert np.isnan(fold_means(np.empty((2, 0)), np.empty(0, dtype=int))).all()


def test_a_sample_is_in_the_same_fold_in_every_draw():
    settings = experiment().dataset
    dataset = read_dataset(settings)
    folds = np.full(dataset.n_samples, -1)
    for number in range(12):
        draw = make_draw(dataset, settings, number)
        known = folds[draw.indices.test]
        assert ((known < 0) | (known == draw.test_folds)).all()
        folds[draw.indices.test] = draw.test_folds
    sizes = fold_sizes(sample_folds(dataset.n_samples, settings.seed))
    assert sizes.max() - sizes.min() <= 1
    assert (folds[:64] != np.arange(64) % N_FOLDS).any(), "folds do not go by the order of the samples"


def test_every_test_error_of_a_cube_is_the_weighted_mean_of_its_folds(made):
    cube, _ = made
    names = [str(n) for n in cube.data_vars if str(n).startswith("test_mse_") and "folds" not in str(n)]
    around = [name + AROUND for name in PREDICTORS if name.startswith("ntk_")]
    assert set(names) == {f"test_mse_{name}" for name in ("network", *PREDICTORS, *around)}, "all are in this cube"
    weights = cube["test_fold_size"] / N_TEST
    assert (cube["test_fold_size"].sum("test_fold") == N_TEST).all()
    assert float(cube["shared_test"]) == pytest.approx(N_TEST / 1797)
    np.testing.assert_allclose(cube["shared_train"], np.array([8, 16]) / 1797)
    for name in names:
        predictor = name.removeprefix("test_mse_")
        folds = cube[f"test_mse_folds_{predictor}"]
        assert folds.dims == (*cube[name].dims, "test_fold")
        assert folds.notnull().any()
        assert (folds.notnull() <= (weights > 0)).all(), "folds without test samples are missing"
        mean = (folds.fillna(0.0) * weights).sum("test_fold").where(folds.notnull().any("test_fold"))
        np.testing.assert_allclose(mean, cube[name], rtol=1e-6, err_msg=predictor)
        assert folds.attrs["units"] == "target²"
    tuned = predictor_values(cube, "ntk_init", "test_mse_folds", ridge="tuned")
    xr.testing.assert_equal(tuned, cube["test_mse_folds_ntk_init"].sel(ridge="tuned"))


def test_a_fold_is_the_error_over_its_samples(made):
    cube, functions = made
    settings = experiment().dataset
    of_draw = make_draw(read_dataset(settings), settings, 1).test_folds
    fold = int(np.bincount(of_draw).argmax())
    for name in ("network", "linearized", "ntk_final", "infinite_ntk", "laplace"):
        squares = (functions[f"test_predictions_{name}"].astype(float) - functions["y_test"]) ** 2
        part = squares.sel(draw=1).isel(test_sample=np.flatnonzero(of_draw == fold)).mean(["test_sample", "output"])
        found = cube[f"test_mse_folds_{name}"].sel(test_fold=fold, draw=1)
        np.testing.assert_allclose(found, part.transpose(*found.dims), rtol=1e-4, err_msg=name)


def test_cube_and_functions_are_as_the_dictionary_says(made):
    cube, functions = made
    assert departures(cube, CUBE) == []
    assert departures(functions, FUNCTIONS) == []


def test_distances_of_functions_have_folds_too(made):
    _, functions = made
    weights = functions["test_fold_size"] / N_TEST
    for pair in PAIRS:
        folds = functions[f"square_distance_folds_{pair_name(*pair)}"]
        distance = functions[f"distance_{pair_name(*pair)}"]
        assert folds.dims == (*distance.dims, "test_fold")
        assert folds.sizes["test_fold"] == N_FOLDS
        np.testing.assert_allclose(
            np.sqrt((folds.fillna(0.0) * weights).sum("test_fold")).transpose(*distance.dims), distance, rtol=1e-10
        )


def test_distances_of_networks_from_theory_are_of_the_kept_predictions(made):
    """The initial output is left in: the own kernel predicts around it, the limit has what f₀ leaves taken off."""
    cube, functions = made

    def outputs(name: str) -> xr.DataArray:
        found = functions[f"test_predictions_{name}"].astype(float)
        return found.sel(ridge="zero") if "ridge" in found.dims else found

    f, own, zero = outputs("network"), outputs("ntk_init" + AROUND), outputs("ntk_init")
    apart = {
        "linearized": (f - outputs("linearized"), outputs("linearized")),
        "own_ntk": (f - own, own),
        "infinite_ntk": (f - (own - zero) - outputs("infinite_ntk"), outputs("infinite_ntk")),
    }
    weights = cube["test_fold_size"] / N_TEST
    for name, (difference, g) in apart.items():
        errors = ((g - functions["y_test"]) ** 2).mean(["test_sample", "output"])
        squares = (difference**2).mean(["test_sample", "output"])
        found, folds = cube[f"distance_{name}"], cube[f"square_distance_folds_{name}"]
        np.testing.assert_allclose(found, np.sqrt(squares / errors).transpose(*found.dims), rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(
            (folds.fillna(0.0) * weights).sum("test_fold"), squares.transpose(*found.dims), rtol=1e-9, err_msg=name
        )
        ratio = cube[f"error_ratio_{name}"]
        np.testing.assert_allclose(ratio, (cube["test_mse_network"] / errors).transpose(*ratio.dims), rtol=1e-5)


def test_without_kept_predictions_the_distances_are_the_same(made, tmp_path):
    cube, _ = made
    lean = assembled(experiment(keep_predictions=False), tmp_path)[0]
    for name in ("linearized", "own_ntk", "infinite_ntk"):
        for variable in (f"distance_{name}", f"square_distance_folds_{name}", f"error_ratio_{name}"):
            xr.testing.assert_identical(lean[variable].drop_attrs(), cube[variable].drop_attrs())
