"""The cube of a real run against numbers computed anew from its data and weights, by other means."""

import json
import re
import warnings
from inspect import signature

import numpy as np
import pytest
import torch
import xarray as xr
from browser import chromium
from dictionary_checks import departures

from ntk_atlas.arrays import Status
from ntk_atlas.config import ExperimentSettings
from ntk_atlas.cubes import CUBE, predictor_values
from ntk_atlas.datasets import load_dataset, make_draw
from ntk_atlas.kernels import empirical_ntk

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]  # they share a finished study
CELL = {"depth": 1, "width": 8, "init_scale": 2.0, "n_train": 16, "draw": 1, "seed": 0}


@pytest.fixture(scope="module")
def cube(finished_once):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_dataset(finished_once.folder / "results/one/cube.nc").load()


@pytest.fixture(scope="module")
def weights(finished_once):
    folder = finished_once.folder / "results/one/units/networks/depth-1_width-8_init_scale-2.0/n_train-16_draw-1"
    (file,) = folder.glob("*/seeds-0-1.npz")
    return np.load(file)


@pytest.fixture(scope="module")
def draw(finished_once, cube):
    settings = ExperimentSettings.model_validate_json(cube.attrs["config"])
    return make_draw(load_dataset(finished_once.folder / "results/one/dataset.nc"), settings.dataset, CELL["draw"])


def forward(flat, x, n_in=64, width=8, init_scale=2.0, bias_variance=0.1):
    """A one-hidden-layer ReLU network under the NTK parameterization, written out by hand, and its NTK features."""
    flat = np.asarray(flat, dtype=np.float64)
    w1, b1, w2, b2 = np.split(flat, np.cumsum([n_in * width, width, width]))
    z = np.sqrt(init_scale / n_in) * x @ w1.reshape(n_in, width) + np.sqrt(bias_variance) * b1
    h = np.maximum(z, 0)
    f = np.sqrt(init_scale / width) * h @ w2 + np.sqrt(bias_variance) * b2
    signal = np.sqrt(init_scale / width) * w2 * (z > 0)
    jacobian = np.concatenate(
        [
            np.sqrt(init_scale / n_in) * np.einsum("ni,nj->nij", x, signal).reshape(len(x), -1),
            np.sqrt(bias_variance) * signal,
            np.sqrt(init_scale / width) * h,
            np.full((len(x), 1), np.sqrt(bias_variance)),
        ],
        axis=1,
    )
    return f, jacobian


def test_draws_of_a_run_are_disjoint_and_the_cube_says_so(finished_once, cube):
    settings = ExperimentSettings.model_validate_json(cube.attrs["config"])
    dataset = load_dataset(finished_once.folder / "results/one/dataset.nc")
    first, second = (make_draw(dataset, settings.dataset, draw).indices for draw in (0, 1))
    samples = np.concatenate([part for draw in (first, second) for part in (draw.pool, draw.validation, draw.test)])
    assert len(np.unique(samples)) == len(samples)
    assert float(cube["shared_test"]) == 0.0
    assert (cube["shared_train"] == 0.0).all()
    assert (cube["test_fold_size"].sum("test_fold") == settings.dataset.n_test).all()


def test_the_networks_error_is_that_of_its_weights(cube, weights, draw):
    f, _ = forward(weights["weights"][0, -1], draw.x_test)
    expected = np.mean((f - draw.y_test[:, 0]) ** 2)
    assert float(cube.test_mse_network.sel(CELL)) == pytest.approx(expected, rel=1e-5)
    wrong = np.mean(np.sign(f) != draw.y_test[:, 0])
    assert float(cube.test_error_network.sel(CELL)) == pytest.approx(wrong)


@pytest.mark.parametrize(("predictor", "checkpoint"), [("ntk_init", 0), ("ntk_final", -1)])
def test_kernel_regression_is_that_of_the_weights(cube, weights, draw, predictor, checkpoint):
    x_train, y_train = draw.training_set(CELL["n_train"])
    everything = draw.training_set(32)[0] if predictor == "ntk_init" else x_train
    features = forward(weights["weights"][0, checkpoint], everything)[1]
    test = forward(weights["weights"][0, checkpoint], draw.x_test)[1]
    gram = features @ features.T
    chosen = float(cube[f"diag_reg_{predictor}"].sel(CELL).sel(ridge="tuned"))
    ridge = chosen * np.mean(np.diag(gram))
    n = len(x_train)
    solved = np.linalg.solve(gram[:n, :n] + ridge * np.eye(n), y_train)
    expected = np.mean((test @ features[:n].T @ solved - draw.y_test) ** 2)
    assert float(predictor_values(cube, predictor).sel(CELL)) == pytest.approx(expected, rel=1e-5)


def test_probe_kernels_and_drift_are_those_of_the_weights(finished_once, cube, weights, draw):
    row = xr.open_dataset(finished_once.folder / "results/one/networks/depth-1_width-8_init_scale-2.0.nc").load()
    assert row.init_scale.values.tolist() == [2.0]
    order = np.argsort(draw.labels_pool[:6], kind="stable")
    jacobians = [forward(weights["weights"][0, i], draw.x_pool[order])[1] for i in (0, -1)]
    first, last = (j @ j.T for j in jacobians)
    here = {"init_scale": 2.0, "n_train": 16, "draw": 1, "seed": 0}
    assert row.probe_kernels.sel(here | {"epoch": 0}).values == pytest.approx(first, rel=1e-4)
    assert row.probe_kernels.sel(here | {"epoch": 4}).values == pytest.approx(last, rel=1e-4)
    drift = np.linalg.norm(last - first) / np.linalg.norm(first)
    assert float(cube.kernel_drift.sel(CELL | {"epoch": 4})) == pytest.approx(drift, rel=1e-3)
    assert float(cube.kernel_drift.sel(CELL | {"epoch": 0})) == 0.0
    spectrum = np.sort(np.linalg.eigvalsh(last))[::-1] / 6
    assert cube.kernel_spectrum.sel(CELL | {"epoch": 4}).values == pytest.approx(spectrum, abs=1e-4 * spectrum[0])


