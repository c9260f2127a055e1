import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from ntk_atlas.config import ScalingSettings
from ntk_atlas.scaling_laws import ScalingFit, fit_scaling_law
from ntk_atlas.streams import numpy_stream

SIZES = np.array([64, 128, 256, 512, 1024, 2048, 4096])
SETTINGS = ScalingSettings()


def errors_of(log_law, *, n_draws=4, n_seeds=3, scale=0.03, name="fit") -> np.ndarray:
    rng = numpy_stream(name, n_draws, n_seeds)
    return np.exp(log_law + scale * rng.normal(size=(n_draws, n_seeds, len(log_law))))


def with_floor(exponent=0.8, floor=0.05, amplitude=20.0):
    return np.log(floor + amplitude * SIZES**-exponent)


def pure(exponent=0.4):
    return 0.3 - exponent * np.log(SIZES)


def numbers(fit: ScalingFit) -> np.ndarray:
    values = [getattr(fit, field.name) for field in dataclasses.fields(fit)]
    return np.array([value for value in values if isinstance(value, float)])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(0.3, 1.5), st.floats(-6.0, 3.0), st.floats(-1.0, 1.0))
def test_planted_floor_law_is_recovered_with_little_noise(exponent, log_level, log_ratio):
    decaying = log_level - exponent * (np.log(SIZES) - np.log(SIZES).mean())
    floor = np.exp(log_level + log_ratio)
    fit = fit_scaling_law(SIZES, errors_of(np.log(floor + np.exp(decaying)), scale=1e-5), settings=SETTINGS)
    assert fit.floor_identifiable, fit.note
    assert fit.floor_exponent == pytest.approx(exponent, rel=2e-3)
    assert fit.irreducible_error == pytest.approx(floor, rel=2e-3)
    assert fit.floor_exponent_low < fit.floor_exponent < fit.floor_exponent_high < 1.02 * exponent
    assert fit.irreducible_error_low < fit.irreducible_error < fit.irreducible_error_high
    assert fit.aicc_difference > 10


def test_pure_law_is_recovered_and_no_floor_is_claimed():
    fit = fit_scaling_law(SIZES, errors_of(pure(), scale=1e-3), settings=SETTINGS)
    assert fit.exponent == pytest.approx(0.4, abs=1e-3)
    assert fit.exponent_low < 0.4 < fit.exponent_high
    assert fit.log_amplitude_low < 0.3 < fit.log_amplitude_high
    assert not fit.floor_identifiable
    assert fit.irreducible_error_low == 0.0
    assert "irreducible error not identifiable" in fit.note
    assert fit.aicc_difference < 3
    assert fit.holdout_inside is True
    assert fit.n_points == 4 * 3 * 7 and fit.n_left_out == 0


def test_law_without_noise_has_an_interval_of_no_width():
    errors = np.broadcast_to(np.exp(with_floor()), (4, 2, 7))
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert fit.floor_identifiable, fit.note
    np.testing.assert_allclose([fit.floor_exponent_low, fit.floor_exponent_high], 0.8, rtol=1e-4)
    np.testing.assert_allclose([fit.irreducible_error_low, fit.irreducible_error_high], 0.05, rtol=1e-4)


def test_draw_exponents_are_means_over_seeds_of_fits_per_member():
    errors = errors_of(pure())
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    slopes = [[-np.polyfit(np.log(SIZES), np.log(curve), 1)[0] for curve in draw] for draw in errors]
    np.testing.assert_allclose(fit.draw_exponents, np.mean(slopes, axis=1), rtol=1e-10)
    assert fit.exponent == pytest.approx(fit.draw_exponents.mean(), rel=1e-12)


def test_order_of_sizes_draws_and_seeds_does_not_matter():
    errors = errors_of(with_floor())
    errors[1, 2, 3] = np.nan
    rng = numpy_stream("order")
    sizes, draws, seeds = rng.permutation(7), rng.permutation(4), rng.permutation(3)
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    shuffled = fit_scaling_law(SIZES[sizes], errors[draws][:, seeds][..., sizes], settings=SETTINGS)
    np.testing.assert_allclose(numbers(shuffled), numbers(fit), rtol=1e-5)
    np.testing.assert_allclose(shuffled.draw_exponents, fit.draw_exponents[draws], rtol=1e-12)
    assert shuffled.note == fit.note


def test_error_times_c_leaves_exponents_and_scales_the_rest():
    errors = errors_of(with_floor())
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    scaled = fit_scaling_law(SIZES, 1e4 * errors, settings=SETTINGS)
    for name in ("exponent", "exponent_low", "exponent_high", "aicc_difference"):
        assert getattr(scaled, name) == pytest.approx(getattr(fit, name), rel=1e-6), name
    for name in ("floor_exponent", "floor_exponent_low", "floor_exponent_high"):
        assert getattr(scaled, name) == pytest.approx(getattr(fit, name), rel=1e-4), name
    for name in ("irreducible_error", "holdout_predicted", "holdout_low", "holdout_high", "holdout_measured"):
        assert getattr(scaled, name) == pytest.approx(1e4 * getattr(fit, name), rel=1e-6), name
    assert scaled.log_amplitude == pytest.approx(fit.log_amplitude + np.log(1e4), abs=1e-9)


