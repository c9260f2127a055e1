"""Files between jobs say what they were made with, and who joins them holds that against the experiment."""

import json
import re
import shutil
from dataclasses import replace
from functools import partial

import pytest
from test_init_scales import cube, experiment, run

from ntk_atlas.arrays import LabelledArrays, read_labelled, write_labelled
from ntk_atlas.config import ExperimentSettings, section_of
from ntk_atlas.cubes import ExperimentFiles, experiment_settings
from ntk_atlas.datasets import dataset_digest, read_dataset, save_dataset
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import OtherSettingsError, check_row, load_prepared
from ntk_atlas.jobs.parts.slice import rows

DigitsSettings = section_of("digits")


def changed(**sections) -> ExperimentSettings:
    settings = experiment((2.0,))
    parts = {name: getattr(settings, name).model_copy(update=update) for name, update in sections.items()}
    return settings.model_copy(update=parts)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {name: run(settings, folder / name, 1) for name, settings in OTHERS.items()}


OTHERS = {
    "here": changed(),
    "longer": changed(training={"max_epochs": 5}),
    "seeds": changed(training={"seed": 3}),
}


def test_a_row_of_another_experiment_does_not_become_part_of_a_cube(files, tmp_path):
    networks, kernels = files["here"]
    cube(OTHERS["here"], networks, kernels)
    (row,) = rows(OTHERS["here"].grid)
    for other, said in (("longer", "training.max_epochs: 5 → 4"), ("seeds", "training.seed: 3 → 0")):
        path = tmp_path / f"{other}.nc"
        shutil.copy2(files[other][0][row], path)
        with pytest.raises(OtherSettingsError, match=re.escape(said)) as caught:
            cube(OTHERS["here"], {row: path}, kernels)
        assert str(path) in str(caught.value) and "delete it and run again" in str(caught.value)
    with pytest.raises(OtherSettingsError, match=r"training\.seed: 3 → 0"):
        cube(OTHERS["here"], networks, files["seeds"][1])
    with pytest.raises(OtherSettingsError, match=r"training\.seed: 0 → 3"):
        attributes = read_labelled(networks[row], ()).attributes
        check_row(networks[row], attributes, job_slice("regress_empirical", OTHERS["seeds"], row.name))


def test_a_row_of_other_data_or_of_an_older_version_is_named(files, tmp_path):
    (row,) = rows(OTHERS["here"].grid)
    contents, path = read_labelled(files["here"][0][row]), tmp_path / "row.nc"
    reading = partial(ExperimentFiles({row: path}).read, "networks", OTHERS["here"], "data of here")
    write_labelled(contents.with_attributes(data_digest="data of here"), path)
    assert [found["depth"].tolist() for found in reading()] == [[row.depth]]
    write_labelled(contents.with_attributes(data_digest="others"), path)
    with pytest.raises(OtherSettingsError, match=r"row\.nc was made with other data than dataset\.nc beside it"):
        list(reading())
    write_labelled(replace(contents, attributes={}), path)
    with pytest.raises(OtherSettingsError, match="an older version wrote it: delete it and run again"):
        list(reading())


def test_kernels_of_another_experiment_are_named(tmp_path):
    there = changed(regression={"predictors": ("laplace",)})
    of_there = LabelledArrays({}, {"spec": job_slice("regress_rivals", there, "laplace").canonical_json()})
    write_labelled(of_there, tmp_path / "laplace.nc")
    found = ExperimentFiles({}, rivals=[tmp_path / "laplace.nc"])
    assert len(list(found.read("rivals", there, None))) == 1
    here = changed(regression={"predictors": ("laplace",), "ridge_grid": (0.1,)})
    with pytest.raises(OtherSettingsError, match=r"laplace\.nc was made with other settings"):
        list(found.read("rivals", here, None))


def test_data_prepared_with_other_settings_are_named(tmp_path):
    here, path = OTHERS["here"], tmp_path / "dataset.nc"
    dataset = read_dataset(here.dataset)
    save_dataset(replace(dataset, attributes={"spec": job_slice("prepare_dataset", here).canonical_json()}), path)
    assert load_prepared(path, here.dataset)[1] == dataset_digest(dataset)
    with pytest.raises(OtherSettingsError, match=r"dataset\.source: teacher → digits"):
        load_prepared(path, DigitsSettings())
    save_dataset(dataset, path)
    with pytest.raises(OtherSettingsError, match="an older version wrote it"):
        load_prepared(path, here.dataset)


def test_a_cube_of_another_version_is_named(files):
    made = cube(OTHERS["here"], *files["here"])
    assert experiment_settings(made) == OTHERS["here"]
    settings = json.loads(made.attrs["config"]) | {"curvature": 3}
    made.attrs |= {"config": json.dumps(settings), "versions": "python 3.20, ntk-atlas 9.1, torch 3.0"}
    with pytest.raises(ValueError, match=r"\(curvature: .* not permitted\); it was written by ntk-atlas 9\.1: read"):
        experiment_settings(made)
