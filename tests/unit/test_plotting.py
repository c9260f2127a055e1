"""Figures: what is drawn is what the cube holds, edge cases draw without warnings, files are reproducible."""

import warnings
from functools import cache
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from scipy.stats import t
from synthetic_cube import diverge, synthetic_cube, synthetic_laws

from ntk_atlas.arrays import Status
from ntk_atlas.figures import (
    FigureSettings,
    classification_curves,
    error_map,
    kernel_alignment,
    kernel_drift,
    kernel_movement,
    kernel_spectra,
    layer_errors,
    learning_curves,
    nngp_against_ntk,
    scaling_exponents,
)
from ntk_atlas.figures.parts import curves, look, notices_of, predictor_styles, save_figure, theme

MODULES = (learning_curves, kernel_drift, error_map, kernel_alignment, kernel_spectra, scaling_exponents)
STYLE = FigureSettings()


@cache
def plain_cube():
    return synthetic_cube(np.random.default_rng(1), depth=(1, 3), width=(32, 128), init_scale=(2.0, 3.0), seeds=2)


@cache
def plain_laws():
    return synthetic_laws(plain_cube())


@cache
def plain_figure(module):
    """Figures are not changed by reading them, so the tests share them."""
    return draw(module, plain_cube(), plain_laws())


def draw(module, cube, laws, style=STYLE):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = module.FIGURE.files
        return module.draw(*[{"cube": cube, "scaling_laws": laws}[name] for name in files], style)


def one_cell(**changes):
    settings = {"depth": (2,), "width": (64,), "init_scale": (2.0,), "draws": 1, "seeds": 1, "epoch": (0, 1, 5)}
    return synthetic_cube(np.random.default_rng(2), **(settings | changes))


