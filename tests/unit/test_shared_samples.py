"""What draws have in common: its variance, and the two intervals that follow from it."""

import numpy as np
import pytest
import xarray as xr
from synthetic_cube import synthetic_cube

from ntk_atlas.config import ScalingSettings
from ntk_atlas.cubes import errors_without_folds, fit_cube
from ntk_atlas.judging import at_largest_n, cell_estimate, ratio_estimate
from ntk_atlas.statistics import combination, common_variance, from_replicates

N_FOLDS = 8


def cube_of(errors, fold_of, *, shared_train=0.0):
    """A cube with the mean squared errors of samples, `(n_draws, n_samples)`, NaN where a sample is no test sample."""
    errors = np.asarray(errors, dtype=float)
    member = np.stack([fold_of == g for g in range(N_FOLDS)]).astype(float)
    size = np.isfinite(errors) @ member.T
    with np.errstate(invalid="ignore"):
        parts = np.nan_to_num(errors) @ member.T / size
    share = np.isfinite(errors).mean()
    return xr.Dataset(
        {
            "test_mse_network": (("draw", "seed"), np.nanmean(errors, 1)[:, None]),
            "test_mse_folds_network": (("draw", "seed", "test_fold"), parts[:, None]),
            "test_fold_size": (("draw", "test_fold"), size),
            "shared_test": share,
            "shared_train": shared_train,
        },
        coords={"predictor": ["network"]},
    )


def overlapping_draws(generator, draws=6, n_samples=400, n_test=120, own=1.0):
    """Errors that are a sample's own, the same in every draw."""
    loss = np.exp(own * generator.standard_normal(n_samples))
    errors = np.full((draws, n_samples), np.nan)
    for draw in range(draws):
        test = generator.permutation(n_samples)[:n_test]
        errors[draw, test] = loss[test]
    return errors, np.arange(n_samples) % N_FOLDS


def test_without_a_fold_the_error_is_the_mean_over_the_other_samples():
    errors, fold_of = overlapping_draws(np.random.default_rng(0))
    left = errors_without_folds(cube_of(errors, fold_of), "network")
    for fold in range(N_FOLDS):
        expected = np.nanmean(np.where(fold_of == fold, np.nan, errors), 1)
        np.testing.assert_allclose(left.sel(left_out=fold + 1).squeeze().values, expected, rtol=1e-12)
    np.testing.assert_allclose(left.sel(left_out=0).squeeze().values, np.nanmean(errors, 1), rtol=1e-12)


