"""A figure is one file: the page's own, beside a config, drawn and captioned; edited, drawn anew and nothing else."""

import re

import numpy as np
import pytest
from recipes import run_study, write_recipe
from synthetic_cube import synthetic_cube

from ntk_atlas.config import ExperimentSettings
from ntk_atlas.figures import FIGURES, FigureSettings
from ntk_atlas.study import figures_of

GRID = {"depth": [1], "width": [4, 8], "init_scale": [2.0], "n_train": [8], "draws": 2, "seeds": 2}
EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 16, "n_test": 32},
    "grid": GRID,
    "training": {"max_epochs": 2, "checkpoints": {"epochs": [0, 2], "n_probe": 4}},
    "regression": {"predictors": []},
    "show": ["kernel_drift", "my_figure.py:error_spread"],
}
DRAWN = "results/mine/figures/error_spread.svg"


def test_the_pages_figure_is_drawn_where_it_makes_sense(tmp_path):
    name = f"{write_recipe('my_figure.py', tmp_path)}:error_spread"

    def shown(draws):
        settings = ExperimentSettings(grid=GRID | {"draws": draws}, show=[name, "kernel_drift"])
        return figures_of(settings, has_classes=True)

    assert shown(2) == ("kernel_drift", name) and shown(1) == ("kernel_drift",)
    cube = synthetic_cube(np.random.default_rng(0), depth=(1, 2), width=(8,), draws=2, seeds=3)
    (axes,) = FIGURES.work(name, "draw")(cube, FigureSettings()).axes
    cells = cube.sizes["depth"] * cube.sizes["init_scale"]
    errors = cube["test_mse_network"].isel(n_train=-1, width=0)
    assert len(axes.lines) == cells and axes.get_yscale() == "log"
    assert set(axes.lines[0].get_ydata()) == set(errors.isel(depth=0, init_scale=0).values.ravel())


@pytest.mark.slow
def test_a_figure_is_one_file(tmp_path):
    file = write_recipe("my_figure.py", tmp_path)
    study = {"experiments": {"mine": EXPERIMENT}}
    run_study(tmp_path, study, DRAWN)
    assert (tmp_path / DRAWN).read_bytes().startswith(b"<?xml")
    assert (tmp_path / DRAWN).with_suffix(".png").stat().st_size > 5000

    file.write_text(file.read_text().replace("alpha=0.5", "alpha=0.4"))
    said = run_study(tmp_path, study, "-n", DRAWN)
    assert set(re.findall(r"^(\w+) +(\d+)$", said, re.M)) == {("plot_figure", "1"), ("total", "1")}
    run_study(tmp_path, study, "--report", "report.html", DRAWN)
    assert "how far draws and seeds scatter.</p>" in (tmp_path / "report.html").read_text()
