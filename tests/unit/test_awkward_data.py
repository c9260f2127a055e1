"""Data that regression cannot swallow as they are: recorded, never a crash, never a number that looks sound."""

from collections.abc import Sequence

import numpy as np
import pytest

from ntk_atlas.arrays import LabelledArrays, Status
from ntk_atlas.config import ExperimentSettings, predictors_of
from ntk_atlas.cubes import KERNEL_VARIANTS
from ntk_atlas.datasets import DataError, Dataset, read_dataset
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.compare_variants import compare_variants
from ntk_atlas.jobs.regress_infinite import regress_infinite
from ntk_atlas.jobs.regress_rivals import regress_rivals
from ntk_atlas.kernels import UserKernelError

RIVALS = ("laplace", "rbf", "polynomial", "linear")
INFINITE = ("infinite_ntk", "nngp", "ntk_without_bias", "last_layer_without_bias")
ZERO, TUNED = 0, 1


def experiment(**dataset) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {
                "source": "teacher", "teacher": "smooth", "dimension": 1, "n_samples": 60, "n_validation": 10,
                "n_test": 20, **dataset,
            },
            "grid": {"depth": [1, 2], "width": [8], "init_scale": [2.0], "n_train": [6, 24], "draws": 2},
            "network": {"bias_variance": 0.1},
            "regression": {"predictors": [*INFINITE, *RIVALS], "ridge_grid": [1e-3, 1e-1], "keep_predictions": True},
            "kernel_variants": {"depth": [1], "width": [8, 32], "n_networks": 4, "n_samples": 8},
        }
    )  # fmt: skip