def test_variables_have_the_dimensions_they_depend_on(cube):
    cell = ("depth", "width", "init_scale", "n_train", "draw", "seed")
    assert cube.test_mse_network.dims == cell
    assert cube.test_mse_ntk_init.dims == (*cell, "ridge")
    assert cube.test_mse_infinite_ntk.dims == ("depth", "init_scale", "n_train", "draw", "ridge")
    assert cube.test_mse_laplace.dims == ("n_train", "draw", "ridge")
    assert cube.kernel_drift.dims == (*cell, "epoch")
    assert cube.chi_1.dims == ("init_scale",)


def test_the_cube_describes_itself(cube):
    assert departures(cube, CUBE) == []
    config = json.loads(cube.attrs["config"])
    assert config["grid"]["width"] == [4, 8]
    assert "torch 2" in cube.attrs["versions"]
    assert cube.attrs["output_reduction"] == signature(empirical_ntk).parameters["output_reduction"].default
    assert cube.attrs["parameterization"] == config["network"]["parameterization"] == "ntk"
    assert cube.attrs["kernel_precision"].startswith("float64; probe kernels float32")
    assert (cube.attrs["n_cells"], cube.attrs["n_networks"], cube.attrs["n_missing"]) == (6, 24, 0)
    assert cube.status.attrs["flag_meanings"] == "missing converged budget_spent diverged timed_out"
    assert set(np.unique(cube.status)) <= {int(Status.CONVERGED), int(Status.BUDGET_SPENT)}
    assert cube.phase.values.tolist() == ["critical"]


def test_networks_of_one_seed_start_equal_at_every_n_train(finished_once):
    folder = finished_once.folder / "results/one/units/networks/depth-1_width-8_init_scale-2.0"
    first = [np.load(next(folder.glob(f"n_train-{n}_draw-0/*/*.npz")))["weights"][:, 0] for n in (8, 16, 32)]
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], first[2])
    other = np.load(next(folder.glob("n_train-8_draw-1/*/*.npz")))["weights"][:, 0]
    assert not np.array_equal(first[0], other)


def test_regression_data_have_no_classification_error(finished_once):
    cube = xr.open_dataset(finished_once.folder / "results/two/cube.nc").load()
    assert bool(cube.test_error_network.isnull().all())
    assert bool(cube.test_mse_network.notnull().all())


def test_tables_figures_and_logs_are_there(finished_once):
    results = finished_once.folder / "results"
    for name, count in (("one", 6), ("two", 4)):
        assert len(list((results / name / "figures").glob("*.svg"))) == count
        assert len(list((results / name / "figures").glob("*.png"))) == count
    assert not (results / "two" / "scaling_laws.nc").exists(), "two sizes give no law"
    assert "train_networks" in (results / "studies/config/cost.csv").read_text()
    log = (finished_once.folder / "logs/one/train_networks/depth-1_width-8_init_scale-2.0.log").read_text()
    assert "training 1 of 6: depth-1_width-8_init_scale-2.0, n_train-8_draw-0" in log
    assert "done" in log


def test_the_page_of_the_study_has_its_experiments(finished_once):
    page = (finished_once.folder / "results/atlas.html").read_text()
    contents = json.loads(re.search(r'id="contents">(.*?)</script>', page, re.S).group(1))
    assert [each["name"] for each in contents["experiments"]] == ["one", "two"]
    assert contents["study"] == "default study" and not contents["judges"]
    one, two = contents["experiments"]
    assert one["axes"]["n_train"]["values"] == [8, 16, 32] and one["n_networks"] == 24
    assert one["laws"]["predictors"] and not two["laws"]


@pytest.mark.slow
def test_the_report_opens_on_the_page(finished_once):
    finished_once.ask("run", "--report-only")
    with chromium() as browser:
        page = browser.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((finished_once.folder / "results/report.html").as_uri())
        inside = page.frame_locator("iframe")
        inside.locator(".cell").first.click()
        inside.locator("#card .charts[data-drawn=yes]").wait_for()
        assert inside.locator("h1").first.text_content().startswith("one: 24 networks")
        assert page.get_by_text("atlas", exact=True).count() == 1
        assert not wrong


def test_laws_of_the_cube_are_there_for_every_predictor(finished_once):
    laws = xr.open_dataset(finished_once.folder / "results/one/scaling_laws.nc").load()
    assert laws.exponent.dims == ("metric", "predictor", "depth", "width", "init_scale")
    assert bool(laws.exponent.notnull().all())
    network, kernel = laws.exponent.sel(predictor="network"), laws.exponent.sel(predictor="laplace")
    difference = laws.exponent_difference.sel(predictor="laplace")
    assert difference.values == pytest.approx((network - kernel).values, abs=1e-9)
    assert torch.isfinite(torch.as_tensor(laws.exponent_low.values)).all()