def test_fit_range_rule_is_kept_and_recorded():
    errors = errors_of(pure())
    errors[..., :2] = 7.0  # would spoil the exponent
    fit = fit_scaling_law(SIZES, errors, settings=ScalingSettings(n_train_min=256))
    same = fit_scaling_law(SIZES[2:], errors[..., 2:], settings=SETTINGS)
    assert fit.n_train_min == 256
    assert fit.n_train_fitted == (256, 512, 1024, 2048, 4096)
    assert fit.exponent == same.exponent
    assert fit.n_left_out == 0


def test_band_is_the_interval_of_the_draws_laws():
    errors = errors_of(pure())
    fit = fit_scaling_law(SIZES, errors, settings=ScalingSettings(n_train_min=256))
    slopes, offsets = np.polyfit(np.log(SIZES[2:]), np.log(errors[..., 2:]).mean(1).T, 1)
    for place, n in enumerate(SIZES[2:]):
        laws = offsets + slopes * np.log(n)
        half = stdtrit(len(laws) - 1, 0.975) * laws.std(ddof=1) / np.sqrt(len(laws))
        ends = (fit.log_law.low[place], fit.log_law.value[place], fit.log_law.high[place])
        assert ends == pytest.approx((laws.mean() - half, laws.mean(), laws.mean() + half), abs=1e-10)
    np.testing.assert_allclose(fit.log_law.value, fit.log_amplitude - fit.exponent * np.log(SIZES[2:]), atol=1e-10)


def test_missing_points_are_left_out_and_counted():
    errors = errors_of(pure())
    errors[0, 0, 1], errors[1, 1, 2], errors[2, 2, :5] = np.nan, np.inf, -1.0
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert fit.n_left_out == 2 + 7  # two points, and a member with only two sizes
    assert fit.n_points == errors.size - 9
    assert fit.exponent == pytest.approx(0.4, abs=0.03)
    assert "9 further cells left out" in fit.note


def test_size_without_any_measurement_is_no_part_of_the_fit():
    errors = errors_of(pure())
    errors[..., -1] = np.nan
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert fit.n_train_fitted == tuple(SIZES[:-1])
    assert fit.holdout_n_train == 2048
    assert fit.exponent == fit_scaling_law(SIZES[:-1], errors[..., :-1], settings=SETTINGS).exponent


def test_zero_errors_are_left_out_and_named():
    errors = errors_of(pure())
    errors[:2, :, -1] = 0.0
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert fit.n_left_out == 6
    assert "6 errors are 0 and left out, which flattens the law" in fit.note
    assert fit.exponent == pytest.approx(0.4, abs=0.03)


def test_draw_without_a_curve_is_left_out_and_named():
    errors = errors_of(with_floor())
    errors[3] = np.nan
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    three = fit_scaling_law(SIZES, errors[:3], settings=SETTINGS)
    assert "1 of 4 draws have no usable curve" in fit.note
    assert np.isnan(fit.draw_exponents[3]) and np.isnan(fit.draw_floor_exponents[3])
    np.testing.assert_array_equal(numbers(fit), numbers(three))


def test_seed_that_lacks_a_size_does_not_bend_the_curve_of_the_floor_law():
    log_law = with_floor()
    errors = np.exp(np.broadcast_to(log_law, (4, 3, 7)) + np.array([0.0, 0.5, -0.5])[:, None])
    errors[0, 1, 5] = np.nan
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert fit.floor_exponent == pytest.approx(0.8, rel=1e-6)


def test_one_draw_gives_estimates_without_intervals():
    fit = fit_scaling_law(SIZES, errors_of(with_floor(), n_draws=1), settings=SETTINGS)
    assert np.isfinite([fit.exponent, fit.floor_exponent, fit.irreducible_error, fit.holdout_predicted]).all()
    ends = [fit.exponent_low, fit.exponent_high, fit.floor_exponent_low, fit.irreducible_error_high]
    assert np.isnan([*ends, fit.holdout_low]).all()
    assert not fit.floor_identifiable
    assert fit.holdout_inside is None
    assert "no interval: 1 usable draw(s)" in fit.note and "one draw gives no interval" in fit.note


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf])
def test_nothing_usable_gives_nan_and_the_reason(value):
    fit = fit_scaling_law(SIZES, np.full((4, 2, 7), value), settings=SETTINGS)
    assert np.isnan(numbers(fit)[:-1]).all()  # the last is the confidence
    assert fit.n_points == 0 and fit.n_left_out == 56
    assert fit.holdout_n_train == -1 and fit.n_train_fitted == ()
    assert "exponent not identifiable" in fit.note
    assert not fit.floor_identifiable


