"""Figures of kernel movement and trainability: what is drawn is what the cube holds, and diverged is not untrained."""

import json
import math
import re
import warnings
from functools import cache

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from scipy.stats import t
from synthetic_cube import diverge, synthetic_cube
from test_plotting import check_layout, lines

from ntk_atlas.config import ExperimentSettings, FigureSettings
from ntk_atlas.figures import class_blocks, kernel_heat_maps, kernel_movement, trainability
from ntk_atlas.figures.error_map import short_number
from ntk_atlas.figures.parts import decimals, replicate_interval

STYLE = FigureSettings()
MODULES = (kernel_movement, kernel_heat_maps, class_blocks, trainability)
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
SMALL = {"predictors": ("network", "infinite_ntk"), "n_train": (32, 128), "seeds": 2, "epoch": (0, 1, 3, 10, 100, 400)}


@cache
def plain_cube():
    return synthetic_cube(
        np.random.default_rng(4), depth=(3, 7, 15), width=(32, 64), init_scale=(1.0, 2.0, 3.0), draws=3, **SMALL
    )


def draw(module, cube, style=STYLE):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return module.draw(cube, style)


@cache
def plain_figure(module):
    return draw(module, plain_cube())


def heading(figure):
    return " ".join(figure.get_suptitle().split())


def geometric(values, axis):
    return np.exp(np.log(values).mean(axis))


@each_module
def test_labels_titles_and_layout(module):
    check_layout(plain_figure(module))


@each_module
def test_a_single_cell_and_draw(module):
    cube = synthetic_cube(
        np.random.default_rng(5), depth=(2,), width=(64,), init_scale=(2.0,), draws=1, **SMALL | {"seeds": 1}
    )
    check_layout(draw(module, cube))


@each_module
def test_a_cube_without_one_finite_network(module):
    cube = synthetic_cube(np.random.default_rng(6), depth=(1, 2), width=(64,), init_scale=(1.0, 3.0), draws=2, **SMALL)
    cube = diverge(cube, depth=[1, 2])
    cube["probe_kernel"][:] = np.nan
    check_layout(draw(module, cube))


@each_module
def test_many_cells_in_large_letters(module):
    cube = synthetic_cube(
        np.random.default_rng(7), depth=(0, 1, 2, 3, 4, 6, 7, 8, 9), width=(8, 16, 32, 64, 128), draws=2,
        init_scale=(0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0), n_probe=6, **SMALL | {"seeds": 1},
    )  # fmt: skip
    check_layout(draw(module, cube, FigureSettings(context="talk", palette="cividis")))


@pytest.mark.parametrize("module", [kernel_movement, kernel_heat_maps, trainability])
def test_regression_data(module):
    cube = synthetic_cube(
        np.random.default_rng(8), depth=(1, 2), width=(64,), init_scale=(1.0, 2.0), draws=2, classification=False,
        **SMALL,
    )  # fmt: skip
    figure = draw(module, cube)
    check_layout(figure)
    if module is kernel_heat_maps:
        assert figure.axes[0].get_title(loc="left") == "epoch 0"
        assert not figure.axes[0].lines and "by target" in figure.axes[0].get_ylabel()
    if module is trainability:
        assert not any("error" in ax.get_title(loc="left") for ax in figure.axes)


def test_class_blocks_of_regression_data_are_refused():
    cube = synthetic_cube(np.random.default_rng(9), depth=(1,), width=(8,), draws=1, classification=False, **SMALL)
    with pytest.raises(ValueError, match=r"no classes \(a regression task\): take class_blocks out of `show`"):
        class_blocks.draw(cube, STYLE)


# --- kernel_movement ------------------------------------------------------------------------------------------------


