"""The samples whose kernel is recorded along training: of the training set by default, of the test set, or of both."""

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import CheckpointSettings, ExperimentSettings, section_of
from ntk_atlas.cubes import ExperimentFiles, assemble_cube, initial_fluctuation
from ntk_atlas.datasets import DataError, kernel_probes, make_draw, probe_indices, read_dataset, shared_samples
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import join_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.kernels import relative_drift
from ntk_atlas.optimizers import optimizer

DiabetesSettings = section_of("diabetes")
DigitsSettings = section_of("digits")

MEASURES = (
    "kernel_drift",
    "kernel_alignment",
    "kernel_spectrum",
    "kernel_velocity",
    "within_class_ratio",
    "probe_kernel",
)


@pytest.fixture(scope="module")
def digits():
    return read_dataset(DigitsSettings())


@pytest.mark.parametrize("part", ["train", "test"])
def test_probe_samples_are_the_first_of_a_part_sorted_by_class(digits, part):
    draw = make_draw(digits, DigitsSettings(), 0)
    probe = probe_indices(draw, 40, part)
    np.testing.assert_array_equal(np.sort(probe), np.arange(40))
    labels = (draw.labels_pool if part == "train" else draw.labels_test)[probe]
    assert np.all(np.diff(labels) >= 0)
    for label in np.unique(labels):
        assert np.all(np.diff(probe[labels == label]) > 0)  # stable


def test_probe_samples_of_a_regression_are_sorted_by_target():
    draw = make_draw(read_dataset(DiabetesSettings()), DiabetesSettings(), 0)
    probe = probe_indices(draw, 30)
    np.testing.assert_array_equal(np.sort(probe), np.arange(30))
    assert np.all(np.diff(draw.y_pool[probe, 0]) >= 0)


@pytest.mark.parametrize(
    ("part", "n_probe", "message"),
    [
        ("test", 0, "n_probe: 0 probe samples asked of a test set of 512: choose 1 to 512"),
        ("test", 513, "n_probe: 513 probe samples asked of a test set of 512: choose 1 to 512"),
        ("train", 1200, "n_probe: 1200 probe samples asked of a training pool of"),
    ],
)
def test_more_probe_samples_than_a_part_has_are_refused(digits, part, n_probe, message):
    with pytest.raises(DataError, match=message):
        probe_indices(make_draw(digits, DigitsSettings(), 0), n_probe, part)


def test_by_default_every_training_set_has_the_probe_samples():
    assert CheckpointSettings().probe_count([24, 200]) == 24
    assert CheckpointSettings().probe_count([64, 200]) == 40
    assert CheckpointSettings(probe="both").probe_count([24]) == 24
    assert CheckpointSettings(probe="test").probe_count([24]) == 40
    assert CheckpointSettings(n_probe=60).probe_count([24]) == 60  # which the config is refused for


@pytest.fixture(scope="module")
def cubes(tmp_path_factory) -> dict[str, xr.Dataset]:
    """The same networks with each kind of probe samples."""
    return {probe: cube(probe, tmp_path_factory.mktemp(probe)) for probe in ("train", "test", "both")}


def experiment(probe: str) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits", "n_validation": 8, "n_test": 12, "task": "binary"},
            "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [10, 16], "draws": 2, "seeds": 2},
            "training": {
                "max_epochs": 5, "seed": 5, "dtype": "float64", "learning_rate": {"relative": 0.5},
                "checkpoints": {"epochs": [0, 5], "n_probe": 6, "probe": probe},
            },
            "regression": {"predictors": []},
        }
    )  # fmt: skip


def cube(probe: str, folder) -> xr.Dataset:
    settings = experiment(probe)
    dataset, (row,) = read_dataset(settings.dataset), rows(settings.grid)
    spec = job_slice("train_networks", settings, row.name)
    store, parts = UnitStore(folder / "units"), {}
    for scale, part in spec.per_init_scale().items():
        parts[scale] = network_row(part, store, train_row(part, dataset, "data", store, "source"))
    write_labelled(join_row(spec, parts), folder / "row.nc")
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    probes = [kernel_probes(draw, settings.training.checkpoints.probed_parts, 6) for draw in draws]
    return assemble_cube(
        settings,
        ExperimentFiles({row: folder / "row.nc"}),
        targets=np.stack([probe.y for probe in probes]),
        labels=np.stack([probe.labels for probe in probes]),
        zero_train_mse=np.ones((2, 2)),
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )


