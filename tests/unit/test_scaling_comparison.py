import dataclasses

import numpy as np
import pytest
from scipy import stats

import ntk_atlas.scaling_laws as public
from ntk_atlas.config import ScalingSettings
from ntk_atlas.scaling_laws import compare_exponents, fit_scaling_law
from ntk_atlas.streams import numpy_stream

SIZES = np.array([64, 128, 256, 512, 1024, 2048])


def fit(exponent, *, name, n_draws=4, n_seeds=2, floor=0.0, scale=0.05, sizes=SIZES):
    noise = scale * numpy_stream(name).normal(size=(n_draws, n_seeds, len(sizes)))
    errors = np.exp(np.log(floor + (sizes / sizes[0]) ** -exponent) + noise)
    return fit_scaling_law(sizes, errors, settings=ScalingSettings())


def test_difference_is_the_paired_t_of_scipy():
    a, b = fit(0.7, name="a"), fit(0.4, name="b", n_seeds=1)
    difference = compare_exponents(a, b, confidence=0.9)
    expected = stats.ttest_rel(a.draw_exponents, b.draw_exponents).confidence_interval(0.9)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high), rel=1e-10)
    assert difference.difference == pytest.approx(a.exponent - b.exponent, rel=1e-12)
    assert (difference.n_pairs, difference.note, difference.law) == (4, "", "power")


def test_swapping_the_predictors_changes_the_sign():
    a, b = fit(0.7, name="a"), fit(0.4, name="b")
    forth, back = compare_exponents(a, b, confidence=0.95), compare_exponents(b, a, confidence=0.95)
    assert (forth.difference, forth.low, forth.high) == pytest.approx((-back.difference, -back.high, -back.low))


def test_predictor_against_itself_differs_by_exactly_nothing():
    a = fit(0.7, name="a")
    difference = compare_exponents(a, a, confidence=0.95)
    assert (difference.difference, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_draws_that_one_predictor_lacks_are_left_out_of_the_pairs():
    a, b = fit(0.7, name="a"), fit(0.4, name="b")
    b = dataclasses.replace(b, draw_exponents=np.where(np.arange(4) == 2, np.nan, b.draw_exponents))
    difference = compare_exponents(a, b, confidence=0.95)
    assert difference.n_pairs == 3 and np.isnan(difference.draw_differences[2])
    assert difference.note == "3 of 4 draws have both exponents"


def test_one_draw_gives_a_difference_without_interval():
    difference = compare_exponents(fit(0.7, name="a", n_draws=1), fit(0.4, name="b", n_draws=1), confidence=0.95)
    assert np.isfinite(difference.difference) and np.isnan(difference.low)
    assert "1 usable draw(s)" in difference.note


def test_different_sizes_are_named():
    difference = compare_exponents(fit(0.7, name="a"), fit(0.4, name="b", sizes=SIZES[2:]), confidence=0.95)
    assert "fitted on different sizes (64–2048, 6 sizes and 256–2048, 4 sizes)" in difference.note


def test_floor_exponents_are_compared_where_both_are_identified():
    a = fit(1.0, name="a", floor=0.1, scale=1e-3)
    b = fit(0.7, name="b", floor=0.1, scale=1e-3)
    difference = compare_exponents(a, b, confidence=0.95, law="floor")
    assert difference.note == "" and difference.law == "floor"
    assert difference.difference == pytest.approx(a.floor_exponent - b.floor_exponent, rel=1e-10)
    assert difference.difference == pytest.approx(0.3, abs=5e-3)
    assert difference.low < difference.difference < difference.high < difference.low + 0.01


def test_floor_exponents_that_are_not_identified_have_no_difference():
    a, b = fit(1.0, name="a", floor=0.1, scale=1e-3), fit(0.7, name="b", scale=1e-3)
    difference = compare_exponents(a, b, confidence=0.95, law="floor")
    assert np.isnan([difference.difference, difference.low, difference.high]).all()
    assert "irreducible error not identifiable in both fits" in difference.note


def test_bad_input_is_named():
    a = fit(0.7, name="a")
    with pytest.raises(ValueError, match="4 draws against 5"):
        compare_exponents(a, fit(0.4, name="b", n_draws=5), confidence=0.95)
    with pytest.raises(ValueError, match="choose 'power' or 'floor'"):
        compare_exponents(a, a, confidence=0.95, law="cubic")


def test_public_names_lead_to_their_modules():
    assert public.compare_exponents is compare_exponents
    assert public.fit_scaling_law is fit_scaling_law
    assert all(getattr(public, name).__name__ == name for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        public.nonsense  # noqa: B018