def lines(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


def said(figure):
    return " ".join(figure.texts[-1].get_text().split())


def heading(figure):
    return " ".join(figure.get_suptitle().split())


def is_outer(ax, axes, axis):
    """Whether no other panel stands below (x) or left of (y) `ax`."""
    box = ax.get_position()
    for other in (other.get_position() for other in axes if other is not ax):
        if axis == "x" and other.y1 <= box.y0 and other.x0 < box.x1 and box.x0 < other.x1:
            return False
        if axis == "y" and other.x1 <= box.x0 and other.y0 < box.y1 and box.y0 < other.y1:
            return False
    return True


def check_layout(figure):
    """Every outer axis has a label, every panel a title, and nothing sticks out of the figure or over a panel."""
    renderer = figure.canvas.get_renderer()
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    grid = [ax for ax in figure.axes if ax not in bars]
    assert all(bar.get_ylabel() or bar.get_xlabel() for bar in bars)
    for ax in grid:
        assert ax.get_title(loc="left")
        assert ax.get_xlabel() or not is_outer(ax, grid, "x")
        assert ax.get_ylabel() or not is_outer(ax, grid, "y")
    drawn, size = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert drawn.x0 >= -0.01 and drawn.y0 >= -0.01 and drawn.x1 <= size[0] + 0.01 and drawn.y1 <= size[1] + 0.01
    assert figure.get_figwidth() <= look.MAX_WIDTH
    titles = [ax._left_title.get_window_extent(renderer) for ax in grid]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    panel_boxes = [ax.get_tightbbox(renderer) for ax in grid]
    for outside in (*figure.legends, *figure.texts):
        extent = outside.get_window_extent(renderer)
        assert not any(extent.y0 < box.y1 - 1 and box.y0 < extent.y1 - 1 for box in panel_boxes)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_labels_titles_and_layout(module):
    check_layout(plain_figure(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_single_cell_and_draw(module):
    cube = one_cell(classification=False, predictors=("network", "ntk_init", "laplace"))
    check_layout(draw(module, cube, synthetic_laws(cube)))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_cube_without_one_finite_network(module):
    cube = diverge(one_cell(draws=2), depth=2)
    cube["kernel_spectrum"][:] = np.nan
    for name in ("infinite_ntk", "nngp", "laplace", "matern_5_2", "rbf"):
        cube[f"test_mse_{name}"][:] = np.nan
    figure = draw(module, cube, synthetic_laws(cube))
    check_layout(figure)
    empty = any(text.get_text().startswith(("no finite value", "no fit", "no value")) for text in figure.axes[0].texts)
    assert empty or module in (error_map, kernel_alignment)
    assert "nan" not in heading(figure)


@pytest.mark.parametrize("module", [error_map, scaling_exponents], ids=["error_map", "scaling_exponents"])
def test_a_large_cube_in_large_letters(module):
    names = ("network", "ntk_init", "ntk_epoch_100", "nngp", "laplace", "matern_5_2")
    cube = synthetic_cube(
        np.random.default_rng(3), depth=(0, 1, 2, 3, 4, 6), width=(8, 16, 32, 64, 128), predictors=names,
        init_scale=(1.0, 1.5, 2.0, 2.5, 3.0), draws=2, seeds=1, n_train=(16, 32, 64), epoch=(0, 1), n_probe=3,
    )  # fmt: skip
    figure = draw(module, cube, synthetic_laws(cube), FigureSettings(context="talk", palette="cividis"))
    check_layout(figure)
    assert "3 of 6 depths" in figure.texts[-1].get_text()


def test_learning_curves_draw_the_cube():
    cube, laws, figure = plain_cube(), plain_laws(), plain_figure(learning_curves)
    factors = learning_curves.side_by_side([str(name) for name in cube["predictor"].values], cube["n_train"].values)
    for i, ax in enumerate(figure.axes):
        depth, scale = divmod(i, 2)
        drawn = lines(ax)
        expected = cube["test_mse_network"].values[depth, -1, scale]
        geometric = np.exp(np.log(expected).mean((-1, -2)))
        np.testing.assert_allclose(drawn["points network"].get_ydata(), geometric, rtol=1e-12)
        np.testing.assert_array_equal(drawn["points network"].get_xdata(), cube["n_train"].values)
        kernel = cube["test_mse_laplace"].values[..., 1]
        np.testing.assert_allclose(drawn["points laplace"].get_ydata(), np.exp(np.log(kernel).mean(-1)), rtol=1e-12)
        law = laws.sel(predictor="laplace").isel(depth=depth, width=-1, init_scale=scale)
        n = drawn["law laplace"].get_xdata() / factors["laplace"]
        np.testing.assert_allclose(n, cube["n_train"].values)
        np.testing.assert_allclose(
            drawn["law laplace"].get_ydata(), law["amplitude"].item() * n ** -law["exponent"].item()
        )
        # the planted law goes through the geometric means: the two agree to the noise
        np.testing.assert_allclose(drawn["law laplace"].get_ydata(), drawn["points laplace"].get_ydata(), rtol=0.1)
        assert f"depth {cube['depth'].values[depth]}" in ax.get_title(loc="left")
    assert ["(critical)" in ax.get_title(loc="left") for ax in figure.axes] == [True, False, True, False]


def test_law_covers_the_fit_range_only_and_is_absent_without_a_fit():
    cube = one_cell()
    laws = synthetic_laws(cube, n_train_min=100)
    laws["law_error"].loc[{"predictor": "rbf"}] = np.nan
    figure = draw(learning_curves, cube, laws)
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["law network"].get_xdata(), [128, 256, 512])
    assert "points rbf" in drawn and "law rbf" not in drawn
    assert "Laws are fitted from n = 100 on: points at 32, 64 have no line." in said(figure)
    assert "no line" not in said(plain_figure(learning_curves))


def test_no_kernel_hides_another_and_none_is_moved_to_where_the_next_size_is():
    names = [str(name) for name in plain_cube()["predictor"].values]
    for some in (names, names[:2], names[1:], names[:1]):
        factors = learning_curves.side_by_side(some, np.array([32, 64, 256]))
        assert list(factors) == some and factors.get("network", 1.0) == 1.0
        assert len({round(factor, 9) for factor in factors.values()}) == len(some)
        assert all(2**-0.5 < factor < 2**0.5 for factor in factors.values())
    for ax in plain_figure(learning_curves).axes:
        first, last = (lines(ax)[f"points {name}"].get_xdata() for name in ("ntk_init", "ntk_final"))
        assert (first < last).all()


def test_the_title_of_learning_curves_compares_networks_with_their_own_kernel():
    cube = plain_cube().isel(width=-1, n_train=-1)
    ratio = np.log(cube["test_mse_network"] / cube["test_mse_ntk_init"].sel(ridge="tuned")).mean(["draw", "seed"])
    low, high = np.exp([ratio.min(), ratio.max()])
    title = f"at n = 512 networks err {low:.2f} to {high:.2f} times as much as their own initial NTK"
    assert title in heading(plain_figure(learning_curves))


def test_bands_are_the_intervals_of_the_laws():
    cube = one_cell(draws=3)
    laws = synthetic_laws(cube, n_train_min=100)
    ax = draw(learning_curves, cube, laws).axes[0]
    (band,) = [band for band in ax.collections if str(band.get_gid()).startswith("band ")]
    assert band.get_gid() == "band network"
    law = laws.sel(predictor="network", n_train=[128, 256, 512]).squeeze()
    corners = band.get_paths()[0].vertices
    for end in ("low", "high"):
        for n, edge in zip(law["n_train"].values, law[f"law_error_{end}"].values, strict=True):
            assert np.isclose(corners, [n, edge], rtol=1e-10).all(1).any()
    assert corners[:, 0].min() == 128


def test_both_errors_have_their_curves():
    cube = one_cell()
    laws = xr.concat([synthetic_laws(cube, metric=name) for name in ("mse", "error")], "metric")
    laws = laws.assign_coords(metric=["mse", "error"]).assign_attrs(metric="mse")
    drawn = {name: lines(draw(module, cube, laws).axes[0])["law network"].get_ydata()
             for name, module in (("mse", learning_curves), ("error", classification_curves))}  # fmt: skip
    for name, values in drawn.items():
        np.testing.assert_allclose(values, laws["law_error"].sel(metric=name, predictor="network").squeeze())
    assert not np.allclose(drawn["mse"], drawn["error"])


def test_learning_curves_follow_the_metric_and_ridge_of_the_laws():
    cube = one_cell()
    laws = synthetic_laws(cube, metric="error", ridge="zero")
    figure = draw(learning_curves, cube, laws)
    drawn = lines(figure.axes[0])["points rbf"].get_ydata()
    np.testing.assert_allclose(drawn, cube["test_error_rbf"].values[:, 0, 0])
    assert "wrong classes" in figure.axes[0].get_ylabel() and "Kernels with ridge → 0" in said(figure)


def test_predictors_differ_by_colour_marker_and_dash_and_agree_between_figures():
    names = ["network", "ntk_init", "ntk_final", "infinite_ntk", "nngp", "laplace", "matern_3_2", "matern_5_2", "rbf"]
    for palette in ("colorblind", "deep", "viridis", "cividis"):
        styles = predictor_styles(names, FigureSettings(palette=palette))
        for field in ("color", "marker", "dash"):
            assert len({getattr(style, field) for style in styles.values()}) == len(names)
        assert predictor_styles(["rbf", "ntk_epoch_3"], FigureSettings(palette=palette))["rbf"] == styles["rbf"]


@pytest.mark.parametrize("palette", ["colorblind", "deep", "viridis", "cividis"])
def test_predictors_without_a_style_of_their_own_get_one_that_no_other_has(palette):
    style = FigureSettings(palette=palette)
    mine = [f"my_kernel_{i}" for i in range(12)]
    styles = predictor_styles(["network", "rbf", *mine, f"{mine[3]}_around_network"], style)
    assert len({(look.color, look.marker, look.dash) for look in styles.values()}) == len(styles)
    assert styles["rbf"] == predictor_styles(["rbf"], style)["rbf"]
    assert predictor_styles(mine[::-1], style) == {name: styles[name] for name in mine}
    curve = lines(plain_figure(learning_curves).axes[0])["points nngp"]
    dot = lines(plain_figure(scaling_exponents).axes[0])["exponent nngp"]
    assert to_hex(curve.get_color()) == to_hex(dot.get_color()) and curve.get_marker() == dot.get_marker()


def test_a_kernel_that_does_not_move_has_a_drift_of_zero():
    cube = one_cell()
    cube["kernel_drift"][:] = 0.0
    figures = {module: draw(module, cube, synthetic_laws(cube)) for module in (kernel_drift, kernel_movement)}
    for figure in figures.values():
        assert "no value above zero" in [text.get_text() for text in figure.axes[0].texts]
        assert "values are exactly 0, and are left out" in figure.texts[-1].get_text().replace("\n", " ")
    assert ": 0 at the end of training" in " ".join(figures[kernel_movement].get_suptitle().split())
    text = draw(kernel_drift, one_cell(), None).texts[-1].get_text()
    assert "exactly 0" not in text


def test_one_draw_has_no_interval():
    cube = one_cell(depth=(1, 2))
    said = [draw(module, cube, synthetic_laws(cube)) for module in (layer_errors, nngp_against_ntk)]
    words = " ".join(text.get_text() for figure in said for text in [*figure.texts, *figure.axes[0].texts])
    words += " ".join(t.get_text() for ax in said[1].axes for t in ax.get_legend().get_texts())
    assert "nan" not in words and "One draw gives no interval." in words.replace("\n", " ")


def test_drift_starts_after_epoch_zero():
    cube, figure = plain_cube(), plain_figure(kernel_drift)
    for depth, ax in enumerate(figure.axes):
        drawn = lines(ax)["3.0 128"]
        values = cube["kernel_drift"].values[depth, 1, 1, -1, :, :, 1:]
        np.testing.assert_array_equal(drawn.get_xdata(), cube["epoch"].values[1:])
        np.testing.assert_allclose(drawn.get_ydata(), np.exp(np.log(values).mean((0, 1))), rtol=1e-12)
        assert len(lines(ax)) == 4 and len(ax.collections) == 4  # a band for each line
        assert len({lines(ax)[f"{s} 32"].get_color() for s in (2.0, 3.0)}) == 2
        assert lines(ax)["2.0 32"].get_linestyle() != lines(ax)["2.0 128"].get_linestyle()


def ends_of(values, width):
    """Smallest and largest geometric mean over draws and seeds, over depths and init scales, at one width."""
    means = np.exp(np.log(values.sel(width=width)).mean(["draw", "seed"]))
    return float(means.min()), float(means.max())


def test_the_title_of_the_drift_has_its_range_at_the_narrowest_and_the_widest():
    last = plain_cube()["kernel_drift"].isel(n_train=-1, epoch=-1)
    (a, b), (c, d) = ends_of(last, 32), ends_of(last, 128)
    expected = (
        f"by {a:.2g} to {b:.2g} of its norm at width 32, by {c:.2g} to {d:.2g} of its norm at width 128 (n = 512)"
    )
    assert heading(plain_figure(kernel_drift)) == f"Training moves the kernel {expected}"


def test_alignment_has_two_lines_a_panel_from_epoch_zero_on():
    cube, figure = plain_cube(), plain_figure(kernel_alignment)
    for panel, ax in enumerate(figure.axes):
        depth, scale = divmod(panel, 2)
        assert set(lines(ax)) == {"width 32", "width 128"}
        values = cube["kernel_alignment"].values[depth, 1, scale, -1]
        drawn = lines(ax)["width 128"]
        np.testing.assert_array_equal(drawn.get_xdata(), cube["epoch"].values)
        ratio = values / values[..., :1]
        np.testing.assert_allclose(drawn.get_ydata(), np.exp(np.log(ratio).mean((0, 1))), rtol=1e-12)
        assert drawn.get_linestyle() != lines(ax)["width 32"].get_linestyle()
    last = cube["kernel_alignment"].isel(n_train=-1)
    last = last.isel(epoch=-1) / last.isel(epoch=0)
    (a, b), (c, d) = ends_of(last, 32), ends_of(last, 128)
    assert f"{a:.2f} to {b:.2f} times at width 32, {c:.2f} to {d:.2f} times at width 128" in heading(figure)


def ratio_of(cube, kernel):
    """log(network / kernel) at the largest n_train, and its t interval over draws, by hand."""
    here = cube.isel(n_train=-1)
    error = here[f"test_mse_{kernel}"].sel(ridge="tuned")
    logs = np.log(here["test_mse_network"] / error).mean("seed").transpose("depth", "width", "init_scale", "draw")
    half = t.ppf(0.975, logs.sizes["draw"] - 1) * logs.std("draw", ddof=1) / np.sqrt(logs.sizes["draw"])
    return logs.mean("draw").values, half.values


def test_error_map_has_the_networks_error_and_its_ratio_to_each_kernel():
    cube, figure = plain_cube(), plain_figure(error_map)
    maps = {ax.get_title(loc="left").replace("\n", " "): ax for ax in figure.axes[:-1]}
    network = maps["network: test MSE (target²)"].collections[0]
    expected = np.exp(np.log(cube["test_mse_network"].values[:, :, :, -1]).mean((-1, -2)))
    np.testing.assert_allclose(np.asarray(network.get_array()).reshape(4, 2), expected.reshape(4, 2), rtol=1e-12)
    assert len(maps) == len(cube["predictor"])
    for kernel, title in (("ntk_init", "empirical NTK, initial"), ("nngp", "NNGP"), ("rbf", "RBF")):
        ax = maps[f"network / {title}"]
        mean, half = ratio_of(cube, kernel)
        drawn = np.asarray(ax.collections[0].get_array()).reshape(4, 2)
        np.testing.assert_allclose(drawn, np.exp(mean).reshape(4, 2), rtol=1e-12)
        assert [text.get_text() for text in ax.texts] == [error_map.short_number(value) for value in drawn.ravel()]
        bold = [text.get_fontweight() == "bold" for text in ax.texts]
        np.testing.assert_array_equal(bold, (np.abs(mean) > half).ravel())
    limits = {ax.collections[0].get_clim() for title, ax in maps.items() if title.startswith("network /")}
    ((low, high),) = limits
    assert low == pytest.approx(1.0 / high) and high <= error_map.MOST_RATIO and not figure.legends


def test_the_title_of_the_error_map_counts_cells_on_either_side():
    cube = plain_cube().copy(deep=True)
    cube["test_mse_network"].loc[{"depth": 1, "width": 32}] *= 0.25  # of two cells
    cube["test_mse_network"].loc[{"depth": 3, "width": 128, "init_scale": 3.0}] *= 9.0
    mean, half = ratio_of(cube, "ntk_init")
    better, worse = np.exp(mean[mean + half < 0.0]), np.exp(mean[mean - half > 0.0])
    assert len(better) >= 2 and len(worse) >= 1
    times = [error_map.short_number(value) for value in (1.0 / better.min(), worse.max())]
    assert heading(draw(error_map, cube, None)) == (
        f"Networks err less than their own initial NTK in {len(better)} of 8 cells (by up to {times[0]} times), "
        f"more in {len(worse)} (by up to {times[1]} times)"
    )
    assert heading(draw(error_map, one_cell(), None)).endswith("; one draw gives no interval")


def test_a_kernel_that_explodes_has_no_panel_and_does_not_take_the_colours():
    cube = plain_cube().copy(deep=True)
    cube["test_mse_rbf"] *= 1e6
    figure = draw(error_map, cube, None)
    assert "network / RBF" not in [ax.get_title(loc="left") for ax in figure.axes]
    most = np.exp(ratio_of(cube, "rbf")[0].max())
    assert f"in every cell: RBF (network / kernel at most {error_map.short_number(most)})." in said(figure)
    assert figure.axes[1].collections[0].get_clim()[1] < error_map.MOST_RATIO
    cube["test_mse_rbf"].loc[{"n_train": 512}] *= 1e-5  # bad, but not everywhere more than ten times as bad
    cube["test_mse_rbf"] *= 0.5
    figure = draw(error_map, cube, None)
    (panel,) = [ax for ax in figure.axes if ax.get_title(loc="left") == "network / RBF"]
    low, high = panel.collections[0].get_clim()
    assert (low, high) == pytest.approx((1.0 / error_map.MOST_RATIO, error_map.MOST_RATIO))
    assert np.asarray(panel.collections[0].get_array()).max() < low


def test_error_map_stars_cells_whose_networks_were_mostly_not_trained_to_the_end():
    cube = plain_cube().copy(deep=True)
    cube["status"].loc[{"depth": 3, "width": 32, "init_scale": 2.0, "draw": [0, 1]}] = int(Status.BUDGET_SPENT)
    cube["status"].loc[{"depth": 1, "width": 32, "init_scale": 2.0, "draw": 0}] = int(Status.BUDGET_SPENT)
    figure = draw(error_map, cube, None)
    for ax in figure.axes[:-1]:
        assert [text.get_text().endswith("*") for text in ax.texts] == [False] * 4 + [True] + [False] * 3
    assert "at least half" in figure.legends[0].texts[0].get_text()


def test_error_map_hatches_what_is_missing_and_says_so():
    cube = diverge(diverge(plain_cube(), depth=3, width=32), depth=1, width=32, seed=0)
    figure = draw(error_map, cube, plain_laws())
    for ax in figure.axes[:-1]:
        mask = np.ma.getmaskarray(ax.collections[0].get_array()).reshape(4, 2)
        np.testing.assert_array_equal(mask, [[False] * 2, [False] * 2, [True] * 2, [False] * 2])
        assert ax.patch.get_hatch() and len(ax.texts) == 6
        corners = [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Polygon)]
        assert len(corners) == 2
    labels = " ".join(text.get_text() for text in figure.legends[0].texts)
    assert "no value" in labels and "some diverged" in labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3999, "0.40"),
        (0.0432, "0.043"),
        (12.3, "12"),
        (99.7, "100"),
        (1234.0, "1234"),
        (3.2e-7, "3e-7"),
        (1.0, "1.0"),
    ],
)
def test_numbers_in_cells(value, text):
    assert error_map.short_number(value) == text