def test_movement_against_depth_is_the_geometric_mean_at_the_largest_size():
    cube, figure = plain_cube(), plain_figure(kernel_movement)
    for i, ax in enumerate(figure.axes[:2]):
        assert ax.get_title(loc="left") == f"width {(32, 64)[i]}"
        for j, scale in enumerate((1, 2, 3)):
            end = cube["kernel_drift"].values[:, i, j, -1, :, :, -1]
            drawn = lines(ax)[f"end {scale}"]
            np.testing.assert_allclose(drawn.get_ydata(), geometric(end, (1, 2)), rtol=1e-12)
            np.testing.assert_allclose(drawn.get_xdata(), cube["depth"], rtol=0.05)
            equal = cube["kernel_drift_at_equal_loss"].values[:, i, j, -1]
            np.testing.assert_allclose(
                lines(ax)[f"equal loss {scale}"].get_ydata(), geometric(equal, (1, 2)), rtol=1e-12
            )
    assert figure.axes[0].get_yscale() == "log"


def test_movement_at_fixed_ratio_takes_its_own_cells():
    """4/32 = 8/64 and 8/32 = 16/64: each panel has two widths, at two depths."""
    cube, figure = plain_cube(), plain_figure(kernel_movement)
    np.testing.assert_allclose(kernel_movement.repeated_ratios(cube), [0.125, 0.25])
    assert len(figure.axes) == 4
    for panel, first in ((2, 0), (3, 1)):
        drawn = lines(figure.axes[panel])["end 2"]
        cells = [cube["kernel_drift"].values[first + k, k, 1, -1, :, :, -1] for k in range(2)]
        np.testing.assert_allclose(drawn.get_ydata(), [geometric(cell, (0, 1)) for cell in cells], rtol=1e-12)
        np.testing.assert_allclose(drawn.get_xdata(), [32, 64], rtol=0.05)


def test_no_second_row_where_no_ratio_repeats():
    figure = draw(kernel_movement, plain_cube().isel(depth=[0, 2]).isel(width=[0]))
    assert len(figure.axes) == 1
    assert "occurs at two widths" in figure.texts[-1].get_text().replace("\n", " ")


def test_networks_that_diverged_are_in_no_mean_and_those_that_did_not_get_there_are_counted():
    cube = diverge(plain_cube(), depth=15, width=32, init_scale=3.0, draw=0)
    cube["kernel_drift_at_equal_loss"].loc[{"depth": 3, "width": 32, "init_scale": 1.0, "draw": [0, 1]}] = np.nan
    figure = draw(kernel_movement, cube)
    ax = figure.axes[0]
    survivors = plain_cube()["kernel_drift"].values[2, 0, 2, -1, 1:, :, -1]
    np.testing.assert_allclose(lines(ax)["end 3"].get_ydata()[-1], geometric(survivors, (0, 1)), rtol=1e-12)
    assert sorted(text.get_text() for text in ax.texts) == ["2/6", "4/6"]
    assert not figure.axes[1].texts


def test_one_draw_has_intervals_over_its_seeds():
    cube = plain_cube().isel(draw=[0])
    values = cube["kernel_drift"].isel(epoch=-1, n_train=-1)
    (mean, low, high), over = replicate_interval(values, logarithmic=True)
    assert over == "seeds"
    logs = np.log(values.values[0, 0, 0, 0])
    half = t.ppf(0.975, 1) * logs.std(ddof=1) / math.sqrt(2)
    place = {"depth": 0, "width": 0, "init_scale": 0}
    ends = [end.isel(place).item() for end in (low, mean, high)]
    np.testing.assert_allclose(np.log(ends), logs.mean() + half * np.array([-1, 0, 1]), rtol=1e-10)
    assert "over seeds" in draw(kernel_movement, cube).texts[-1].get_text().replace("\n", " ")
    assert replicate_interval(plain_cube()["kernel_drift_at_equal_loss"], logarithmic=True)[1] == "draws"


def test_the_title_of_movement_says_what_the_deepest_widest_networks_did():
    values = plain_cube()["kernel_drift"].values[-1, -1, :, -1, :, :, -1]
    numbers = [f"{geometric(phase, (0, 1)):.2g}" for phase in values]
    expected = f"depth 15, width 64: ordered: {numbers[0]}, critical: {numbers[1]}, chaotic: {numbers[2]} at the end"
    assert expected in heading(plain_figure(kernel_movement))


