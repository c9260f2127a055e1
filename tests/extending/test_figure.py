"""A figure is one file: the page's own, beside a config, drawn and captioned; edited, drawn anew and nothing else."""

import re

from recipes import run_study, write_recipe

EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 16, "n_test": 32},
    "grid": {"depth": [1], "width": [4, 8], "init_scale": [2.0], "n_train": [8], "draws": 2, "seeds": 2},
    "training": {"max_epochs": 2, "checkpoints": {"epochs": [0, 2], "n_probe": 4}},
    "regression": {"predictors": []},
    "show": ["kernel_drift", "my_figure.py:error_spread"],
}
DRAWN = "results/mine/figures/error_spread.svg"


def test_a_figure_is_one_file(tmp_path):
    file = write_recipe("my_figure.py", tmp_path)
    study = {"experiments": {"mine": EXPERIMENT}}
    run_study(tmp_path, study, DRAWN)
    assert (tmp_path / DRAWN).read_bytes().startswith(b"<?xml")
    assert (tmp_path / DRAWN).with_suffix(".png").stat().st_size > 5000

    file.write_text(file.read_text().replace("alpha=0.5", "alpha=0.4"))
    said = run_study(tmp_path, study, "-n", DRAWN)
    assert set(re.findall(r"^(\w+) +(\d+)$", said, re.M)) == {("plot_figure", "1"), ("total", "1")}