def test_spectra_and_ratios_are_medians_of_networks():
    cube, figure = plain_cube(), plain_figure(kernel_spectra)
    values = cube["kernel_spectrum"].values[:, :, :, -1].astype(float)  # (depth, width, scale, draw, seed, epoch, mode)
    values = values.reshape(*values.shape[:3], -1, *values.shape[5:])
    ratios = np.median(values[..., -1, :] / values[..., 0, :], axis=3)
    spectra, narrow, wide = figure.axes[3:]  # of the second depth
    for scale, label in enumerate(("2", "3")):
        first = np.median(values[1, 1, scale, :, 0], axis=0)
        np.testing.assert_allclose(lines(spectra)[f"initial {label}"].get_ydata(), first, rtol=1e-12)
        for width, ax in enumerate((narrow, wide)):
            drawn = lines(ax)[f"ratio {label}"]
            np.testing.assert_allclose(drawn.get_ydata(), ratios[1, width, scale], rtol=1e-12)
            np.testing.assert_array_equal(drawn.get_xdata(), np.arange(1, values.shape[-1] + 1))
    assert narrow.get_ylim() == wide.get_ylim() == figure.axes[1].get_ylim()
    (a, b), (c, d) = ((ratios[:, i].min(), ratios[:, i].max()) for i in (0, 1))
    expected = f"by the factors {a:.2g} to {b:.2g} at width 32, {c:.2g} to {d:.2g} at width 128 (n = 512)"
    assert heading(figure) == f"Training changes eigenvalues of the NTK {expected}"