def test_the_title_of_movement_says_in_words_where_no_network_got_to_the_equal_training_error():
    cube = plain_cube().copy(deep=True)
    cube["kernel_drift_at_equal_loss"].loc[{"init_scale": cube["init_scale"].values[0]}] = np.nan
    text = " ".join(heading(draw(kernel_movement, cube)).split())
    assert re.search(
        r"at the end of training; critical: \S+, chaotic: \S+ at equal training error, which no ordered network", text
    )
    cube["kernel_drift_at_equal_loss"][:] = np.nan
    text = " ".join(heading(draw(kernel_movement, cube)).split())
    assert text.endswith("at the end of training; none got to the equal training error") and "–" not in text
    text = " ".join(heading(draw(kernel_movement, diverge(cube, init_scale=3.0))).split())
    assert "at the end of training (of chaotic none was trained to the end); none got" in text and "–" not in text
    text = " ".join(heading(draw(kernel_movement, diverge(cube))).split())
    assert text.endswith("no network was trained to the end; none got to the equal training error")


# --- kernel_heat_maps and class_blocks --------------------------------------------------------------------------------


def test_heat_maps_are_the_kernels_over_their_mean_diagonal():
    cube, figure = plain_cube(), plain_figure(kernel_heat_maps)
    epochs = kernel_heat_maps.chosen_epochs(cube["probe_kernel"])
    assert epochs == [0, 10, 100, 400]
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 12
    for place, ax in enumerate(panels):
        scale, column = divmod(place, 4)
        kernel = cube["probe_kernel"].sel(depth=15, width=32, epoch=epochs[column]).values[scale]
        relative = kernel / np.diag(kernel).mean()
        np.testing.assert_allclose(ax.images[0].get_array(), relative, rtol=1e-12)
        same = np.repeat([0, 1], 12)[:, None] == np.repeat([0, 1], 12)[None]
        expected = f"epoch {epochs[column]}\n{relative[same].mean():.2f} / {relative[~same].mean():.2f}"
        assert ax.get_title(loc="left") == expected
        assert {line.get_ydata()[0] for line in ax.lines} >= {11.5}  # between the 12 samples of each class
    assert len({(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in panels}) == 1


def test_heat_maps_read_in_grey():
    """Lightness falls with the kernel: the luminance of the map is monotone."""
    from matplotlib import colormaps

    cmap = colormaps[plain_figure(kernel_heat_maps).axes[0].images[0].get_cmap().name]
    luminance = cmap(np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < 0).all()


def test_a_network_that_diverged_has_an_empty_panel_that_says_so():
    cube = plain_cube().copy(deep=True)
    cube["probe_kernel"].loc[{"init_scale": 3.0, "epoch": [100, 400]}] = np.nan
    figure = draw(kernel_heat_maps, cube)
    check_layout(figure)
    said = [ax for ax in figure.axes if any("diverged or missing" in text.get_text() for text in ax.texts)]
    assert len(said) == 2 and not any(ax.images for ax in said)
    assert heading(figure).count("→ –") == 1


def test_class_blocks_are_means_over_networks():
    cube, figure = plain_cube(), plain_figure(class_blocks)
    for i in range(2):
        for j in range(3):
            ax = figure.axes[3 * i + j]
            assert ax.get_title(loc="left") == f"depth {(3, 7, 15)[j]}, width {(32, 64)[i]}"
            for k, scale in enumerate((1, 2, 3)):
                for name in ("within_class_ratio", "between_class_ratio"):
                    expected = cube[name].values[j, i, k, -1].mean((0, 1))
                    np.testing.assert_allclose(lines(ax)[f"{name} {scale}"].get_ydata(), expected, rtol=1e-12)


def test_the_title_of_class_blocks_leaves_diverged_networks_out():
    cube = diverge(plain_cube(), depth=15, width=32, init_scale=3.0, draw=0)
    contrast = (plain_cube()["within_class_ratio"] - plain_cube()["between_class_ratio"]).values[2, 0, 2, -1, 1:]
    first, last = contrast[..., 0].mean(), contrast[..., -1].mean()
    assert f"chaotic: {first:.2f} → {last:.2f}" in heading(draw(class_blocks, cube))


def test_a_few_long_intervals_do_not_flatten_the_lines():
    cube = plain_cube().copy(deep=True)
    cube["within_class_ratio"].loc[{"depth": 15, "width": 64, "init_scale": 1.0, "draw": 0}] += 40.0
    cube["within_class_ratio"].loc[{"depth": 15, "width": 64, "init_scale": 1.0, "draw": 1}] -= 40.0
    figure = draw(class_blocks, cube)
    check_layout(figure)
    drawn = np.concatenate([line.get_ydata() for ax in figure.axes for line in ax.lines])
    low, high = figure.axes[0].get_ylim()
    assert low < drawn.min() and drawn.max() < high and high - low < 2.1 * np.ptp(drawn)
    assert "longer than drawn" in figure.texts[-1].get_text()
    assert "longer than drawn" not in plain_figure(class_blocks).texts[-1].get_text()


def test_zeros_and_what_rounds_to_zero_have_no_minus():
    assert decimals(-0.004) == "0.00" and decimals(-0.006) == "-0.01" and short_number(0.0) == "0"


# --- trainability ---------------------------------------------------------------------------------------------------


def map_texts(ax):
    """Texts of a map by (row, column)."""
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in ax.texts}


