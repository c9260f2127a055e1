"""A rival kernel is one file: the page's own, beside a config and in the package, is regressed with and drawn."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from recipes import recipe, run_study, write_recipe
from sklearn.gaussian_process.kernels import Matern

from ntk_atlas.datasets import read_dataset
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.regress_rivals import regress_rivals
from ntk_atlas.kernels import load_user_kernel
from ntk_atlas.study import load_study

EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 16, "n_test": 32},
    "grid": {"depth": (1,), "width": (4,), "init_scale": (2.0,), "n_train": (8, 20), "draws": 1, "seeds": 1},
    "training": {"max_epochs": 2, "checkpoints": {"epochs": (0, 2), "n_probe": 4}},
    "regression": {"predictors": ("matern_5_2", "my_kernel.py:matern_7_2")},
    "show": ("error_map",),
}
NAME = "user_my_kernel_matern_7_2"


@pytest.mark.slow
def test_a_study_with_a_rival_in_a_file(tmp_path):
    write_recipe("my_kernel.py", tmp_path)
    study = json.loads(json.dumps({"experiments": {"mine": EXPERIMENT}}))
    run_study(tmp_path, study, "results/mine/cube.nc", "results/mine/figures/error_map.svg")
    with xr.open_dataset(tmp_path / "results" / "mine" / "cube.nc") as cube:
        assert np.isfinite(cube[f"test_mse_{NAME}"].sel(ridge="tuned")).all()
    assert (tmp_path / "results" / "mine" / "figures" / "error_map.svg").is_file()


def test_it_is_the_kernel_of_its_formula_and_regressed_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recipe("my_kernel.py", tmp_path)
    kernel = load_user_kernel("my_kernel.py:matern_7_2")
    x = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = Matern(1.7, nu=3.5)(x.numpy(), x.numpy()[:4])
    np.testing.assert_allclose(kernel(x, x[:4], 1.7), expected, rtol=1e-9)
    settings = load_study({"experiments": {"mine": EXPERIMENT}}).active()["mine"]
    found = regress_rivals(job_slice("regress_rivals", settings, "+".join((NAME,))), read_dataset(settings.dataset))
    assert np.isfinite(found[f"length_scale_{NAME}"]).all()
    # Targets are ±1, which zero predicts with an error of 1.
    assert (found[f"test_mse_{NAME}"] < 1.0).all() and (found[f"test_mse_{NAME}"] < 0.6).any()


def test_in_the_package_it_is_known_to_config_figures_and_documents(tmp_path):
    """One new file in the folder of rivals: nothing else names it."""
    (tmp_path / "matern_7_2.py").write_text(recipe("my_kernel.py"))
    code = f"""
import ntk_atlas.kernels.rivals
ntk_atlas.kernels.rivals.__path__.append({str(tmp_path)!r})
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label, predictors_of
from ntk_atlas.datasets import read_dataset
from ntk_atlas.figures.parts.look import predictor_styles
from ntk_atlas.registry import value_files
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.regress_rivals import regress_rivals
from ntk_atlas.study.load import load_study
from ntk_atlas.study.documents import keys_markdown
experiment = {EXPERIMENT!r} | {{"regression": {{"predictors": ("rbf", "matern_7_2")}}}}
settings = load_study({{"experiments": {{"mine": experiment}}}}).active()["mine"]
assert predictors_of("rival", settings.regression.predictors) == ("matern_7_2", "rbf")
spec = job_slice("regress_rivals", settings, "matern_7_2")
assert [file.name for file in value_files(spec)] == ["matern_7_2.py"]
assert regress_rivals(spec, read_dataset(settings.dataset))["test_mse_matern_7_2"].size == 4
assert predictor_label("matern_7_2") == "Matérn 7/2" and "`matern_7_2`" in keys_markdown()
styles = predictor_styles(["network", "rbf", "matern_7_2"], FigureSettings())
assert len({{(style.color, style.marker) for style in styles.values()}}) == 3
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