def test_eigenvalues_that_are_rounding_have_no_ratio():
    cube = one_cell()
    cube["kernel_spectrum"].loc[{"mode": cube["mode"].values[-2:]}] *= 1e-8
    for ax in draw(kernel_spectra, cube, None).axes:
        (line,) = lines(ax).values()
        assert len(line.get_xdata()) == cube.sizes["mode"] - 2


def test_last_checkpoint_of_each_network_is_its_own():
    spectra = np.arange(36.0).reshape(3, 4, 3)
    spectra[0, 3], spectra[1, 2:], spectra[2, 1:] = np.nan, np.nan, np.nan
    last = kernel_spectra.last_checkpoint(xr.DataArray(spectra, dims=("network", "epoch", "mode")))
    np.testing.assert_array_equal(last, [spectra[0, 2], spectra[1, 1], [np.nan] * 3])  # the third never trained
    bands = kernel_spectra.network_quantiles(np.array([[2.0, 0.0], [4.0, -1.0], [np.nan, 1.0]]))
    np.testing.assert_allclose(bands[:, 0], [2.2, 3.0, 3.8])
    assert np.isnan(bands[:, 1]).all()  # one network of three has a value


def test_exponents_and_differences_with_their_whiskers():
    laws, figure = plain_laws(), plain_figure(scaling_exponents)
    exponents, differences = figure.axes[4], figure.axes[6]  # second depth, first init scale
    here = laws.isel(depth=1, width=-1, init_scale=0)
    for ax, variable in ((exponents, "exponent"), (differences, "exponent_difference")):
        law = here.sel(predictor="ntk_init")
        dot = lines(ax)[f"{variable} ntk_init"]
        assert dot.get_xdata() == [law[variable].item()]
        whiskers = [segment[:, 0] for bar in ax.collections for segment in bar.get_segments()]
        ends = [law[f"{variable}_low"].item(), law[f"{variable}_high"].item()]
        assert any(np.allclose(whisker, ends) for whisker in whiskers)
    assert "exponent_difference network" not in lines(differences)
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in differences.lines)