@cache
def trained_cube():
    return synthetic_cube(
        np.random.default_rng(10), depth=(2, 5, 10, 20), width=(64,), init_scale=(1.0, 1.5, 2.0, 2.5), draws=3, **SMALL
    )


def test_maps_hold_means_over_the_networks_that_did_not_diverge():
    cube = diverge(trained_cube(), depth=20, init_scale=2.5, draw=0)
    cube = diverge(cube, depth=10, init_scale=1.0)
    cube["final_train_mse"].loc[{"depth": 20, "init_scale": 2.5, "draw": 0}] = 1e9  # what it was when it diverged
    figure = draw(trainability, cube)
    check_layout(figure)
    mse, error, condition = figure.axes[:3]
    values = trained_cube()["final_train_mse"].values[:, 0, :, -1]
    drawn = mse.collections[0].get_array()
    expected = geometric(values, (-1, -2))
    expected[3, 3] = geometric(values[3, 3, 1:], (0, 1))
    assert drawn.mask[2, 0] and drawn.mask.sum() == 1  # all diverged: no colour, so never "untrainable"
    np.testing.assert_allclose(drawn[~drawn.mask], expected[~drawn.mask], rtol=1e-12)
    texts = map_texts(mse)
    assert texts[2, 0] == "all 6\ndiverged" and texts[3, 3].endswith("\n2/6 div.")
    assert [patch.get_hatch() for patch in mse.patches] == ["///", "///"]
    wrong = trained_cube()["train_error"].values[:, 0, :, -1, :, :, -1].mean((-1, -2))
    wrong[3, 3] = trained_cube()["train_error"].values[3, 0, 3, -1, 1:, :, -1].mean()
    np.testing.assert_allclose(error.collections[0].get_array()[~drawn.mask], wrong[~drawn.mask], rtol=1e-12)
    kappa = geometric(cube["condition_number_infinite_ntk"].values[:, :, -1, :, 0], -1)
    np.testing.assert_allclose(condition.collections[0].get_array(), kappa, rtol=1e-12)
    assert not condition.patches  # a kernel does not diverge
    assert "8 of 96 networks diverged" in heading(figure)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("div.:" in label for label in labels)


def test_missing_networks_are_neither_trained_nor_diverged():
    cube = trained_cube().copy(deep=True)
    cube["status"].loc[{"depth": 5, "init_scale": 1.5}] = -1
    cube["final_train_mse"].loc[{"depth": 5, "init_scale": 1.5}] = np.nan
    figure = draw(trainability, cube)
    assert map_texts(figure.axes[0])[1, 1] == "missing"
    assert not figure.axes[0].patches and "0 of 90 networks diverged" in heading(figure)


