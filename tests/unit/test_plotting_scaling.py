"""Figures of the study of scaling laws: what is drawn is what the cube and the laws say."""

import numpy as np
import pytest
import synthetic_cube
import xarray as xr
from synthetic_cube import CELL, synthetic_laws
from synthetic_cube import synthetic_cube as make_cube

from ntk_atlas.config import ExperimentSettings, FigureSettings
from ntk_atlas.figures import (
    exponent_forest,
    kernel_evolution,
    pretrained_kernels,
    scaling_exponents,
    width_dependence,
)
from ntk_atlas.figures.exponent_forest import forest_rows
from ntk_atlas.figures.pretrained_kernels import family_of_kernels
from ntk_atlas.study import figures_of

STYLE = FigureSettings()
NAMES = ("network", "ntk_init", "ntk_pretrained_64", "ntk_pretrained_128", "ntk_final", "infinite_ntk", "laplace")


@pytest.fixture
def cube(monkeypatch):
    dims = synthetic_cube.KERNEL_DIMS | {name: CELL for name in NAMES if "pretrained" in name}
    monkeypatch.setattr(synthetic_cube, "KERNEL_DIMS", dims)
    generator = np.random.default_rng(0)
    made = make_cube(generator, depth=(2,), width=(16, 64), init_scale=(2.0,), predictors=NAMES)
    for m in (64, 128):
        name = f"test_mse_ntk_pretrained_{m}"
        made[name] = made[name].where(made["n_train"] >= m)
    shape = [made.sizes[dim] for dim in (*CELL, "epoch")]
    made["test_mse"] = (*CELL, "epoch"), 0.3 + np.exp(-np.arange(shape[-1])) * np.ones(shape)
    along = np.exp(-0.2 * np.arange(shape[-1]) + 0.05 * generator.standard_normal(shape))
    along[:, :, :, :-1] = np.nan
    made["test_mse_ntk_epochs"] = (*CELL, "epoch", "ridge"), np.stack([2.0 * along, along], -1)
    made.attrs["stand_ins"] = "laplace"
    return made


def drawn(figure, panel=0):
    return {line.get_gid(): line for line in figure.axes[panel].lines if line.get_gid()}


def test_the_evolution_shows_regression_beside_the_networks_own_errors(cube):
    figure = kernel_evolution.draw(cube, STYLE)
    lines = drawn(figure)
    assert set(lines) == {"kernel", "network, test", "network, training"}
    values = cube["test_mse_ntk_epochs"].isel(depth=0, width=-1, init_scale=0, n_train=-1).sel(ridge="tuned")
    expected = np.exp(np.log(values.mean("seed") * 0 + np.exp(np.log(values).mean("seed"))).mean("draw"))
    np.testing.assert_allclose(lines["kernel"].get_ydata(), expected.isel(epoch=slice(1, None)), rtol=1e-10)
    assert 0.0 not in lines["kernel"].get_xdata() and "n = 512" in figure._suptitle.get_text()
    assert [set(drawn(figure, i)) for i in (1, 2, 3)] == [{"kernel_drift"}, {"kernel_velocity"}, {"kernel_alignment"}]


def test_the_family_of_kernels_is_in_order_and_starts_at_m(cube):
    assert family_of_kernels(["ntk_final", "ntk_pretrained_128", "rbf", "ntk_pretrained_64", "network"]) == [
        "network", "ntk_pretrained_64", "ntk_pretrained_128", "ntk_final",
    ]  # fmt: skip
    lines = drawn(pretrained_kernels.draw(cube, synthetic_laws(cube), STYLE))
    assert "points laplace" not in lines
    shifts = lines["points ntk_pretrained_128"].get_xdata() / [128, 256, 512]  # beside the networks, by one factor
    np.testing.assert_allclose(shifts, shifts[0])
    assert 0.7 < shifts[0] < 1.4


def test_points_of_networks_that_did_not_get_there_are_hollow(cube):
    laws = synthetic_laws(cube)
    figure = pretrained_kernels.draw(cube, laws, STYLE)
    assert "above target" not in drawn(figure) and "Hollow" not in figure.texts[0].get_text()
    cube["status"].loc[{"n_train": 512}] = 1
    figure = pretrained_kernels.draw(cube, laws, STYLE)
    assert drawn(figure)["above target"].get_xdata().tolist() == [512]
    assert any("Hollow" in text.get_text() for text in figure.texts)