def test_uncertain_exponents_are_hollow_and_stay_in_the_axes():
    cube = one_cell(draws=3)
    laws = synthetic_laws(cube)
    laws["floor_identifiable"] = xr.where(laws["predictor"] == "network", 1.0, 0.0) * xr.ones_like(laws["exponent"])
    laws["floor_exponent"].loc[{"predictor": "rbf"}] = 5.0
    for name in ("exponent", "exponent_low", "exponent_high", "floor_exponent"):
        laws[name].loc[{"predictor": "nngp"}] = np.nan
    ax = draw(scaling_exponents, cube, laws).axes[0]
    drawn = lines(ax)
    assert drawn["exponent rbf"].get_markerfacecolor() != "white"
    assert drawn["floor_exponent network"].get_markerfacecolor() != "white"
    far = drawn["floor_exponent rbf"]
    assert far.get_markerfacecolor() == "white" and far.get_marker() == ">" and far.get_xdata() == [ax.get_xlim()[1]]
    assert ax.get_xlim()[1] < 2.0
    assert [text.get_text() for text in ax.texts] == ["no fit"]


def test_the_figure_of_exponents_says_what_hollow_is_only_where_something_is():
    cube = one_cell(draws=3)
    laws = synthetic_laws(cube)
    laws["floor_identifiable"] = xr.ones_like(laws["exponent"])
    sure = draw(scaling_exponents, cube, laws)
    laws["floor_identifiable"] *= 0.0
    open_ones = draw(scaling_exponents, cube, laws)
    for figure, there in ((sure, False), (open_ones, True)):
        assert any("hollow" in text.get_text() for text in figure.legends[0].texts) == there
        assert ("Hollow and grey: no interval to trust" in said(figure)) == there


