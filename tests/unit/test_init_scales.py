"""A job of several init scales: the units, files and numbers of a job for each."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from ntk_atlas.arrays import LabelledArray, LabelledArrays, read_labelled, write_labelled
from ntk_atlas.config import (
    CheckpointSettings,
    ExperimentSettings,
    GridSettings,
    JobSettings,
    LearningRateSettings,
    NetworkSettings,
    RegressionSettings,
    StudySettings,
    TrainingSettings,
    section_of,
)
from ntk_atlas.cubes import ExperimentFiles, assemble_cube
from ntk_atlas.datasets import kernel_probes, make_draw, read_dataset, shared_samples
from ntk_atlas.jobs import JOBS, job_slice
from ntk_atlas.jobs.parts import Row, join_row, recorded_digests
from ntk_atlas.jobs.parts.row_networks import row_networks
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.regress_empirical import RowStores, empirical_predictions, regress_row
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.study import consistency_problems

TeacherSettings = section_of("teacher")

SCALES = (1.0, 2.0, 3.0)


def experiment(init_scale=SCALES) -> ExperimentSettings:
    return ExperimentSettings(
        dataset=TeacherSettings(dimension=4, n_samples=60, n_validation=10, n_test=20),
        grid=GridSettings(depth=(1,), width=(8,), init_scale=init_scale, n_train=(6, 12), draws=2, seeds=2),
        network=NetworkSettings(),
        training=TrainingSettings(
            optimizer="sgd",
            batch_size=4,  # whose order is drawn from a stream named by the init scale
            learning_rate=LearningRateSettings(relative=0.5),
            max_epochs=4,
            min_steps=12,  # so that sizes differ in their last epoch
            checkpoints=CheckpointSettings(epochs=(0, 1, 4), n_probe=4),
        ),
        regression=RegressionSettings(predictors=("ntk_init", "ntk_final"), ridge_grid=(0.01, 1.0)),
    )


def run(settings: ExperimentSettings, folder, init_scales_per_job: int) -> tuple[dict, dict]:
    """What the jobs of networks and kernels do; their files by row."""
    dataset, networks, predictions = read_dataset(settings.dataset), {}, {}
    for row in rows(settings.grid, init_scales_per_job):
        spec, parts = job_slice("train_networks", settings, row.name), {}
        for scale, part in spec.per_init_scale().items():
            store = RowStores.of_row(folder / "units", part.row.name).networks
            parts[scale] = network_row(part, store, train_row(part, dataset, "data", store, "source"))
        networks[row] = folder / "networks" / f"{row.name}.nc"
        write_labelled(join_row(spec, parts), networks[row])
        trained, spec, parts = (
            recorded_digests(read_labelled(networks[row])),
            job_slice("regress_empirical", settings, row.name),
            {},
        )
        for scale, part in spec.per_init_scale().items():
            stores = RowStores.of_row(folder / "units", part.row.name)
            digests = regress_row(part, dataset, "data", stores, "source", trained[scale])
            parts[scale] = empirical_predictions(part, stores, digests)
        predictions[row] = folder / "predictions" / f"{row.name}.nc"
        write_labelled(join_row(spec, parts), predictions[row])
    return networks, predictions


def cube(settings: ExperimentSettings, networks: dict, predictions: dict) -> xr.Dataset:
    dataset = read_dataset(settings.dataset)
    draws = [make_draw(dataset, settings.dataset, number) for number in range(settings.grid.draws)]
    return assemble_cube(
        settings,
        ExperimentFiles(networks, empirical=predictions),
        targets=np.stack([kernel_probes(draw, settings.training.checkpoints.probed_parts, 4).y for draw in draws]),
        labels=np.tile([0, 0, 1, 1], (settings.grid.draws, 1)),
        zero_train_mse=np.array(
            [[np.mean(draw.training_set(n)[1] ** 2) for draw in draws] for n in settings.grid.n_train]
        ),
        shared=shared_samples(dataset, settings.dataset, draws=settings.grid.draws, n_train=settings.grid.n_train),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance={},
    )


def units(folder) -> dict:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in sorted(folder.rglob("seeds-*.npz"))}


@pytest.fixture(scope="module")
def one_each(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_each")
    return folder, *run(experiment(), folder, 1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    return folder, *run(experiment(), folder, 3)


def test_units_are_filed_by_one_init_scale_and_bitwise_the_same(one_each, together):
    alone, joined = one_each[0] / "units", together[0] / "units"
    assert set(units(joined)) == set(units(alone))
    folders = {name.split("/")[1] for name in units(joined)}
    assert folders == {f"depth-1_width-8_init_scale-{scale}" for scale in SCALES}
    for name in units(alone):
        first, second = np.load(alone / name), np.load(joined / name)
        assert set(first.files) == set(second.files)
        for array in first.files:
            np.testing.assert_array_equal(first[array], second[array], err_msg=f"{name} {array}")


def test_the_file_of_a_row_has_the_init_scales_first(together):
    (row,) = together[1]
    assert row == Row(1, 8, SCALES)
    for files in together[1:]:
        with netCDF4.Dataset(files[row]) as file:
            assert file["init_scale"][:].tolist() == list(SCALES)
            dims = {name: variable.dimensions for name, variable in file.variables.items()}
            assert JOBS.head("train_networks").parse(file.spec).row.init_scale == SCALES
        assert all(of[0] == "init_scale" for name, of in dims.items() if of != (name,))


def test_the_cube_is_bitwise_the_same_whatever_shares_a_job(one_each, together, tmp_path):
    expected = cube(experiment(), *one_each[1:])
    assert expected["test_mse_network"].notnull().all()
    assert expected["test_mse_network"].std("init_scale").min() > 0
    xr.testing.assert_identical(cube(experiment(), *together[1:]), expected)
    assert len(rows(experiment().grid, 2)) == 2
    xr.testing.assert_identical(cube(experiment(), *run(experiment(), tmp_path, 2)), expected)


def test_another_grouping_and_another_init_scale_compute_nothing_that_is_finished(one_each, tmp_path):
    run(experiment(), tmp_path, 1)
    before = units(tmp_path)
    run(experiment(), tmp_path, 3)
    run(experiment(), tmp_path, 2)
    assert units(tmp_path) == before
    run(experiment((1.0, 1.5, 2.0, 3.0)), tmp_path, 2)
    after = units(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[2] for name in set(after) - set(before)} == {"depth-1_width-8_init_scale-1.5"}


def test_a_stage_refuses_a_row_of_several_init_scales(tmp_path):
    settings = experiment()
    spec = job_slice("train_networks", settings, Row(1, 8, SCALES).name)
    with pytest.raises(ValueError, match="the slice has 3 init scales: take one of"):
        row_networks(spec, read_dataset(settings.dataset), 0, (0,))


def part(epochs, *, seed=(0, 1)) -> LabelledArrays:
    values = np.arange(2.0 * len(epochs)).reshape(2, -1)
    return LabelledArrays(
        {
            "seed": LabelledArray(("seed",), np.array(seed)),
            "epoch": LabelledArray(("epoch",), np.array(epochs)),
            "curve": LabelledArray(("seed", "epoch"), values),
            "count": LabelledArray(("seed", "epoch"), values.astype(int)),
        }
    )


def test_init_scales_with_other_checkpoints_are_joined_by_epoch():
    spec = job_slice("train_networks", experiment(), Row(1, 8, (1.0, 2.0)).name)
    joined = join_row(spec, {1.0: part([0, 1, 4]), 2.0: part([0, 2])})
    assert joined["epoch"].tolist() == [0, 1, 2, 4]
    np.testing.assert_array_equal(joined["curve"][0], [[0, 1, np.nan, 2], [3, 4, np.nan, 5]])
    np.testing.assert_array_equal(joined["curve"][1], [[0, np.nan, 1, np.nan], [2, np.nan, 3, np.nan]])
    assert joined["count"][1].tolist() == [[0, -1, 1, -1], [2, -1, 3, -1]]


def test_parts_that_do_not_belong_together_are_refused():
    spec = job_slice("train_networks", experiment(), Row(1, 8, (1.0, 2.0)).name)
    with pytest.raises(ValueError, match=r"joined of init scales \[2\.0, 1\.0\]: give its own, in order"):
        join_row(spec, {2.0: part([0]), 1.0: part([0])})
    with pytest.raises(ValueError, match=r"seed 2 is not on the grid: \[0, 1"):
        join_row(spec, {1.0: part([0]), 2.0: part([0], seed=(0, 2))})


def test_names_too_long_for_a_file_are_named_before_anything_runs():
    settings = experiment(tuple(1.0 + i / 100 for i in range(60)))
    for length, found in ((10, []), (60, ["init_scales_per_job"])):
        study = StudySettings(experiments={"a": settings}, jobs=JobSettings(init_scales_per_job=length))
        problems = [p for p in consistency_problems(study) if p.key[0] == "jobs"]
        assert [problem.key[1] for problem in problems] == found
    assert "lower it" in problems[0].message