def test_width_dependence_has_level_lines_for_kernels_without_width(cube):
    figure = width_dependence.draw(cube, synthetic_laws(cube), STYLE)
    for panel in (0, 1):
        values = drawn(figure, panel)["infinite_ntk"].get_ydata()
        assert len(values) == 2 and values[0] == values[1]
    assert drawn(figure, 2)["network"].get_xdata().tolist() == [16, 64]


def test_the_forest_has_a_line_a_setting(cube):
    laws = synthetic_laws(cube).assign_attrs(setting="sgd, batch 8")
    variant = laws.isel(width=[0]).assign_attrs(setting="adam, batch 8")
    labels = [row.label for row in forest_rows(laws, (variant,))]
    assert labels.count("infinite NTK") == 1, "it has no width"
    assert labels[-3:] == [
        "network: sgd, batch 8, width 16",
        "network: sgd, batch 8, width 64",
        "network: adam, batch 8",
    ]
    figure = exponent_forest.draw(laws, variant, STYLE)
    lines = drawn(figure)
    value = float(laws["exponent"].sel(predictor="network", width=16).item())
    assert lines["exponent network: adam, batch 8"].get_xdata() == [value]


def test_the_forest_has_a_panel_an_error(cube):
    both = [synthetic_laws(cube, metric=name) for name in ("mse", "error")]
    laws = xr.concat(both, "metric").assign_coords(metric=["mse", "error"]).assign_attrs(metric="mse", setting="sgd")
    figure = exponent_forest.draw(laws, STYLE)
    assert len(figure.axes) == 2
    for panel, one in enumerate(both):
        value = float(one["exponent"].sel(predictor="network", width=16).item())
        assert drawn(figure, panel)["exponent network: sgd, width 16"].get_xdata() == [value]


def experiment(**keys):
    grid = {"depth": [1], "width": keys.pop("width", [8]), "init_scale": [2.0], "n_train": [16, 32, 64]}
    return ExperimentSettings.model_validate({"grid": grid, **keys})


def test_figures_are_made_of_what_there_is():
    few = figures_of(experiment(regression={"predictors": ["ntk_init"]}), has_classes=True)
    assert not {"kernel_evolution", "pretrained_kernels", "width_dependence", "exponent_forest"} & set(few)
    predictors = ["ntk_init", "ntk_epochs", "ntk_pretrained_16"]
    many = experiment(
        width=[8, 16], regression={"predictors": predictors}, training={"checkpoints": {"weights": "scheduled"}}
    )
    found = set(figures_of(many, has_classes=True))
    assert {"kernel_evolution", "pretrained_kernels", "width_dependence", "exponent_forest"} <= found


def test_intervals_for_new_data_stand_beside_those_of_the_draws(cube):
    laws = synthetic_laws(cube).expand_dims(metric=["mse"])
    for name in ("exponent", "exponent_difference"):
        laws[f"{name}_new_data_low"] = laws[f"{name}_low"] - 0.1
        laws[f"{name}_new_data_high"] = laws[f"{name}_high"] + 0.2
    forest = exponent_forest.draw(laws, STYLE)
    lines = {c.get_gid(): c for c in forest.axes[0].collections if (c.get_gid() or "").startswith(("interval", "new"))}
    label = next(gid for gid in lines if gid.startswith("interval network"))
    inner, outer = (lines[gid].get_segments()[0][:, 0] for gid in (label, label.replace("interval", "new data")))
    np.testing.assert_allclose(outer - inner, [-0.1, 0.2])
    figure = scaling_exponents.draw(cube, laws, STYLE)
    drawn_for = [
        c.get_gid() for ax in figure.axes for c in ax.collections if (c.get_gid() or "").startswith("new data")
    ]
    assert "new data exponent network" in drawn_for and "new data exponent_difference ntk_init" in drawn_for
    low, high = figure.axes[0].get_xlim()
    assert low < float(laws["exponent_new_data_low"].sel(width=64).min()) and high > float(
        laws["exponent_new_data_high"].sel(width=64).max()
    )