def test_the_title_of_exponents_counts_cells_in_which_they_differ():
    law = plain_laws().isel(width=-1).sel(predictor="ntk_init")
    more, less = int((law["exponent_difference_low"] > 0).sum()), int((law["exponent_difference_high"] < 0).sum())
    values = law["exponent_difference"].values
    assert heading(plain_figure(scaling_exponents)).endswith(
        f"higher for networks than for their own initial NTK in {more}, lower in {less} of 4 cells "
        f"(differences {values.min():+.3f} to {values.max():+.3f})"
    )
    assert more > 0


def test_interval_is_over_draws_of_the_mean_of_seeds():
    values = np.random.default_rng(4).lognormal(size=(3, 4, 5))
    values[0, 1, 2], values[1, 1] = np.nan, np.nan
    array = xr.DataArray(values, dims=("width", "draw", "seed"))
    for logarithmic in (False, True):
        mean, low, high = curves.draw_interval(array, logarithmic=logarithmic, confidence=0.9)
        numbers = np.log(values) if logarithmic else values
        for i in range(3):
            by_draw = [np.nanmean(numbers[i, d]) for d in range(4) if np.isfinite(values[i, d]).any()]
            ends = t.interval(0.9, len(by_draw) - 1, np.mean(by_draw), np.std(by_draw, ddof=1) / np.sqrt(len(by_draw)))
            expected = np.array([np.mean(by_draw), *ends])
            expected = np.exp(expected) if logarithmic else expected
            np.testing.assert_allclose([mean[i], low[i], high[i]], expected, rtol=1e-10)
    single = curves.draw_interval(array.isel(draw=[0]), logarithmic=True)
    assert np.isfinite(single[0]).all() and np.isnan(single[1]).all() and np.isnan(single[2]).all()