def by_kernel(found: LabelledArrays, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of each kernel by field, without the coordinates."""
    return {
        name: {key.removesuffix(f"_{name}"): found[key] for key in found.arrays if key.endswith(f"_{name}")}
        for name in names
    }


def solved(settings, dataset) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of every kernel; sizes, draws and ridges last."""
    rivals = regress_rivals(job_slice("regress_rivals", settings, "+".join(tuple(sorted(RIVALS)))), dataset)
    return by_kernel(regress_infinite(job_slice("regress_infinite", settings, "2.0"), dataset), INFINITE) | by_kernel(
        rivals, RIVALS
    )


def with_targets(dataset: Dataset, y: np.ndarray, x: np.ndarray | None = None) -> Dataset:
    return Dataset("awkward", dataset.x if x is None else x, y, None, None, dataset.target_encoding)


def test_one_feature_is_regressed_with_and_kernels_of_low_rank_say_so():
    settings = experiment()
    found = solved(settings, read_dataset(settings.dataset))
    for name, arrays in found.items():
        assert np.isfinite(arrays["test_mse"][..., TUNED]).all(), name
    # Without a bias a function of one feature is a multiple of it on either side of zero: rank two at most.
    for name in ("ntk_without_bias", "last_layer_without_bias", "linear"):
        assert (found[name]["solve_status"][..., ZERO] != Status.CONVERGED).all(), name
    for name in ("infinite_ntk", "laplace"):
        assert (found[name]["solve_status"] == Status.CONVERGED).all(), name
    spec = job_slice("compare_variants", settings)
    found = compare_variants(spec, read_dataset(settings.dataset))
    distance = found["variant_distance"]
    assert {name: array.dims for name, array in found.arrays.items()} == {
        name: KERNEL_VARIANTS.find(name)[0].dims for name in found.arrays
    }
    assert np.isfinite(distance).all() and distance[..., 1, :].mean() < distance[..., 0, :].mean()


def test_rows_that_contradict_each_other_are_recorded_where_there_is_no_ridge():
    settings = experiment(dimension=3)
    dataset = read_dataset(settings.dataset)
    x, y = np.repeat(dataset.x[::2], 2, axis=0), dataset.y.copy()  # each row twice, with two targets
    found = solved(settings, with_targets(dataset, y, x))
    for name, arrays in found.items():
        status = arrays["solve_status"][..., ZERO]
        largest = np.take(status, -1, axis=-2)  # 24 of 30 pool samples: some row is there twice
        assert (largest != Status.CONVERGED).all(), name
        if name in ("infinite_ntk", "nngp", "laplace"):
            assert (arrays["solve_status"][..., TUNED] == Status.CONVERGED).all(), name
        assert np.isfinite(arrays["test_mse"][..., TUNED]).all(), name


def test_targets_that_are_all_zero_are_fitted_exactly_and_none_is_called_best():
    settings = experiment(dimension=3)
    dataset = read_dataset(settings.dataset)
    for name, arrays in solved(settings, with_targets(dataset, np.zeros_like(dataset.y))).items():
        assert (arrays["test_mse"] == 0.0).all(), name


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_constant_targets_of_a_file_are_refused(tmp_path, constant):
    file = tmp_path / "constant.npz"
    np.savez(file, X=np.arange(60.0)[:, None], y=np.full(60, constant))
    settings = ExperimentSettings.model_validate(
        {
            "dataset": {"source": "file", "path": str(file), "task": "regression", "n_validation": 10, "n_test": 20},
            "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [6]},
        }
    )
    with pytest.raises(DataError, match=rf"constant.npz.*output 0 is constant \({constant:g}"):
        read_dataset(settings.dataset)


def rivals_of(predictors: list[str], x: np.ndarray) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    settings = experiment()
    regression = settings.regression.model_copy(update={"predictors": tuple(predictors)})
    settings = settings.model_copy(update={"regression": regression})
    names = predictors_of("rival", predictors)
    spec = job_slice("regress_rivals", settings, "+".join(names))
    y = np.random.default_rng(1).normal(size=(len(x), 1))
    return by_kernel(
        regress_rivals(spec, with_targets(read_dataset(settings.dataset), y, x)), predictors_of("rival", predictors)
    ), x


def test_sparse_features_of_which_most_pairs_are_equal_have_a_unit_of_length():
    x = (np.random.default_rng(0).random((60, 4)) < 0.05).astype(float)
    found, _ = rivals_of(list(RIVALS), x)
    for name, arrays in found.items():
        assert np.isfinite(arrays["test_mse"][..., TUNED]).all(), name
        assert np.isfinite(arrays["length_scale"][..., TUNED]).all(), name


def test_features_that_are_constant_end_no_job(caplog):
    found, _ = rivals_of(list(RIVALS), np.ones((60, 4)))
    for name, arrays in found.items():
        assert (arrays["solve_status"] == Status.SINGULAR).all(), name
        assert np.isnan(arrays["test_mse"]).all(), name
        assert np.isnan(arrays["test_predictions"]).all(), name
    assert "laplace has no values here: x_train, of shape (24, 4), has median distance 0: all samples are equal" in (
        caplog.text
    )


def test_a_kernel_of_the_users_is_regressed_with_like_the_others(tmp_path):
    file = tmp_path / "my_kernel.py"
    file.write_text("def k(x1, x2): return 1.0 + x1 @ x2.T\n")
    x = np.random.default_rng(0).normal(size=(60, 3))
    found, _ = rivals_of(["linear", f"{file}:k"], x)
    assert sorted(found) == ["linear", "user_my_kernel_k"]
    assert found["linear"].keys() == found["user_my_kernel_k"].keys()
    assert np.isfinite(found["user_my_kernel_k"]["test_mse"][..., TUNED]).all()
    settings = experiment()
    regression = settings.regression.model_copy(update={"predictors": (f"{file}:k",)})
    settings = settings.model_copy(update={"regression": regression})
    before = job_slice("regress_rivals", settings, "user_my_kernel_k").canonical_json()
    file.write_text("def k(x1, x2): return 2.0 + x1 @ x2.T\n")
    assert job_slice("regress_rivals", settings, "user_my_kernel_k").canonical_json() != before
    file.write_text("def k(x1, x2): return x1 @ x2.T + x1[:, :1]\n")
    with pytest.raises(UserKernelError, match=r"my_kernel.py:k' is not symmetric"):
        rivals_of([f"{file}:k"], x)


def test_an_activation_out_of_range_at_a_depth_is_a_status_of_that_depth(tmp_path, caplog):
    file = tmp_path / "my_phi.py"
    file.write_text("def phi(u): return u + u**3\n")
    settings = experiment()
    network = settings.network.model_copy(update={"activation": f"{file}:phi"})
    grid = settings.grid.model_copy(update={"depth": (1, 12)})
    regression = settings.regression.model_copy(update={"predictors": ("infinite_ntk",)})
    settings = settings.model_copy(update={"network": network, "grid": grid, "regression": regression})
    infinite = regress_infinite(job_slice("regress_infinite", settings, "2.0"), read_dataset(settings.dataset))
    found = by_kernel(infinite, ["infinite_ntk"])["infinite_ntk"]
    assert (found["solve_status"][0, ..., TUNED] == Status.CONVERGED).all()
    assert (found["solve_status"][1] == Status.SINGULAR).all()
    assert "no infinite kernels at depth 12: hidden layer" in caplog.text
