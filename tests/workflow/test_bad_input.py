"""Wrong input ends in one clear message: of the config before any job, of the data before any training."""

import copy

import numpy as np
import pytest
from workflow_micro import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]  # they share a finished study


def with_file(project, arrays, **settings):
    np.savez(project.folder / "mine.npz", **arrays)
    config = copy.deepcopy(MICRO)
    del config["experiments"]["two"]
    dataset = {"source": "file", "path": "mine.npz", "n_validation": 10, "n_test": 10, **settings}
    config["experiments"]["one"]["dataset"] = dataset
    project.config = config


def data(n=80, classes=2):
    x = np.random.default_rng(0).normal(size=(n, 3))
    return {"X": x, "y": np.arange(n) % classes}


def test_all_config_problems_come_before_any_job(fresh):
    config = copy.deepcopy(MICRO)
    config["experiments"]["one"]["grid"]["depth"] = []
    config["experiments"]["one"]["training"]["max_epoch"] = 3
    config["experiments"]["two"]["training"]["max_epochs"] = "many"
    fresh.config = config
    text = fresh.snakemake("--cores", "1", check=False)
    assert "The config has 3 problems; nothing was run:" in text
    assert "config/config.yaml, line" in text
    assert "did you mean `max_epochs`?" in text
    assert "experiments.one.grid.depth: is empty" in text
    assert "Traceback" not in text
    assert not (fresh.folder / "results").exists()


def test_more_training_samples_than_there_are(fresh):
    with_file(fresh, data(40))
    text = fresh.snakemake("--cores", "1", check=False)
    assert "grid.n_train: 32 is larger than the training pool" in text
    assert not (fresh.folder / "results").exists()


def test_a_missing_file(fresh):
    with_file(fresh, data())
    (fresh.folder / "mine.npz").unlink()
    text = fresh.snakemake("--cores", "1", check=False)
    assert "mine.npz" in text
    assert "nothing was run" in text


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda arrays: arrays["X"].__setitem__((3, 1), np.nan), "NaN"),
        (lambda arrays: arrays["y"].fill(0), "one class"),
    ],
)
def test_bad_data_stop_before_any_training(fresh, spoil, expected):
    arrays = data()
    spoil(arrays)
    with_file(fresh, arrays)
    text = fresh.snakemake("--cores", "2", check=False)
    assert expected in text
    assert "mine.npz" in text
    assert not list(fresh.folder.glob("results/*/networks/*"))
    assert "Traceback" in (fresh.folder / "logs/one/prepare_dataset.log").read_text()