def test_zero_errors_have_no_logarithm_and_are_left_out():
    array = xr.DataArray([[0.0, 4.0], [1.0, 4.0], [0.0, 0.0]], dims=("n_train", "draw"))
    mean, _, _ = curves.draw_interval(array, logarithmic=True)
    np.testing.assert_allclose(mean, [4.0, 2.0, np.nan])


def test_files_are_reproducible_and_whole(tmp_path):
    names = ("a.svg", "a.png", "b.svg", "b.png")
    cube = one_cell(draws=2)
    for svg, png in (names[:2], names[2:]):
        figure = draw(kernel_spectra, cube, synthetic_laws(cube))
        save_figure(figure, tmp_path / "new" / svg, tmp_path / "new" / png, 60)
    a_svg, a_png, b_svg, b_png = ((tmp_path / "new" / name).read_bytes() for name in names)
    assert a_svg == b_svg and a_png == b_png
    assert (
        a_png.startswith(b"\x89PNG")
        and b"</svg>" in a_svg[-20:]
        and b"<text" not in a_svg
        and b"<dc:date>" not in a_svg
    )
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    figure = matplotlib.figure.Figure()
    target = tmp_path / "figure.svg"
    target.write_text("old")

    def broken(path, **_):
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, target, tmp_path / "figure.png", 60)
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["figure.svg"]