def test_both_kinds_of_probe_samples_give_the_measures_of_each(cubes):
    for name in MEASURES:
        np.testing.assert_allclose(cubes["both"][name], cubes["train"][name], rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(
            cubes["both"][f"{name}_test_probe"], cubes["test"][name], rtol=1e-6, atol=1e-6, err_msg=name
        )
    np.testing.assert_array_equal(cubes["both"]["probe_class_test_probe"], cubes["test"]["probe_class"])
    assert not np.allclose(cubes["train"]["kernel_drift"], cubes["test"]["kernel_drift"])
    assert not any(str(name).endswith("_test_probe") for name in [*cubes["train"].variables, *cubes["test"].variables])


def test_the_kernel_at_the_start_does_not_depend_on_the_training_set(cubes):
    """All n_train share the probe samples, and networks of one seed start equal at every n_train."""
    start = cubes["train"]["kernel_spectrum"].sel(epoch=0)
    np.testing.assert_array_equal(start.isel(n_train=0), start.isel(n_train=1))


def test_drift_is_that_of_the_kernel_of_the_training_samples(cubes):
    import torch

    kernel = torch.as_tensor(cubes["train"]["probe_kernel"].values[0, 0, 0], dtype=torch.float64)
    expected = relative_drift(kernel[-1], kernel[0]).item()
    measured = cubes["train"]["kernel_drift"].sel(draw=0, seed=0, n_train=16, epoch=5).item()
    assert measured == pytest.approx(expected, rel=1e-4)
    labels = make_draw(read_dataset(experiment("train").dataset), experiment("train").dataset, 0).labels_pool[:6]
    np.testing.assert_array_equal(cubes["train"]["probe_class"].sel(draw=0), np.sort(labels))


def test_a_cube_names_its_probe_samples(cubes):
    assert cubes["train"].attrs["kernel_probe"] == "first 6 training samples"
    assert cubes["both"].attrs["kernel_probe"] == "first 6 training samples and first 6 test samples"
    assert cubes["both"]["kernel_drift"].attrs["probe"] == "first 6 training samples"
    assert cubes["both"]["kernel_drift_test_probe"].attrs["probe"] == "first 6 test samples"


def test_outputs_are_recorded_on_test_samples_whatever_the_kernel_is_recorded_on(tmp_path):
    found = {}
    for probe in ("train", "test"):
        settings = experiment(probe)
        (row,) = rows(settings.grid)
        spec = job_slice("train_networks", settings, row.name).per_init_scale()[2.0]
        store = UnitStore(tmp_path / probe)
        joined = network_row(spec, store, train_row(spec, read_dataset(settings.dataset), "data", store, "source"))
        found[probe] = joined["probe_predictions"]
    np.testing.assert_array_equal(found["train"], found["test"])


def test_the_fluctuation_of_initial_kernels_does_not_depend_on_how_many_show_it():
    """Kernels of mean 1 whose entries scatter by .3: three networks and thirty say so alike, on average."""
    generator, found = np.random.default_rng(0), {}
    for n_seeds in (3, 30):
        kernels = 1.0 + 0.3 * generator.standard_normal((400, 1, n_seeds, 2, 5, 5))
        dims = ("n_train", "draw", "seed", "epoch", "probe", "probe_2")
        row = xr.Dataset({"probe_kernels": (dims, kernels)})
        row["probe_kernels"][:, :, -1, 0] = np.nan if n_seeds > 3 else row["probe_kernels"][:, :, -1, 0]
        measured = initial_fluctuation(row)["kernel_fluctuation"]
        assert measured.dims == ("n_train", "draw")
        found[n_seeds] = float((measured**2).mean())
        centred = kernels[0, 0, : n_seeds - (n_seeds > 3), 0] - kernels[0, 0, : n_seeds - (n_seeds > 3), 0].mean(0)
        mean = kernels[0, 0, : n_seeds - (n_seeds > 3), 0].mean(0)
        by_hand = np.sqrt((centred**2).sum() / (len(centred) - 1) / (mean**2).sum())
        assert float(measured[0, 0]) == pytest.approx(by_hand)
    assert found[3] == pytest.approx(0.09 / 1.03, rel=0.03) and found[30] == pytest.approx(0.09 / 1.003, rel=0.03)
    assert bool(initial_fluctuation(row.isel(seed=[0]))["kernel_fluctuation"].isnull().all())


def test_the_leading_eigenvalue_stands_beside_the_limit_of_the_optimizer(cubes):
    cube = cubes["both"]
    for suffix in ("", "_test_probe"):
        found = cube[f"rate_lambda_max{suffix}"]
        expected = cube["learning_rate"] * cube[f"kernel_spectrum{suffix}"].isel(mode=0)
        np.testing.assert_allclose(found, expected.transpose(*found.dims))
        training = experiment("both").training
        assert found.attrs["limit"] == optimizer(training.optimizer).stability_limit(training.momentum)
