"""Laws of a cube: which errors have them, and that lines, bands and tables are those of the fits."""

import numpy as np
import pytest
import xarray as xr
from synthetic_cube import synthetic_cube

from ntk_atlas.config import ExperimentSettings, ScalingSettings
from ntk_atlas.cubes import difference_table, fit_cube, law_table, laws_of
from ntk_atlas.scaling_laws import fit_scaling_law

SETTINGS = ScalingSettings(n_train_min=100)


def cube_of(*, loss=None, **changes):
    cube = synthetic_cube(np.random.default_rng(5), depth=(1, 2), width=(16,), init_scale=(2.0,), draws=3, **changes)
    if loss is not None:
        grid = {dim: cube[dim].values.tolist() for dim in ("depth", "width", "init_scale", "n_train")}
        config = ExperimentSettings.model_validate({"grid": grid, "training": {"loss": loss}})
        cube.attrs["config"] = config.model_dump_json()
    return cube


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        ({}, ["mse", "error"]),
        ({"classification": False}, ["mse"]),
        ({"loss": "mse"}, ["mse", "error"]),
        ({"loss": "cross_entropy"}, ["error"]),
    ],
)
def test_errors_that_say_something_have_laws(changes, metrics):
    assert fit_cube(cube_of(**changes), SETTINGS)["metric"].values.tolist() == metrics


def test_data_with_classes_keep_both_errors_where_all_networks_diverged():
    cube = cube_of()
    for metric in ("mse", "error"):
        cube[f"test_{metric}_network"] = np.nan * cube[f"test_{metric}_network"]
    laws = laws_of(fit_cube(cube, SETTINGS), "error")
    assert bool(laws["exponent"].sel(predictor="network").isnull().all())
    assert bool(laws["exponent"].sel(predictor="laplace").notnull().all())


@pytest.mark.parametrize("metric", ["mse", "error"])
def test_laws_of_each_error_are_its_own_fits(metric):
    cube = cube_of()
    laws = laws_of(fit_cube(cube, SETTINGS), metric).sel(predictor="network", depth=2, width=16, init_scale=2.0)
    errors = cube[f"test_{metric}_network"].sel(depth=2, width=16, init_scale=2.0).transpose("draw", "seed", "n_train")
    fit = fit_scaling_law(cube["n_train"].values, errors.values, settings=SETTINGS)
    assert float(laws["exponent"]) == fit.exponent
    there = cube["n_train"].values >= 100
    np.testing.assert_array_equal(np.isfinite(laws["law_error"]), there)
    line = laws["amplitude"].item() * cube["n_train"].values[there] ** -fit.exponent
    np.testing.assert_allclose(laws["law_error"].values[there], line, rtol=1e-10)
    assert (laws["law_error_low"].values[there] < line).all() and (line < laws["law_error_high"].values[there]).all()


def test_tables_name_the_error():
    laws = fit_cube(cube_of(), SETTINGS)
    n_cells, n_predictors = 2, laws.sizes["predictor"]
    assert law_table(laws)["metric"].value_counts().to_dict() == dict.fromkeys(("mse", "error"), n_cells * n_predictors)
    differences = difference_table(laws)
    assert set(differences["metric"]) == {"mse", "error"} and "network" not in set(differences["predictor"])


def test_exponents_differ_over_the_n_that_both_predictors_have():
    """The network's own curve as that of a kernel that is singular at the largest n: no difference out of nothing."""
    cube = cube_of()
    bend = np.where(cube["n_train"] == cube["n_train"].max(), 1.5, 1.0)
    cube["test_mse_network"] = cube["test_mse_network"] * xr.DataArray(bend, dims="n_train")
    same = cube["test_mse_network"].expand_dims(ridge=cube["ridge"]).transpose(*cube["test_mse_ntk_init"].dims)
    cube["test_mse_ntk_init"] = same.where(cube["n_train"] < cube["n_train"].max())
    laws = laws_of(fit_cube(cube, ScalingSettings(n_train_min=0)), "mse")
    assert float(abs(laws.sel(predictor="ntk_init")["exponent_difference"]).max()) == 0.0
    own = laws["exponent"]
    assert float((own.sel(predictor="network") - own.sel(predictor="ntk_init")).max()) < -0.01, "of different n"
