"""A parameterization is one file: the page's own trains networks, and its infinite kernel is that of wide ones."""

import json

import pytest
import torch
import xarray as xr
from recipes import run_study, write_recipe

from ntk_atlas.config import ExperimentSettings, NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk, infinite_kernels
from ntk_atlas.study.trial import trial

EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 8, "n_test": 16},
    "network": {"parameterization": "my_parameterization.py:halfway", "bias_variance": 0.1},
    "grid": {"depth": [1], "width": [8, 16], "init_scale": [2.0], "n_train": [8], "draws": 1, "seeds": 2},
    "training": {"max_epochs": 60, "checkpoints": {"epochs": [0, 60], "n_probe": 4}},
    "regression": {"predictors": ["ntk_init", "infinite_ntk", "nngp"]},
    "show": [],
}


@pytest.mark.slow
def test_a_parameterization_is_one_file(tmp_path):
    write_recipe("my_parameterization.py", tmp_path)
    run_study(tmp_path, {"experiments": {"mine": EXPERIMENT}}, "results/mine/cube.nc")
    with xr.open_dataset(tmp_path / "results" / "mine" / "cube.nc") as cube:
        assert cube.attrs["parameterization"] == EXPERIMENT["network"]["parameterization"]
        assert (cube["final_train_mse"] < 0.5 * cube["train_mse"].isel(epoch=0)).all()
        # The infinite NTK is that of each width, the NNGP has none.
        assert cube["test_mse_infinite_ntk"].notnull().all() and "width" in cube["test_mse_infinite_ntk"].dims


def test_its_infinite_kernel_is_that_of_wide_networks(tmp_path, monkeypatch):
    write_recipe("my_parameterization.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    settings, width = NetworkSettings(**EXPERIMENT["network"]), 1024
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    networks = build_networks(
        settings, depth=2, width=width, init_scale=2.0, input_shape=(7,), n_outputs=1, dtype=torch.float64,
        generators=[torch.Generator().manual_seed(seed) for seed in range(6)],
    )  # fmt: skip
    kernel = infinite_kernels(x, depths=[2], settings=settings, init_scale=2.0, width=width).ntk[0]
    assert (empirical_ntk(networks, x).mean(0) - kernel).norm() < 0.05 * kernel.norm()


def test_one_whose_layers_count_differently_has_no_infinite_kernel_and_a_forgotten_method_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = write_recipe("my_parameterization.py", tmp_path)
    page = file.read_text()
    file.write_text(page.replace("return math.sqrt(size), math.sqrt(size)", "return _split(parameter, size)") + _SLOW)
    assert "under my_parameterization.py:halfway layers count differently in the NTK" in _problem()
    file.write_text(page.replace("def ntk_grows_with_width", "def something_else"))
    assert "ntk_grows_with_width" in _problem()


_SLOW = """

def _split(parameter, size):
    return (2.0 * size, 0.5) if parameter.role == "input" else (size, 1.0)
"""


def _problem() -> str:
    experiment = ExperimentSettings.model_validate_json(json.dumps(EXPERIMENT))
    (problem,) = {finding.text for finding in trial(experiment) if finding.kind == "problem"}
    return problem
