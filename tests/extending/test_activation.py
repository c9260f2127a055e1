"""An activation is one file: the page's own trains, has a phase and an infinite kernel, that of wide networks."""

import json
import math
import sys

import pytest
import torch
import xarray as xr
from recipes import run_study, write_recipe

import ntk_atlas.activations
from ntk_atlas.activations import ACTIVATIONS, ActivationError, activation
from ntk_atlas.config import ExperimentSettings, NetworkSettings
from ntk_atlas.cubes import experiment_settings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import dual_of, empirical_ntk, infinite_kernels, probe_network
from ntk_atlas.phases import phase_of
from ntk_atlas.registry import value_files
from ntk_atlas.study.trial import trial

FILES = {"my_phi.py": "bent", "my_sine.py": "sine"}
EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 8, "n_test": 16},
    "network": {"parameterization": "ntk", "bias_variance": 0.1},
    "grid": {"depth": [1], "width": [8, 16], "init_scale": [2.0], "n_train": [8], "draws": 1, "seeds": 2},
    "training": {"max_epochs": 60, "checkpoints": {"epochs": [0, 60], "n_probe": 4}},
    "regression": {"predictors": ["ntk_init", "infinite_ntk"]},
    "show": [],
}


@pytest.fixture(params=FILES)
def name(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recipe(request.param, tmp_path)
    return f"{request.param}:{FILES[request.param]}"


def settings(name):
    return NetworkSettings(activation=name, parameterization="ntk", bias_variance=0.1)


def inputs(n=5):
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def networks(name, *, width, seeds):
    return build_networks(
        settings(name), depth=2, width=width, init_scale=1.7, input_shape=(7,), n_outputs=1, dtype=torch.float64,
        generators=[torch.Generator().manual_seed(seed) for seed in range(seeds)],
    )  # fmt: skip


def test_its_infinite_kernel_is_that_of_wide_networks(name):
    wide = networks(name, width=1024, seeds=6)
    kernel = infinite_kernels(inputs(), depths=[2], settings=settings(name), init_scale=1.7).ntk[0]
    assert (empirical_ntk(wide, inputs()).mean(0) - kernel).norm() < 0.05 * kernel.norm()
    assert phase_of(settings(name), 1.7).name in ("ordered", "chaotic")


def test_a_closed_form_is_used_and_is_what_quadrature_finds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recipe("my_sine.py", tmp_path)
    kinds = [
        infinite_kernels(inputs(), depths=[3], settings=settings("relu"), init_scale=1.7, activation=choice)
        for choice in (activation("my_sine.py:sine"), torch.sin)
    ]
    assert (dual_of("my_sine.py:sine").closed_form, dual_of(torch.sin).closed_form) == (True, False)
    assert (float(kinds[0].error_bound.max()), float(kinds[1].error_bound.max()) > 0.0) == (0.0, True)
    torch.testing.assert_close(kinds[0].ntk, kinds[1].ntk, rtol=1e-8, atol=1e-10)
    q = torch.tensor([1.3], dtype=torch.float64)
    assert float(dual_of("my_sine.py:sine").second_moment(q)) == pytest.approx(-math.expm1(-2.6) / 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torch.sinh(c), scale", "torch.cosh(c), scale", r"closed_form` is not that of φ: .* T is .* in closed form"),
        ("def phi", "def psi", r"activation Sine has no φ: define `def phi\(self, u\)`"),
        ("homogeneous = None", "homogeneous = (0.0, 1.0)", r"φ has not the slopes 0 and 1 of `homogeneous`"),
        ("return u.sin()", "return u.sin_()", "changes its input"),
    ],
)
def test_what_is_forgotten_or_wrong_is_named_before_any_work(tmp_path, monkeypatch, old, new, message):
    monkeypatch.chdir(tmp_path)
    file = write_recipe("my_sine.py", tmp_path)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ActivationError, match=message):
        activation("my_sine.py:sine")
    network = EXPERIMENT["network"] | {"activation": "my_sine.py:sine"}
    experiment = ExperimentSettings.model_validate_json(json.dumps(EXPERIMENT | {"network": network}))
    (problem,) = [finding for finding in trial(experiment) if finding.kind == "problem"]
    assert problem.key == "network.activation"


def test_in_its_room_it_is_built_in(tmp_path, monkeypatch):
    """A second folder of the room stands for the file that would be saved in it."""
    monkeypatch.chdir(tmp_path)
    page = write_recipe("my_sine.py", tmp_path).read_text()
    (tmp_path / "room").mkdir()
    file = tmp_path / "room" / "sine.py"
    # No single operation of torch, whose name would tell that it acts on each entry alone.
    file.write_text(page.replace("u.sin()", "2.0 * (0.5 * u).sin() * (0.5 * u).cos()"))
    monkeypatch.setattr(ntk_atlas.activations, "__path__", [*ntk_atlas.activations.__path__, str(file.parent)])
    try:
        assert "sine" in ACTIVATIONS.names()
        assert "sine" in NetworkSettings.model_json_schema()["properties"]["activation"]["anyOf"][0]["enum"]
        assert file in value_files(settings("sine"))
        assert value_files(settings("my_sine.py:sine")) == value_files(settings("relu"))[1:]
        built_in, own = (networks(choice, width=8, seeds=2) for choice in ("sine", "my_sine.py:sine"))
        # Where the file is a built-in's, signals pass its layers as they pass ReLU.
        assert [len(probe_network(stack, inputs()).chain) for stack in (built_in, own)] == [3, 3]
        torch.testing.assert_close(empirical_ntk(built_in, inputs()), empirical_ntk(own, inputs()))
    finally:
        sys.modules.pop("ntk_atlas.activations.sine", None)


@pytest.mark.slow
def test_a_study_of_it_trains(name, tmp_path):
    network = EXPERIMENT["network"] | {"activation": name}
    run_study(tmp_path, {"experiments": {"mine": EXPERIMENT | {"network": network}}}, "results/mine/cube.nc")
    with xr.open_dataset(tmp_path / "results" / "mine" / "cube.nc") as cube:
        assert experiment_settings(cube).network.activation == name
        assert (cube["final_train_mse"] < 0.5 * cube["train_mse"].isel(epoch=0)).all()
        assert cube["test_mse_infinite_ntk"].notnull().all()
