"""The phase diagram: its line is the critical line, its points are the experiment's, in all activations there are."""

import warnings

import numpy as np
import pytest
from synthetic_cube import synthetic_cube

from ntk_atlas.config import ExperimentSettings, FigureSettings
from ntk_atlas.figures import phase_diagram
from ntk_atlas.figures.parts import save_figure
from ntk_atlas.figures.parts.look import MAX_WIDTH
from ntk_atlas.phases import critical_init_scale, phase_at


def cube_of(activation, init_scale, bias_variance=0.0):
    small = {"depth": [1], "width": [8], "n_train": [8], "init_scale": list(init_scale)}
    cube = synthetic_cube(np.random.default_rng(0), **small, draws=1, seeds=1, predictors=("network",))
    phases = [phase_at(activation, scale, bias_variance) for scale in init_scale]
    coordinates = {"phase": "name", "chi_1": "chi_1", "xi_1": "xi_1"}
    cube = cube.assign_coords(
        {name: ("init_scale", [getattr(phase, field) for phase in phases]) for name, field in coordinates.items()}
    )
    network = {"activation": activation, "bias_variance": bias_variance}
    settings = ExperimentSettings.model_validate({"dataset": {"source": "digits"}, "grid": small, "network": network})
    return cube.assign_attrs(config=settings.canonical_json())


def draw(cube, style=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return phase_diagram.draw(cube, style or FigureSettings())


def critical_path(figure):
    (line,) = [artist for artist in figure.axes[0].collections if artist.get_gid() == "critical line"]
    return np.concatenate([path.vertices for path in line.get_paths()])


def words(figure):
    return {text.get_text(): text.get_position() for text in figure.axes[0].texts}


EXPERIMENTS = [
    ("relu", (1.0, 2.0, 3.0), 0.0),
    ("tanh", (0.5, 1.0, 1.761, 3.0), 0.05),
    ("sigmoid", (4.0, 20.0, 103.0, 300.0), 0.0),
    ("gelu", (1.0, 2.5), 0.0),
]


@pytest.mark.parametrize(("activation", "scales", "bias"), EXPERIMENTS[:3])
def test_the_line_is_the_critical_line(activation, scales, bias):
    path = critical_path(draw(cube_of(activation, scales, bias)))
    assert path[:, 1].max() > 0.9
    for x, y in path[:: len(path) // 12]:
        # At σ_b² near 0 the line of tanh is flat: a step of the grid there is some of σ_w².
        assert x == pytest.approx(critical_init_scale(activation, max(y, 0.0)), rel=2e-3, abs=0.02)


@pytest.mark.parametrize(("activation", "scales", "bias"), EXPERIMENTS)
def test_points_words_and_layout(activation, scales, bias):
    cube = cube_of(activation, scales, bias)
    figure = draw(cube)
    ax = figure.axes[0]
    for phase in ("ordered", "critical", "chaotic"):
        points = [line for line in ax.lines if line.get_gid() == f"experiment {phase}"]
        expected = cube["init_scale"].values[cube["phase"].values == phase]
        np.testing.assert_array_equal(points[0].get_xdata() if points else [], expected)
        assert not points or set(points[0].get_ydata()) == {bias}
    for phase in ("ordered", "chaotic"):
        assert phase_at(activation, *words(figure)[phase]).name == phase  # the word stands in its phase
    assert ax.get_xscale() == ("log" if activation == "sigmoid" else "linear")
    assert ax.get_xlim()[0] < min(scales) and ax.get_xlim()[1] > max(scales)
    renderer, size = figure.canvas.get_renderer(), figure.get_size_inches()
    drawn = figure.get_tightbbox(renderer)
    assert drawn.x0 >= -0.01 and drawn.y0 >= -0.01 and drawn.x1 <= size[0] + 0.01 and drawn.y1 <= size[1] + 0.01
    assert size[0] <= MAX_WIDTH
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title(loc="left")


def test_the_title_states_the_finding():
    heading = draw(cube_of("tanh", (1.0, 1.761, 3.0), 0.05)).get_suptitle()
    assert "tanh is critical at init scale 1.761; this experiment: 1 ordered, 1 critical, 1 chaotic" in " ".join(
        heading.split()
    )


def test_a_jump_of_the_phase_is_not_called_critical():
    figure = draw(cube_of("gelu", (1.0, 2.5)))
    text = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert "gelu has no critical init scale" in " ".join(figure.get_suptitle().split())
    assert "jumps past 1 where the variance of gelu networks starts to grow without end" in text
    path = critical_path(figure)
    low = path[path[:, 1] < 0.05][:, 0]
    assert 2.05 < low.min() <= low.max() < 2.25
    assert "jumps" not in " ".join(text.get_text() for text in draw(cube_of("relu", (1.0,))).texts)


def test_a_single_scale_in_one_phase_and_an_activation_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_phi.py").write_text("import torch\n\ndef phi(u):\n    return torch.atan(u)\n")
    figure = draw(cube_of("my_phi.py:phi", (0.4,)), FigureSettings(palette="cividis", context="talk"))
    assert "my_phi.py:phi is critical at init scale 1;" in " ".join(figure.get_suptitle().split())
    assert set(words(figure)) >= {"ordered"}


def test_levels_are_the_values_they_say():
    """ReLU: χ₁ = σ_w²/2, so the curve that says 0.5 is at 1."""
    ax = draw(cube_of("relu", (1.0, 2.0, 3.0))).axes[0]
    said = {float(text.get_text()): text.get_position()[0] for text in ax.texts if text.get_text()[0].isdigit()}
    assert {0.5, 0.7, 1.5} <= set(said)
    for level, x in said.items():
        assert x == pytest.approx(2.0 * level, abs=0.03)


def test_equal_cubes_give_equal_files(tmp_path):
    for name in ("a", "b"):
        save_figure(draw(cube_of("relu", (1.0, 2.0))), tmp_path / f"{name}.svg", tmp_path / f"{name}.png", 60)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
