"""Figure of the output variance: what is drawn is what the file holds, and edge cases draw without warnings."""

import re
import warnings

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from ntk_atlas.config import FigureSettings
from ntk_atlas.figures import output_variance
from ntk_atlas.figures.parts import save_figure

CELL = ("depth", "width", "init_scale", "n_train", "draw")


def dataset(depth=(1, 3), width=(32, 128), init_scale=(1.0, 2.0), n_seeds=50, epochs=(0, 1, 10, 100)):
    """Planted: theory falls as 1/(1 + t), networks have (1 + depth/width) times it, linearizations a tenth more."""
    shape = (len(depth), len(width), len(init_scale), 1, 1, len(epochs))
    lam = np.array(depth)[:, None, None, None, None, None] / np.array(width)[None, :, None, None, None, None]
    ratio = np.broadcast_to(1.0 + lam, shape)
    theory = np.broadcast_to(1.0 / (1.0 + np.array(epochs)), shape)
    probes = np.array([0.5, 1.0, 1.5])
    variables = {"n_networks": (CELL, np.full(shape[:5], n_seeds)), "n_linearized": (CELL, np.full(shape[:5], n_seeds))}
    for source, factor in (("infinite_ntk", np.ones(shape)), ("network", ratio), ("linearized", 1.1 * ratio)):
        variables[f"output_variance_{source}"] = ((*CELL, "epoch", "probe"), (theory * factor)[..., None] * probes)
        if source != "infinite_ntk":
            for end, times in (("", 1.0), ("_low", 0.8), ("_high", 1.3)):
                variables[f"variance_ratio_{source}_infinite_ntk{end}"] = ((*CELL, "epoch"), times * factor)
    coordinates = {"depth": list(depth), "width": list(width), "init_scale": list(init_scale), "n_train": [64]}
    phases = {1.0: "ordered", 2.0: "critical", 3.0: "chaotic"}
    coordinates |= {"draw": [0], "epoch": list(epochs), "phase": ("init_scale", [phases[s] for s in init_scale])}
    return xr.Dataset(variables, coordinates, attrs={"n_seeds": n_seeds, "confidence": 0.95})


def draw(variance):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return output_variance.draw(variance, FigureSettings())


def panels(figure):
    return [ax for ax in figure.axes if ax.has_data()]


def title(figure):
    return " ".join(figure.get_suptitle().split())


def test_panels_are_phase_by_depth_with_the_ratio_below():
    figure = draw(dataset())
    assert len(panels(figure)) == 2 * 2 * 2
    titles = [ax.get_title(loc="left") for ax in panels(figure) if ax.get_title(loc="left")]
    assert titles == [
        f"depth {d}, $\\sigma_w^2$ = {s:g} ({phase})" for d in (1, 3) for s, phase in ((1, "ordered"), (2, "critical"))
    ]


def test_curves_and_bands_are_those_of_the_file():
    variance = dataset(width=(32,))
    figure = draw(variance)
    above, below = figure.axes[0], figure.axes[2]
    here = variance.isel(depth=0, width=0, init_scale=0, n_train=0, draw=0)
    theory = here["output_variance_infinite_ntk"].mean("probe").values
    drawn = {line.get_marker(): line.get_ydata() for line in above.lines}
    np.testing.assert_allclose(drawn["None" if "None" in drawn else ""], theory)
    np.testing.assert_allclose(drawn["o"], theory * (1 + 1 / 32))
    np.testing.assert_allclose(drawn["s"], theory * 1.1 * (1 + 1 / 32))
    ratio = next(line.get_ydata() for line in below.lines if line.get_marker() == "o")
    np.testing.assert_allclose(ratio, 1 + 1 / 32)
    band = above.collections[-1].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.8 * theory[-1] * (1 + 1 / 32), 1.3 * (1 + 1 / 32)])


def test_initialization_has_a_place_on_the_log_axis():
    ax = panels(draw(dataset()))[-1]
    assert ax.get_xscale() == "log" and ax.get_xticklabels()[0].get_text() == "0"
    x = ax.lines[-1].get_xdata()
    assert 0 < x[0] < x[1] == 1.0


def test_the_title_states_smallest_and_largest_final_ratio():
    text = title(draw(dataset()))
    numbers = [float(n) for n in re.findall(r"(\d\.\d+) at depth", text)]
    assert numbers == [1.01, 1.09]
    assert "depth 1, width 128" in text and "depth 3, width 32" in text


def test_networks_left_out_are_named():
    lost = dataset()
    lost["n_networks"][0, 0, 0] = 41
    assert "Diverged and left out at all epochs: up to 9 networks of a panel." in text_of(draw(lost))
    assert "Diverged" not in text_of(draw(dataset()))


def text_of(figure):
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def test_curves_are_told_apart_without_colour():
    figure = draw(dataset())
    lines = figure.axes[0].lines
    assert len({(line.get_marker(), str(line.get_linestyle()), line.get_linewidth()) for line in lines}) == len(lines)
    luminance = sorted({round(float(np.dot(to_rgb(line.get_color()), (0.3, 0.59, 0.11))), 3) for line in lines})
    assert len(luminance) == 3 and min(np.diff(luminance)) > 0.08


@pytest.mark.parametrize("missing", ["networks", "intervals", "infinite", "one cell", "one epoch"])
def test_edge_cases_draw(missing, tmp_path):
    variance = dataset()
    if missing == "networks":
        for name in variance:
            if "network" in name or "linearized" in name:
                variance[name] = variance[name] * np.nan if variance[name].dtype.kind == "f" else variance[name] * 0
    elif missing == "intervals":
        for name in [name for name in variance if str(name).endswith(("_low", "_high"))]:
            variance[name] = variance[name] * np.nan
    elif missing == "infinite":
        variance["variance_ratio_linearized_infinite_ntk_high"][:] = np.inf
    elif missing == "one cell":
        variance = dataset((2,), (8,), (2.0,))
    else:
        variance = dataset(epochs=(0,))
    figure = draw(variance)
    save_figure(figure, tmp_path / "f.svg", tmp_path / "f.png", 40)
    expected = {"networks": "No network was left", "one cell": "1.25 at depth 2, $\\sigma_w^2$ = 2 (critical)"}
    assert expected.get(missing, "measured over predicted") in title(figure)


def test_many_cells_are_cut_to_a_readable_number():
    figure = draw(dataset((1, 2, 4, 8), (8, 16, 32, 64), (1.0, 2.0, 3.0)))
    assert len(panels(figure)) == 2 * 3 * 3
    assert "3 of 4 depths, 3 of 4 widths" in text_of(figure)
