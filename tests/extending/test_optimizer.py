"""An optimizer is one file: the page's own trains networks, and what it cannot give is refused before any work."""

import json

import pytest
import xarray as xr
from recipes import run_study, write_recipe

from ntk_atlas.config import ExperimentSettings
from ntk_atlas.study.trial import trial

EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 8, "n_test": 16},
    "network": {"parameterization": "mup"},
    "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [8], "draws": 1, "seeds": 2},
    "training": {
        "optimizer": "my_optimizer.py:sign_descent",
        "learning_rate": {"absolute": 0.002},
        "max_epochs": 60,
        "checkpoints": {"epochs": [0, 60], "n_probe": 4},
    },
    "regression": {"predictors": []},
    "show": [],
}


@pytest.mark.slow
def test_an_optimizer_is_one_file(tmp_path):
    write_recipe("my_optimizer.py", tmp_path)
    run_study(tmp_path, {"experiments": {"mine": EXPERIMENT}}, "results/mine/cube.nc")
    with xr.open_dataset(tmp_path / "results" / "mine" / "cube.nc") as cube:
        assert (cube["final_train_mse"] < 0.5 * cube["train_mse"].isel(epoch=0)).all()


def problems(**changes):
    experiment = EXPERIMENT | {"training": EXPERIMENT["training"] | changes.pop("training", {})} | changes
    settings = ExperimentSettings.model_validate_json(json.dumps(experiment))
    return {finding.key: finding.text for finding in trial(settings) if finding.kind == "problem"}


def test_what_an_optimizer_cannot_give_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_recipe("my_optimizer.py", tmp_path)
    assert problems() == {}
    refused = problems(training={"learning_rate": {"relative": 0.5}}, regression={"predictors": ["linearized"]})
    assert "which my_optimizer.py:sign_descent does not have" in refused["training.learning_rate"]
    assert set(refused) == {"training.learning_rate"}  # `linearized` networks are trained by its steps
    page = file.read_text()
    for before, after, words in (
        ("weights.grad.sign()", "weights.grad / weights.grad.norm()", "mixes the networks of a stack"),
        ("def linearization", "def something_else", "linearization"),
    ):
        file.write_text(page.replace(before, after))
        assert words in problems()["training.optimizer"]
