"""A data set is one file: the page's own, beside a config and in the package; its keys are checked and documented."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from recipes import recipe, run_study, write_recipe

from ntk_atlas.datasets import DataError, read_dataset
from ntk_atlas.jobs import job_slice
from ntk_atlas.study import ConfigError, load_study

DATASET = {"source": "my_data.py:spirals", "n_samples": 120, "n_validation": 20, "n_test": 40}
EXPERIMENT = {
    "dataset": DATASET,
    "grid": {"depth": (1,), "width": (8,), "init_scale": (2.0,), "n_train": (8, 30), "draws": 1, "seeds": 2},
    "training": {"max_epochs": 20, "checkpoints": {"epochs": (0, 20), "n_probe": 4}},
    "regression": {"predictors": ()},
    "show": (),
}


def experiment(**dataset):
    return load_study({"experiments": {"mine": EXPERIMENT | {"dataset": DATASET | dataset}}}).active()["mine"]


@pytest.mark.slow
def test_a_study_of_a_data_set_in_a_file(tmp_path):
    write_recipe("my_data.py", tmp_path)
    run_study(tmp_path, json.loads(json.dumps({"experiments": {"mine": EXPERIMENT}})), "results/mine/cube.nc")
    with xr.open_dataset(tmp_path / "results" / "mine" / "cube.nc") as cube:
        assert "my_data.py:spirals" in cube.attrs["config"]
        assert np.isfinite(cube["test_error_network"]).all()


def test_it_is_read_and_checked_as_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_recipe("my_data.py", tmp_path)
    settings = experiment(turns=2.0)
    data = read_dataset(settings.dataset)
    assert (data.x.shape, data.y.shape, data.class_names) == ((120, 2), (120, 1), (0, 1))
    digest = job_slice("prepare_dataset", settings).found["files"]
    for keys, words in (
        ({"turn": 2.0}, "dataset.turn: unknown key; did you mean `turns`?"),
        ({"turns": "two"}, "dataset.turns: input should be a valid number (it is 'two')"),
        (
            {"n_samples": 60},
            "two spirals (dataset.source: my_data.py:spirals) has 60 samples, too few for 20 validation",
        ),
        ({"source": "my_data.py:spiral"}, "data set 'my_data.py:spiral': my_data.py has no function 'spiral'"),
        (
            {"source": "my_data.py:Spirals"},
            "data set 'my_data.py:Spirals' is ABCMeta: name an instance of DatasetSource",
        ),
    ):
        with pytest.raises(ConfigError) as raised:
            experiment(**keys)
        assert words in str(raised.value)
    file.write_text(file.read_text().replace("0.5 * classes", "0.25 * classes"))
    assert job_slice("prepare_dataset", settings).found["files"] != digest
    file.write_text(recipe("my_data.py").replace("np.cos(angle), ", "np.cos(angle), angle, "))
    with pytest.raises(DataError, match=r"inputs of shape \(120, 3\) .* where size says \(120, 2\)"):
        read_dataset(settings.dataset)
    file.write_text(recipe("my_data.py").replace("    def size", "    def sizes"))
    with pytest.raises(ConfigError, match=r"cannot be imported: TypeError: .* abstract method '?size"):
        experiment()


def test_in_the_package_it_is_known_to_config_messages_and_documents(tmp_path):
    """One new file in the folder of sources: nothing else names it."""
    text = recipe("my_data.py").replace(
        "    n_samples:", '    source: Literal["spirals"] = "spirals"\n    n_samples:', 1
    )
    (tmp_path / "spirals.py").write_text(f"from typing import Literal\n{text}")
    code = f"""
import ntk_atlas.datasets.sources
ntk_atlas.datasets.sources.__path__.append({str(tmp_path)!r})
from ntk_atlas.datasets import read_dataset
from ntk_atlas.study.load import load_study
from ntk_atlas.study.problems import ConfigError
from ntk_atlas.study.documents import json_schema, keys_markdown
experiment = {EXPERIMENT!r} | {{"dataset": {DATASET!r} | {{"source": "spirals"}}}}
settings = load_study({{"experiments": {{"mine": experiment}}}}).active()["mine"].dataset
assert read_dataset(settings).x.shape == (120, 2) and settings.turns == 1.5
assert "`source: spirals`" in keys_markdown()
assert "| `turns` | number > 0 | `1.5` | Turns of each spiral. |" in keys_markdown()
assert '"SpiralsSettings"' in json_schema()
try:
    load_study({{"experiments": {{"mine": experiment | {{"dataset": {{"source": "spiral"}}}}}}}})
except ConfigError as error:
    assert "spirals, teacher: did you mean `spirals`?" in str(error), error
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
