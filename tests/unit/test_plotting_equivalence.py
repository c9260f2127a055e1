"""Figures of the study of equivalence: what is drawn is what cube and predictions say."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic_cube
import xarray as xr
from scipy.stats import spearmanr
from synthetic_cube import CELL
from synthetic_cube import synthetic_cube as make_cube

from ntk_atlas.config import ExperimentSettings, FigureSettings
from ntk_atlas.cubes import GAP_TERMS, gap_terms, pair_name, with_distances
from ntk_atlas.figures import function_fits, gap_waterfall, layer_errors, nngp_against_ntk, width_limit
from ntk_atlas.figures.error_map import short_number
from ntk_atlas.figures.parts import verdicts
from ntk_atlas.judging import layer_change_table

STYLE = FigureSettings()
NAMES = ("network", "linearized", "ntk_init", "ntk_final", "infinite_ntk", "nngp", "laplace", "user_my_kernel_k")
RIDGE = ["zero", "tuned"]


@pytest.fixture
def cube(monkeypatch):
    monkeypatch.setattr(synthetic_cube, "KERNEL_DIMS", synthetic_cube.KERNEL_DIMS | {"linearized": CELL})
    made = make_cube(
        np.random.default_rng(0), depth=(1, 2, 3), width=(16, 64), init_scale=(2.0,), n_train=(32, 64), draws=6,
        predictors=NAMES,
    )  # fmt: skip
    made["test_mse_linearized"] = made["test_mse_linearized"].isel(ridge=0, drop=True)  # it has no ridge
    settings = ExperimentSettings.model_validate(
        {"grid": {"depth": (1, 2, 3), "width": (16, 64), "init_scale": (2.0,), "n_train": (32, 64)}}
    )
    return made.merge(gap_terms(made)).assign_attrs(config=settings.canonical_json())


@pytest.fixture
def functions():
    """Networks are a line, the NTK the same a fixed distance above, the NNGP far off in one draw."""
    generator = np.random.default_rng(1)
    x = np.sort(generator.uniform(-1, 1, (5, 40, 1)), axis=1)[:, generator.permutation(40)]
    dims = ("depth", "width", "init_scale", "n_train", "draw", "seed")
    slopes = 1.0 + 0.1 * np.arange(3)
    network = np.broadcast_to((slopes[:, None, None] * x[:, None])[None, None, None, None], (2, 1, 1, 1, 5, 3, 40, 1))
    made = xr.Dataset(
        {
            "test_predictions_network": ((*dims, "test_sample", "output"), network),
            "y_test": (("draw", "test_sample", "output"), x + 0.1),
            "x_test": (("draw", "test_sample", "feature"), x),
            "x_train": (("draw", "train_sample", "feature"), x[:, :6]),
            "y_train": (("draw", "train_sample", "output"), x[:, :6]),
        },
        coords={
            "depth": [1, 2],
            "width": [8],
            "init_scale": [2.0],
            "n_train": [6],
            "draw": range(5),
            "seed": range(3),
            "ridge": RIDGE,
            "predictor": ["network", "infinite_ntk", "nngp"],
        },
    )
    ntk = made["test_predictions_network"].isel(width=0, seed=1, drop=True) + xr.DataArray([5.0, 0.3], dims="ridge")
    made["test_predictions_infinite_ntk"] = ntk
    made["test_predictions_nngp"] = ntk + xr.where(made["draw"] == 4, 8.0, 0.0)
    return made


def drawn(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


def bars(ax):
    return {patch.get_gid(): patch for patch in ax.patches if patch.get_gid()}


def notes(figure):
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def test_errors_over_layers_are_means_over_draws_and_rivals_are_points(cube):
    figure = layer_errors.draw(cube, STYLE)
    here = cube.isel(n_train=-1, width=-1, init_scale=0)
    for panel, ridge in enumerate(RIDGE):
        lines = drawn(figure.axes[panel])
        assert set(lines) == set(NAMES) - {"laplace", "user_my_kernel_k"}
        expected = np.exp(np.log(here["test_mse_nngp"].sel(ridge=ridge)).mean("draw"))
        np.testing.assert_allclose(lines["nngp"].get_ydata(), expected, rtol=1e-10)
        network = np.exp(np.log(here["test_mse_network"]).mean("seed").mean("draw"))
        np.testing.assert_allclose(lines["network"].get_ydata(), network, rtol=2e-3)
    assert set(drawn(figure.axes[2])) == {"laplace", "user_my_kernel_k"}
    logs = np.log(here["test_mse_network"].mean("seed"))
    factor = float(np.exp((logs.isel(depth=-1) - logs.isel(depth=0)).mean("draw")))
    title = " ".join(figure.get_suptitle().split())
    assert f"From 1 to 3 layers errors change by the factors: network {factor:.2f} [" in title


def test_kernels_that_explode_at_ridge_zero_leave_the_axis_to_the_others(cube):
    wild = cube.copy(deep=True)
    wild["test_mse_infinite_ntk"].loc[{"ridge": "zero"}] *= 1e6
    figure = layer_errors.draw(wild, STYLE)
    plain = max(line.get_ydata().max() for line in layer_errors.draw(cube, STYLE).axes[1].lines)
    assert figure.axes[0].get_ylim()[1] <= 3.01 * plain
    lines = drawn(figure.axes[0])
    edge = lines["beyond infinite_ntk"]
    np.testing.assert_array_equal(edge.get_xdata(), lines["infinite_ntk"].get_xdata())
    assert (edge.get_ydata() < figure.axes[0].get_ylim()[1]).all()
    largest = lines["infinite_ntk"].get_ydata().max()
    assert (
        f"Triangles at the upper edge, with their numbers, stand for larger errors: infinite NTK up to {largest:.2g}."
        in notes(figure)
    )
    numbers = [short_number(value) for value in lines["infinite_ntk"].get_ydata()]
    assert [text.get_text() for text in figure.axes[0].texts] == numbers
    assert not any(name.startswith("beyond") for name in drawn(figure.axes[1])) and not figure.axes[1].texts


def test_layers_of_which_nothing_is_finite_are_drawn_and_said(cube):
    nothing = cube.copy(deep=True)
    for name in nothing.data_vars:
        if str(name).startswith("test_mse"):
            nothing[name][...] = np.nan
    figure = layer_errors.draw(nothing, STYLE)
    assert all("no value above zero" in [text.get_text() for text in ax.texts] for ax in figure.axes)


def test_variants_have_a_panel_of_their_own_beside_the_network(cube):
    cube["test_mse_c1_with_bias"] = cube["test_mse_infinite_ntk"]
    cube = cube.assign_coords(predictor=[*NAMES, "c1_with_bias"])
    figure = layer_errors.draw(cube, STYLE)
    assert set(drawn(figure.axes[2])) == {"network", "c1_with_bias"}
    assert "c1_with_bias" not in drawn(figure.axes[0])


def test_the_waterfall_leads_from_kernel_to_network_and_says_which_term_is_largest(cube):
    figure = gap_waterfall.draw(cube, STYLE)
    here = cube.isel(n_train=-1, width=-1, init_scale=-1)
    for ax, depth in zip(figure.axes, cube["depth"].values, strict=True):
        found, cell = bars(ax), here.sel(depth=depth)
        level = float(cell["test_mse_infinite_ntk"].sel(ridge="zero").mean())
        for pair in GAP_TERMS[::-1]:
            bar = found[f"gap {pair_name(*pair)}"]
            assert bar.get_x() == pytest.approx(min(level, level + bar.get_width())) or bar.get_x() == pytest.approx(
                level
            )
            level += bar.get_width()
        assert level == pytest.approx(float(cell["test_mse_network"].mean()))
        assert found["total 4"].get_width() == pytest.approx(level)
    assert "the largest term is" in notes(figure)


def test_without_linearized_networks_the_gap_has_two_terms_and_functions_add_distances(cube):
    cube = cube.drop_vars(["test_mse_linearized", *[n for n in cube if "linearized" in n and n.startswith("gap")]])
    generator = np.random.default_rng(2)
    values = {
        name: (cube[f"test_mse_{name}"].dims, generator.standard_normal(cube[f"test_mse_{name}"].shape))
        for name in ("network", "ntk_init", "infinite_ntk", "nngp")
    }
    predictions = {
        f"test_predictions_{n}": ((*d, "test_sample", "output"), v[..., None, None]) for n, (d, v) in values.items()
    }
    functions = with_distances(
        xr.Dataset(predictions, coords=cube.coords), np.zeros((cube.sizes["draw"], 1), dtype=int)
    )
    figure = gap_waterfall.draw(cube, functions, STYLE)
    assert set(bars(figure.axes[0])) == {"total 0", "gap ntk_init_infinite_ntk", "gap network_ntk_init", "total 3"}
    below = bars(figure.axes[len(cube["depth"])])
    pick = functions["distance_network_infinite_ntk"].isel(n_train=-1, width=-1, init_scale=-1, depth=0)
    expected = float(np.exp(np.log(pick.sel(ridge="zero")).mean()))
    assert below["distance network_infinite_ntk"].get_width() == pytest.approx(expected)


def test_pairs_of_errors_are_those_of_each_draw_with_the_ratio_in_words(cube):
    cube["test_mse_nngp"] = 1.25 * cube["test_mse_infinite_ntk"]
    figure = nngp_against_ntk.draw(cube, STYLE)
    for ax, ridge in zip(figure.axes, RIDGE, strict=True):
        points = drawn(ax)["depth 2"]
        expected = cube["test_mse_infinite_ntk"].sel(ridge=ridge, depth=2).isel(n_train=-1, init_scale=0)
        np.testing.assert_allclose(points.get_xdata(), expected)
        np.testing.assert_allclose(points.get_ydata(), 1.25 * expected)
        assert "2 layers: ratio 1.25 [1.25, 1.25]" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert "1.25 to 1.25 times" in notes(figure) and "0 of 3 intervals cover equality" in notes(figure)


def test_functions_are_interpolated_draw_by_draw_and_distances_named(functions):
    grid = function_fits.common_grid(functions)
    here = functions.isel(depth=-1, width=-1, init_scale=-1, n_train=-1)
    curves = function_fits.curves_on(here, "network", grid, ridge="tuned")
    np.testing.assert_allclose(
        curves, np.broadcast_to((1.0 + 0.1 * np.arange(3))[:, None] * grid, (5, 3, 200)), atol=1e-12
    )
    figure = function_fits.plot_function_fits(functions, STYLE, ridge="tuned")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["network", "infinite NTK", "NNGP"]
    np.testing.assert_allclose(drawn(figure.axes[1])["curve"].get_ydata(), 1.1 * grid + 0.3, atol=1e-12)
    np.testing.assert_allclose(drawn(figure.axes[1])["other ridge"].get_ydata(), 1.1 * grid + 5.0, atol=1e-12)
    assert "other ridge" not in drawn(figure.axes[0]), "networks have none"
    assert "Nearest to the network, in root mean square over draws: infinite NTK (0.30)" in notes(figure)
    assert figure.axes[0].get_ylim()[1] < 3.0 < functions["test_predictions_nngp"].max(), (
        "a wild curve does not flatten the others"
    )
    assert len(drawn(figure.axes[0])["training samples"].get_xdata()) == 6


def cubes_of_three_worlds(cube):
    """Networks that change as their NTK does, twice as much, and the other way round."""
    worlds = {}
    for name, factor in (("alike", 1.0), ("twice", 2.0), ("against", -1.0)):
        world = cube.copy(deep=True)
        kernel = cube["test_mse_infinite_ntk"].sel(ridge="zero", drop=True)
        level = xr.DataArray([1.0, 1.5, 3.0], {"depth": [1, 2, 3]}, "depth") * (1.0 + 0.001 * (cube["draw"] - 3.0))
        world["test_mse_infinite_ntk"] = (0.0 * cube["test_mse_infinite_ntk"] + level).transpose(
            *cube["test_mse_infinite_ntk"].dims
        )
        noise = 1e-3 * np.random.default_rng(3).standard_normal(cube["test_mse_network"].shape)
        change = (0.0 * cube["test_mse_network"] + 0.0 * kernel + 4.0 + factor * (level - 1.0)).transpose(*CELL)
        world["test_mse_network"] = change + noise
        worlds[name] = world
    return worlds


def test_steps_of_planted_worlds_are_found_and_drawn(cube):
    table = layer_change_table(cubes_of_three_worlds(cube), confidence=0.95)
    ntk = table[table["predictor"] == "infinite_ntk"]
    whole = ntk[ntk["cumulative"]].set_index("experiment")
    assert set(zip(whole["before"], whole["after"], strict=True)) == {(1, 3)}
    np.testing.assert_allclose(whole.loc[["alike", "twice", "against"], "network"], [2.0, 4.0, -2.0], rtol=5e-3)
    np.testing.assert_allclose(whole.loc["against", "difference"], -4.0, rtol=5e-3)
    ntk = ntk[~ntk["cumulative"]].set_index(["experiment", "before"])
    np.testing.assert_allclose(ntk.loc["alike", "kernel"], [0.5, 1.0], rtol=5e-3)
    np.testing.assert_allclose(ntk.loc["twice", "network"], [1.0, 2.0], rtol=5e-3)
    np.testing.assert_allclose(ntk.loc["against", "difference"], [-1.0, -2.0], rtol=5e-3)
    assert list(ntk["signs"]) == ["agree"] * 4 + ["differ"] * 2
    assert ntk["rank_correlation"].iloc[0] == pytest.approx(spearmanr(ntk["network"], ntk["kernel"]).statistic)
    assert verdicts.count_steps(ntk, 0.1) == (2, 4, 0)
    figure = verdicts.plot_layer_changes(table, STYLE, margin=0.1)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0] == "infinite NTK" and len(titles) == 5
    points = drawn(figure.axes[0])
    assert points["against 2→3"].get_ydata() == pytest.approx([-1.0], rel=5e-3)
    assert points["against 1→3"].get_ydata() == pytest.approx([-2.0], rel=5e-3)
    assert points["against 1→3"].get_markerfacecolor() == "white" != points["against 2→3"].get_markerfacecolor()
    assert "change alike in 2, differently in 4, 0 are open" in notes(figure)
    assert "Signs agree in 4 of the 6" in notes(figure)
    assert "Of 3 changes by several layers, 1 are alike, 2 differ, 0 are open." in notes(figure)


def test_experiments_without_steps_have_none(cube):
    table = layer_change_table({"one depth": cube.isel(depth=[0])}, confidence=0.95)
    assert table.empty and isinstance(table, pd.DataFrame)


@pytest.mark.parametrize("overlap", [False, True])
def test_distances_are_drawn_with_the_law_that_they_follow(overlap):
    width, limit, first = np.array([64, 128, 256, 512]), 0.04, 20.0
    grid = {"depth": (1, 2), "width": tuple(width), "init_scale": (2.0,), "n_train": (32,), "draws": 5, "seeds": 2}
    settings = ExperimentSettings.model_validate({"grid": grid})
    sizes = dict(zip(CELL, (2, 4, 1, 1, 5, 2), strict=True))
    coordinates = {dim: np.array(grid[dim]) for dim in CELL[:4]} | {"ridge": RIDGE}
    coordinates |= {"draw": range(5), "seed": range(2)}
    cube = xr.Dataset(coords=coordinates).assign_attrs(config=settings.canonical_json())
    cube["status"] = CELL, np.zeros(list(sizes.values()), dtype=np.int8)
    kernel_dims = ("depth", "init_scale", "n_train", "draw", "ridge")
    cube["test_mse_infinite_ntk"] = kernel_dims, np.full((2, 1, 1, 5, 2), 0.25)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(list(sizes.values())))
    share = (limit + first / width)[None, :, None, None, None, None] * noise
    functions = xr.Dataset(coords=coordinates)
    functions["distance_network_infinite_ntk"] = (*CELL, "ridge"), np.sqrt(0.25 * share)[..., None] * np.ones(2)
    if overlap:  # draws that have samples in common, with errors by fold
        for each in (cube, functions):
            each["test_fold_size"] = ("draw", "test_fold"), np.full((5, 4), 8)
            each["shared_test"], each["shared_train"] = 0.3, ("n_train", [0.1])
        distance = functions["distance_network_infinite_ntk"]
        for target, name, whole in (
            (cube, "test_mse_folds_infinite_ntk", cube["test_mse_infinite_ntk"]),
            (functions, "square_distance_folds_network_infinite_ntk", distance**2),
        ):
            target[name] = whole * xr.DataArray([0.8, 0.9, 1.1, 1.2], dims="test_fold")
    figure = width_limit.draw(cube, functions, STYLE)
    lines = drawn(figure.axes[1])
    np.testing.assert_allclose(lines["network_infinite_ntk"].get_ydata(), np.sqrt(limit + first / width), rtol=0.01)
    assert lines["law"].get_xdata()[-1] == pytest.approx(8 * 512)
    assert lines["law"].get_ydata()[-1] == pytest.approx(np.sqrt(limit + first / 4096), rel=0.05)
    (stated,) = re.findall(r"infinite width: at depth 1 (\S+) ", notes(figure))
    assert float(stated) == pytest.approx(limit, rel=0.1)