def test_two_sizes_are_too_few_and_three_have_no_held_out_check():
    errors = errors_of(pure())
    two = fit_scaling_law(SIZES[:2], errors[..., :2], settings=SETTINGS)
    assert np.isnan(two.exponent) and "fewer than 3 sizes" in two.note
    three = fit_scaling_law(SIZES[:3], errors[..., :3], settings=SETTINGS)
    assert np.isfinite(three.exponent) and np.isnan(three.holdout_predicted)
    assert "no held-out check: 3 sizes" in three.note
    assert "3 sizes that all draws have, at least 5 needed" in three.note


def test_constant_error_has_exponent_zero_and_no_floor():
    fit = fit_scaling_law(SIZES, np.full((4, 2, 7), 0.25), settings=SETTINGS)
    np.testing.assert_allclose([fit.exponent, fit.exponent_low, fit.exponent_high], 0.0, atol=1e-14)
    assert not fit.floor_identifiable
    assert "does not change with n" in fit.note
    assert np.isnan(fit.irreducible_error)


def test_error_that_grows_has_a_negative_exponent_and_no_floor():
    fit = fit_scaling_law(SIZES, errors_of(pure(-0.2)), settings=SETTINGS)
    assert fit.exponent_high < 0
    assert "does not fall with n" in fit.note


def test_drop_to_a_constant_is_beyond_the_exponents_bound():
    errors = errors_of(np.log(0.1 + SIZES[0] ** 9.0 * SIZES**-9.0), scale=1e-4)
    assert "beyond floor_exponent_max = 5" in fit_scaling_law(SIZES, errors, settings=SETTINGS).note


def test_plateau_identifies_the_floor_even_if_noise_puts_it_above_the_smallest_error():
    errors = errors_of(with_floor(exponent=3.0, amplitude=2e5))
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert fit.irreducible_error > np.exp(np.log(errors).mean((0, 1))).min()
    assert fit.floor_identifiable, fit.note
    assert fit.irreducible_error_low < 0.05 < fit.irreducible_error_high


def test_curve_that_drops_below_its_plateau_has_no_floor():
    errors = errors_of(with_floor(exponent=2.0, amplitude=3000.0), scale=0.01)
    errors[..., -1] *= 0.9
    fit = fit_scaling_law(SIZES, errors, settings=SETTINGS)
    assert not fit.floor_identifiable
    assert "the error falls below E" in fit.note


def test_interval_that_is_too_wide_is_said_to_be():
    errors = errors_of(with_floor(), scale=0.2)
    narrow = fit_scaling_law(SIZES, errors, settings=ScalingSettings(floor_width_max=1.01))
    assert fit_scaling_law(SIZES, errors, settings=SETTINGS).floor_identifiable
    assert not narrow.floor_identifiable and "factor of 1.01" in narrow.note


def test_held_out_check_fails_a_law_that_bends():
    fit = fit_scaling_law(SIZES, errors_of(with_floor()), settings=SETTINGS)
    assert fit.holdout_n_train == 4096
    assert fit.holdout_inside is False
    assert fit.holdout_predicted < fit.holdout_low * np.sqrt(fit.holdout_high / fit.holdout_low) * (1 + 1e-9)
    assert fit.holdout_measured > fit.holdout_high


def test_held_out_prediction_does_not_see_the_largest_size():
    errors = errors_of(pure())
    changed = errors.copy()
    changed[..., -1] *= 2.0
    a, b = (fit_scaling_law(SIZES, study, settings=SETTINGS) for study in (errors, changed))
    assert a.holdout_predicted == b.holdout_predicted
    assert b.holdout_measured == pytest.approx(2 * a.holdout_measured, rel=1e-12)


def test_more_confidence_means_wider_intervals():
    errors = errors_of(with_floor())
    a, b = (fit_scaling_law(SIZES, errors, settings=ScalingSettings(confidence=c)) for c in (0.8, 0.95))
    for name in ("exponent", "floor_exponent", "irreducible_error", "holdout"):
        assert getattr(b, f"{name}_low") < getattr(a, f"{name}_low")
        assert getattr(b, f"{name}_high") > getattr(a, f"{name}_high")


@pytest.mark.parametrize(
    ("sizes", "shape", "message"),
    [
        (SIZES, (4, 7), r"give errors as \(n_draws, n_seeds, n_sizes\)"),
        (SIZES[:3], (4, 1, 7), "do not fit together"),
        (np.array([0, 1, 2]), (4, 1, 3), "positive and distinct"),
        (np.array([8, 8, 16]), (4, 1, 3), "positive and distinct"),
    ],
)
def test_bad_shapes_are_named(sizes, shape, message):
    with pytest.raises(ValueError, match=message):
        fit_scaling_law(sizes, np.ones(shape), settings=SETTINGS)
