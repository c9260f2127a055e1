"""The tiny study from a fresh clone to its report, and a network of one's own through the whole workflow."""

import copy

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import REPOSITORY
from workflow_micro import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RESIDUAL_NETWORK = '''
import torch
from torch import nn


class Residual(nn.Module):
    """Two 3 × 3 convolutions with a skip connection on 8 × 8 digits."""

    def __init__(self, channels, n_outputs):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.branch = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Linear(channels, n_outputs)

    def forward(self, x):
        h = torch.relu(self.stem(x.reshape(-1, 1, 8, 8)))
        return self.head((h + torch.relu(self.branch(h))).mean(dim=(2, 3)))


def build(*, depth, width, init_scale, input_shape, n_outputs, generator):
    network = Residual(width, n_outputs)
    for layer in (network.stem, network.branch, network.head):
        fan_in = layer.weight[0].numel()
        with torch.no_grad():
            layer.weight.normal_(0.0, (init_scale / fan_in) ** 0.5, generator=generator)
            layer.bias.zero_()
    return network
'''


def test_the_tiny_study_ends_in_a_report(fresh):
    overlay = REPOSITORY / "config" / "test" / "tiny.yaml"
    (fresh.folder / "config" / "config.yaml").write_text((REPOSITORY / "config" / "config.yaml").read_text())
    configs = ("--configfile", "config/config.yaml", str(overlay))
    fresh.snakemake("--cores", "2", "--quiet", "all", *configs)
    text = fresh.snakemake("--report", "results/report.html", *configs)
    assert "System Message" not in text
    report = (fresh.folder / "results/report.html").read_text()
    assert "System Message" not in report
    for caption in ("The atlas: test error of every predictor", "What the study cost", "relative drift"):
        assert caption in report
    cube = xr.open_dataset(fresh.folder / "results/tiny/cube.nc").load()
    study = yaml.safe_load(overlay.read_text())["experiments"]["tiny"]
    assert cube.predictor.values.tolist() == ["network", *study["regression"]["predictors"]]
    for predictor in cube.predictor.values:
        assert bool(np.isfinite(cube[f"test_mse_{predictor}"]).all()), predictor
    assert cube.test_mse_infinite_ntk.dims == ("depth", "width", "init_scale", "n_train", "draw", "ridge")


def test_a_network_of_ones_own_lands_in_the_cube(fresh):
    (fresh.folder / "my_net.py").write_text(RESIDUAL_NETWORK)
    config = copy.deepcopy(MICRO)
    del config["experiments"]["two"]
    one = config["experiments"]["one"]
    one["network"] = {"factory": "my_net.py:build"}
    one["grid"]["width"] = [4]
    one["regression"]["predictors"] = ["ntk_init", "ntk_final"]
    fresh.config = config
    fresh.snakemake("--cores", "2", "--quiet", "all")
    cube = xr.open_dataset(fresh.folder / "results/one/cube.nc").load()
    for predictor in ("network", "ntk_init", "ntk_final"):
        assert bool(np.isfinite(cube[f"test_mse_{predictor}"].values).all())
    assert float(cube.kernel_drift.sel(epoch=4).min()) > 0.0
    assert cube.phase.values.tolist() == ["unknown"]
    trained = fresh.units()
    fresh.edit("my_net.py", "init_scale / fan_in", "0.5 * init_scale / fan_in")
    assert fresh.plan()["train_networks"] == 1
    fresh.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    assert set(fresh.units()) - set(trained)


def test_a_diverged_network_is_data_and_the_others_go_on(fresh):
    config = copy.deepcopy(MICRO)
    del config["experiments"]["two"]
    config["experiments"]["one"]["training"]["learning_rate"] = {"relative": 40.0}
    config["experiments"]["one"]["training"]["max_epochs"] = 60
    config["experiments"]["one"]["training"]["checkpoints"] = {"epochs": [0, 60], "n_probe": 6}
    fresh.config = config
    fresh.snakemake("--cores", "2", "--quiet", "all")
    cube = xr.open_dataset(fresh.folder / "results/one/cube.nc").load()
    assert bool((cube.status == 2).any())
    assert bool(np.isfinite(cube.test_mse_laplace).all())
    assert bool(np.isnan(cube.test_mse_network.where(cube.status == 2)).all())
    assert "diverged" in (fresh.folder / "results/one/summary.csv").read_text()


def test_cross_entropy_networks_without_kernels_make_a_cube_and_a_report(fresh):
    config = copy.deepcopy(MICRO)
    del config["experiments"]["two"]
    one = config["experiments"]["one"]
    one["dataset"]["task"] = "classes"
    one["training"] |= {"loss": "cross_entropy", "learning_rate": {"absolute": 0.1}}
    one["regression"] = {"predictors": []}
    one["scaling"] = {"metric": "error"}
    fresh.config = config
    fresh.snakemake("--cores", "2", "--quiet", "all")
    cube = xr.open_dataset(fresh.folder / "results/one/cube.nc").load()
    assert cube.predictor.values.tolist() == ["network"]
    assert bool(np.isfinite(cube.test_error_network).all())
    assert bool(np.isfinite(cube.kernel_drift).all())
