"""The tiny study from a fresh clone to its report, and a network of one's own through the whole workflow."""

import copy

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from conftest import REPOSITORY
from workflow_micro import FIGURES, MICRO

from ntk_atlas.arrays import Status

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
    for caption in ("Networks beside kernels at the largest n_train", "What the study cost", "relative drift"):
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


def test_failed_networks_are_data_up_to_a_share_of_them(fresh):
    config = copy.deepcopy(MICRO)
    one, two = config["experiments"]["one"], config["experiments"]["two"]
    one["training"] |= {
        "learning_rate": {"relative": 40.0}, "max_epochs": 60, "checkpoints": {"epochs": [0, 60], "n_probe": 6}
    }  # fmt: skip
    two["grid"]["n_train"] = [8]
    fresh.config = config
    fresh.snakemake("--cores", "2", "--quiet", "all", "--", "results/two/networks/depth-1_width-4_init_scale-2.0.nc")
    two["grid"]["n_train"] = [8, 16]
    two["training"]["max_seconds"] = 1e-6  # what is finished stays, of the others none gets beyond its first epoch
    fresh.config = config
    fresh.snakemake("--cores", "2", "--quiet", "all")

    diverging, slow = (xr.open_dataset(fresh.folder / f"results/{name}/cube.nc").load() for name in ("one", "two"))
    diverged = diverging.status == int(Status.DIVERGED)
    n_diverged = int(diverged.sum())
    assert n_diverged > 0.1 * diverged.size
    assert bool(np.isfinite(diverging.test_mse_laplace).all())
    assert bool(np.isnan(diverging.test_mse_network.where(diverged)).all())
    assert bool((slow.status.sel(n_train=16) == int(Status.TIMED_OUT)).all())
    assert bool((slow.status.sel(n_train=8) == int(Status.BUDGET_SPENT)).all())
    assert bool(np.isnan(slow.test_mse_network.sel(n_train=16)).all())
    assert bool(np.isfinite(slow.test_mse_network.sel(n_train=8)).all())
    counts = {name: pd.read_csv(fresh.folder / f"results/{name}/summary.csv").iloc[-1] for name in ("one", "two")}
    assert (counts["one"]["diverged"], counts["two"]["timed out"]) == (n_diverged, 4)
    for name, shown in (("one", FIGURES), ("two", FIGURES[2:])):
        assert {file.stem for file in fresh.folder.glob(f"results/{name}/figures/*.png")} == set(shown)
    said = fresh.ask("status").splitlines()
    assert said[0].startswith("one: 6 of 6 cells, 24 of 24 networks: ")
    assert said[0].endswith(f" {n_diverged} diverged; its cube is there")
    assert said[1] == "two: 2 of 2 cells, 8 of 8 networks: 4 budget spent, 4 timed out; its cube is there"
    assert said[2].endswith(f" {n_diverged} diverged, 4 timed out")

    one["max_failed_share"] = two["max_failed_share"] = 0.1
    fresh.config = config
    text = fresh.snakemake("--cores", "2", "--keep-going", check=False)
    allowed = "more than the 0.1 of them that max_failed_share allows"
    assert f"{n_diverged} of 24 networks failed ({n_diverged} diverged), {allowed}" in text
    assert f"4 of 8 networks failed (4 timed_out), {allowed}" in text
    assert "Finished job" not in text
    assert all("no cube yet" in line for line in fresh.ask("status").splitlines()[:2])


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
