"""Figure of the dispersion: what is drawn is what the file holds, and it draws without warnings at its edges."""

import warnings

import numpy as np
import pytest
from matplotlib.text import Text
from test_dispersion_stage import experiment, sampled

from ntk_atlas.arrays import write_labelled
from ntk_atlas.config import FigureSettings
from ntk_atlas.cubes import assemble_dispersion
from ntk_atlas.figures import dispersion
from ntk_atlas.figures.parts import save_figure
from ntk_atlas.jobs import JOBS, parse_architecture
from ntk_atlas.jobs.parts import RESULTS

CASES = {
    "relu": experiment(init_scale=(1.0, 2.0, 3.0)),
    "ntk": experiment(init_scale=(1.0, 2.0, 3.0), network={"parameterization": "ntk"}, width=(20,)),
    "tanh": experiment(network={"activation": "tanh", "bias_variance": 0.05}, width=(8, 10, 20, 30)),
    "one cell": experiment(init_scale=(2.0,), depth=(3,), width=(20,)),
    "not finite": experiment(init_scale=(1e30,), depth=(3, 4), width=(20,)),
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    made = {}
    for case, settings in CASES.items():
        folder, files = tmp_path_factory.mktemp("dispersion"), {}
        for name in JOBS.head("sample_initial_kernels").names(settings):
            files[parse_architecture(name)] = folder / f"{name}.nc"
            write_labelled(sampled(settings, folder / name, *parse_architecture(name)), folder / f"{name}.nc")
        made[case] = assemble_dispersion(RESULTS["assemble_dispersion"].slice(settings), files, {})
    return made


def drawn(dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return dispersion.draw(dataset, FigureSettings())


def lines(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


@pytest.mark.parametrize("case", CASES)
def test_every_panel_has_a_title_and_every_outer_axis_a_label(datasets, case):
    axes = np.array(drawn(datasets[case]).axes).reshape(2, -1)
    assert all(ax.get_title(loc="left") for ax in axes[0])
    assert all(ax.get_xlabel() for ax in axes[1])
    assert all(ax.get_ylabel() for ax in axes[:, 0])


def test_points_and_lines_are_what_the_file_holds(datasets):
    data = datasets["relu"]
    axes = np.array(drawn(data).axes).reshape(2, -1)
    assert axes.shape[1] == 3  # two widths, and the weights alone
    cell = data.sel(width=20, parameters="all", init_scale=3.0, correlation=1.0)
    upper, lower = lines(axes[0, 1]), lines(axes[1, 1])
    points = np.concatenate([upper[kind].get_ydata() for kind in ("points 3.0", "unreliable 3.0")])
    assert sorted(points) == sorted(cell["ntk_ratio"].values)
    np.testing.assert_array_equal(lower["points 3.0"].get_ydata(), cell["log_ntk_variance"])
    np.testing.assert_array_equal(upper["exact 3.0"].get_ydata(), cell["ntk_ratio_exact"])
    np.testing.assert_array_equal(upper["sum 3.0"].get_ydata(), cell["ntk_ratio_finite_sum"])
    np.testing.assert_array_equal(upper["exponential"].get_ydata(), np.exp(5 * cell["lambda"]))
    np.testing.assert_array_equal(lower["exact 3.0"].get_xdata(), cell["lambda"])


def test_what_is_not_to_be_trusted_has_open_markers(datasets):
    data = datasets["relu"].copy(deep=True)
    data["ntk_ratio_reliable"][:] = 0
    data["ntk_ratio_reliable"].loc[{"depth": 2}] = 1
    upper = lines(drawn(data).axes[0])
    assert len(upper["unreliable 1.0"].get_xdata()) == len(upper["points 1.0"].get_xdata()) == 1
    assert upper["unreliable 1.0"].get_markerfacecolor() == "white"
    assert upper["points 1.0"].get_markerfacecolor() != "white"


def test_the_title_says_what_was_found(datasets):
    def text(case):
        figure = drawn(datasets[case])
        return " ".join(t.get_text() for t in figure.findobj(Text)).replace("\n", " ")

    assert "rises from" in text("relu")
    assert "whatever $\\sigma_w^2$ is" in text("ntk")
    assert "there is no theory for this activation" in text("tanh")
    assert "is not finite" in text("not finite")
    assert "not counted" in text("not finite")


def test_phases_are_told_apart_without_colour(datasets):
    upper = lines(drawn(datasets["relu"]).axes[0])
    markers = {upper[f"points {scale}"].get_marker() for scale in (1.0, 2.0, 3.0)}
    dashes = {
        upper[f"exact {scale}"].get_linestyle() + str(upper[f"exact {scale}"]._dash_pattern) for scale in (1.0, 2.0)
    }
    assert len(markers) == 3
    assert len(dashes) == 2


def test_files_are_reproducible(datasets, tmp_path):
    for name in ("a", "b"):
        save_figure(drawn(datasets["relu"]), tmp_path / f"{name}.svg", tmp_path / f"{name}.png", 60)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