def test_the_session_keeps_its_own_look():
    before = dict(matplotlib.rcParams)
    matplotlib.rcParams["font.size"] = 31.0
    try:
        cube = one_cell()
        figure = draw(kernel_drift, cube, synthetic_laws(cube))
        assert matplotlib.rcParams["font.size"] == 31.0
        assert figure.axes[0].xaxis.label.get_fontsize() == theme(STYLE)["axes.labelsize"]
    finally:
        matplotlib.rcParams.update(before)


@pytest.mark.parametrize(("count", "places"), [(3, [0, 1, 2]), (5, [0, 2, 4]), (6, [0, 2, 5])])
def test_readable_subset_has_first_and_last(count, places):
    cube = xr.Dataset(coords={"depth": np.arange(count)})
    selection = look.readable_subset(cube, {"depth": 3})
    np.testing.assert_array_equal(selection.cube["depth"], places)
    assert selection.note == ("" if count == 3 else f"Shown: 3 of {count} depths, from first to last.")


@pytest.mark.parametrize(("low", "high"), [(0.84, 0.89), (1.02, 1.98), (0.5, 0.5001), (3e-7, 3.3e-7), (1.0, 1e9)])
def test_a_log_axis_has_ticks_however_little_it_spans(low, high):
    figure = plt.figure()
    ax = figure.subplots()
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    look.log_ticks(ax.yaxis, (low, high))
    ticks = ax.get_yticks()
    labels = [text.get_text() for text in ax.get_yticklabels()]
    plt.close(figure)
    assert len(ticks) >= 2 and ticks.min() >= low * 0.999 and ticks.max() <= high * 1.001
    assert len(set(labels)) == len(labels) and "" not in labels


@pytest.mark.parametrize("module", [kernel_drift, kernel_alignment, learning_curves])
def test_no_title_breaks_at_an_equals_sign(module):
    for width in (8, 16, 32, 64, 128, 4096):
        cube = one_cell(n_train=(width // 4, width // 2, width))
        title = draw(module, cube, synthetic_laws(cube)).get_suptitle()
        assert "=\n" not in title and "\n=" not in title and "\N{NO-BREAK SPACE}" not in title


def test_figures_say_what_their_cube_says_and_draw_the_same_networks_once():
    cube = plain_cube().assign_attrs(
        notices="my_net.py:build has 3 BatchNorm2d, which are off\nmy_net.py:build ignores width",
        same_networks='{"width": [[32, 128]]}',
    )
    with notices_of([cube]) as (shown,):
        figure = kernel_drift.draw(shown, STYLE)
    assert shown["width"].values.tolist() == [32]
    text = " ".join(figure.texts[-1].get_text().split())
    for sentence in (
        "3 BatchNorm2d, which are off",
        "ignores width",
        "The widths 32, 128 have the same networks: drawn is 32.",
    ):
        assert sentence in text
    assert set(lines(figure.axes[0])) == {"2.0 32", "3.0 32"}
    check_layout(figure)
    assert "BatchNorm2d" not in kernel_drift.draw(cube, STYLE).texts[-1].get_text()