def test_the_title_counts_cells_beyond_the_depth_scale():
    """ln 400 = 6.0; ξ₁ = 1.44, 3.48 at σ_w² = 1, 1.5: beyond 8.6 and 20.8 layers, so (10, 1) and (20, 1)."""
    cube = trained_cube()
    values = geometric(cube["final_train_mse"].values[:, 0, :, -1], (-1, -2))
    untrained = values > 0.5
    beyond = np.zeros_like(untrained)
    beyond[2:, 0] = True
    text = heading(plain := draw(trainability, cube))
    assert "Untrained after 400 steps" in text
    counts = re.search(r"(\d+) of (\d+) ordered cells deeper than 6.0 ξ₁, (\d+) of (\d+) other cells", text)
    expected = [untrained[beyond].sum(), 2, untrained[~beyond].sum(), 14]
    assert [int(number) for number in counts.groups()] == expected
    assert untrained[beyond].all()
    labels = [entry.get_text() for entry in plain.legends[0].get_texts()]
    assert any("6.0" in label and "400 steps" in label for label in labels)


def test_a_diverged_cell_is_in_no_count():
    cube = diverge(trained_cube(), depth=[10, 20], init_scale=1.0)
    text = heading(draw(trainability, cube))
    assert "of 14 cells, none of them ordered and deeper than 6.0 ξ₁" in text and "of 0" not in text


def test_depth_scale_lines_go_through_the_middles_of_cells():
    cube = trained_cube()
    for multiple in (1.0, 4.0):
        x, y = trainability.depth_scale_line(cube, multiple)
        for column, scale in ((0, 1.0), (1, 1.5), (3, 2.5)):
            depth = multiple / abs(math.log(scale / 2.0))
            at = y[np.abs(x - (column + 0.5)).argmin()]
            if not 0.5 <= depth <= 25.0:  # half a cell beyond the rows
                assert np.isnan(at)
            else:
                assert np.interp(depth, [0.5, 2, 5, 10, 20, 25], [0, 0.5, 1.5, 2.5, 3.5, 4]) == pytest.approx(at)
        assert np.isnan(y[np.abs(x - 2.5).argmin()])  # infinite at the critical point


def test_steps_of_a_budget_of_minibatches():
    cube = trained_cube()
    assert trainability.budget_steps(cube) == 400
    grid = {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [32, 128], "draws": 1, "seeds": 1}
    for batch, steps in (("full", 400), (50, 1200)):
        settings = ExperimentSettings.model_validate({"grid": grid, "training": {"batch_size": batch}})
        assert trainability.budget_steps(cube.assign_attrs(config=settings.canonical_json())) == steps


def test_several_learning_rates_are_named():
    grid = {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [128], "draws": 1, "seeds": 1}
    training = {"learning_rate": {"relative": [0.02, 0.1, 0.5]}}
    settings = ExperimentSettings.model_validate({"grid": grid, "training": training})
    figure = draw(trainability, trained_cube().assign_attrs(config=settings.canonical_json()))
    note = figure.texts[-1].get_text().replace("\n", " ")
    assert "best of the learning rates 0.02, 0.1, 0.5" in note
    assert json.loads(settings.canonical_json())["training"]["learning_rate"]["relative"] == [0.02, 0.1, 0.5]


def test_numbers_can_be_read_on_their_cells():
    figure = draw(trainability, trained_cube())
    mesh = figure.axes[0].collections[0]
    colors = mesh.cmap(mesh.norm(mesh.get_array())).reshape(4, 4, 4)
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        dark = np.array(to_rgba(text.get_color())[:3]).mean() < 0.5
        brightness = colors[int(y), int(x), :3] @ [0.2126, 0.7152, 0.0722]
        assert brightness > 0.35 if dark else brightness < 0.65