def test_the_covariance_of_two_draws_is_found_on_average():
    """Errors that are each sample's own: two draws of m of N samples have the covariance Var(loss)/N."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(300):
        errors, fold_of = overlapping_draws(generator, own=0.5)
        found.append(cell_estimate(errors_without_folds(cube_of(errors, fold_of), "network")).common)
    variance = (np.exp(0.25) - 1) * np.exp(0.25)
    assert np.mean(found) == pytest.approx(variance / 400, rel=0.1)


def test_a_common_test_set_is_all_in_common():
    """The same test samples in every draw: the draws agree, and all of the uncertainty is that of the samples."""
    generator = np.random.default_rng(2)
    errors = np.tile(np.exp(generator.standard_normal(400)), (5, 1))
    estimate = cell_estimate(errors_without_folds(cube_of(errors, np.arange(400) % N_FOLDS), "network"))
    assert estimate.error_low == pytest.approx(0.0, abs=1e-12)
    folds = errors[0].reshape(-1, N_FOLDS).mean(0)
    assert estimate.common == pytest.approx(folds.var(ddof=1) / N_FOLDS)


def test_what_two_predictors_have_in_common_drops_out_of_their_ratio():
    errors, fold_of = overlapping_draws(np.random.default_rng(3))
    network = errors_without_folds(cube_of(errors, fold_of), "network")
    ratio = ratio_estimate(2.0 * network, network)
    assert ratio.common == pytest.approx(0.0, abs=1e-24)
    assert ratio.interval(0.95) == pytest.approx((2.0, 2.0, 2.0))


def test_whole_test_sets_alone_have_the_interval_of_this_data_set():
    """What is picked from errors without folds keeps their coordinates, and is estimated all the same."""
    errors, fold_of = overlapping_draws(np.random.default_rng(6))
    values = errors_without_folds(cube_of(errors, fold_of), "network")
    whole = cell_estimate(values.isel(left_out=0))
    assert whole.interval(0.95, new_data=False) == cell_estimate(values).interval(0.95, new_data=False)


def test_disjoint_draws_share_nothing():
    errors, fold_of = overlapping_draws(np.random.default_rng(4))
    cube = cube_of(errors, fold_of)
    cube["shared_test"] = 0.0
    estimate = cell_estimate(errors_without_folds(cube, "network"))
    assert estimate.common == 0.0
    assert estimate.interval(0.95) == estimate.interval(0.95, new_data=False)


def test_statistics_without_folds_take_the_bound_less_what_is_of_networks():
    values = np.array([[1.0, 3.0, 2.0]])
    assert common_variance(values, None, 0.5) == pytest.approx(1.0)
    assert common_variance(values, None, 0.5, noise=0.4) == pytest.approx(0.6)
    assert common_variance(values, None, 0.0) == 0.0
    assert np.isnan(common_variance(values, None, 1.0)), "the same training samples in every draw: nothing is known"


def test_training_samples_of_a_movement_count_through_the_cube():
    cube = xr.Dataset(
        {"drift": (("n_train", "draw", "seed"), [[[1.0], [3.0], [2.0]]]), "shared_train": ("n_train", [0.2])},
        {"n_train": [8]},
    )
    estimate = cell_estimate(at_largest_n(cube)["drift"])
    assert estimate.common == pytest.approx(0.25)


def test_intervals_and_p_values_are_for_new_data():
    plain, wide = (from_replicates([1.0, 2.0, 3.0, 4.0], common=c) for c in (0.0, 5.0))
    error = plain.error_low
    for estimate in (plain, wide):
        assert estimate.interval(0.95, new_data=False) == plain.interval(0.95)
    half = plain.interval(0.95)[2] - 2.5
    assert wide.interval(0.95)[2] - 2.5 == pytest.approx(half * np.sqrt(1 + 5.0 / error**2))
    assert wide.p_above(0.0) > plain.p_above(0.0)
    both = combination([wide, plain], [2.0, 1.0])
    assert both.common == 20.0


def test_scaling_laws_have_both_intervals():
    """Where draws overlap the interval for new data contains the other; without overlap they are one."""
    generator = np.random.default_rng(5)
    cube = synthetic_cube(generator, depth=(1,), width=(32,), init_scale=(2.0,), predictors=("network", "ntk_init"))
    cube = cube.drop_dims("test_fold")
    folds = xr.DataArray(1.0 + 0.5 * generator.standard_normal((4, N_FOLDS)), dims=("draw", "test_fold"))
    folds = folds / folds.mean("test_fold")
    bend = 1.0 + 0.1 * xr.DataArray(np.linspace(-1, 1, 5), dims="n_train") * xr.DataArray(
        np.arange(N_FOLDS) - 3.5, dims="test_fold"
    )
    for name in ("network", "ntk_init"):
        cube[f"test_mse_folds_{name}"] = cube[f"test_mse_{name}"] * (folds if name == "ntk_init" else bend)
    cube["test_fold_size"] = ("draw", "test_fold"), np.full((4, N_FOLDS), 10)
    cube["shared_test"], cube["shared_train"] = 0.3, ("n_train", 0.001 * cube["n_train"].values)
    laws = fit_cube(cube, ScalingSettings()).sel(metric="mse", predictor="network").squeeze()
    assert float(laws["exponent_new_data_low"]) < float(laws["exponent_low"])
    assert float(laws["exponent_new_data_high"]) > float(laws["exponent_high"])
    difference = fit_cube(cube, ScalingSettings()).sel(metric="mse", predictor="ntk_init").squeeze()
    assert float(difference["exponent_difference_new_data_high"]) > float(difference["exponent_difference_high"])
    assert np.isnan(fit_cube(cube, ScalingSettings()).sel(metric="error")["exponent_new_data_low"]).all()
    cube["shared_test"], cube["shared_train"] = 0.0, ("n_train", np.zeros(5))
    alone = fit_cube(cube, ScalingSettings()).sel(metric="mse")
    np.testing.assert_array_equal(alone["exponent_new_data_low"], alone["exponent_low"])
