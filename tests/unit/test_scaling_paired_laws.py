"""Differences of exponents of curves that may end in floors: intervals by hand, coverage, and the held-out size."""

import numpy as np
import pytest

from ntk_atlas.scaling_laws import compare_paired, fit_floored_curve, fit_power_law, hold_out_largest
from ntk_atlas.statistics import t_interval

SIZES = np.array([64, 128, 256, 512, 1024])
BOUND = 0.9


def log_errors(exponent, floor, noise, generator, draws=6, sizes=SIZES):
    law = np.log((sizes / sizes[0]) ** -exponent + floor)
    return law + noise * generator.standard_normal((draws, len(sizes)))


def test_without_floors_the_interval_is_students_of_paired_slopes():
    generator = np.random.default_rng(3)
    a, b = (log_errors(alpha, 0.0, 0.1, generator) for alpha in (0.613, 0.487))
    found = compare_paired(SIZES, a, b, largest_floor=0.0, confidence=0.95)
    slopes = [fit_power_law(SIZES, np.exp(each)).exponent for each in (a, b)]
    by_hand = t_interval(slopes[0] - slopes[1], 0.95)
    np.testing.assert_allclose([found.value, found.pure], by_hand.value, rtol=1e-9)
    np.testing.assert_allclose([found.low, found.high], [by_hand.low, by_hand.high], rtol=1e-9)


def test_floors_widen_the_interval_on_the_side_of_the_curve_that_may_have_one():
    generator = np.random.default_rng(4)
    a, b = (log_errors(alpha, 0.0, 0.03, generator) for alpha in (0.6, 0.4))
    pure, floored = (compare_paired(SIZES, a, b, largest_floor=bound, confidence=0.95) for bound in (0.0, BOUND))
    assert floored.low < pure.low and floored.high > pure.high
    swapped = compare_paired(SIZES, b, a, largest_floor=BOUND, confidence=0.95)
    np.testing.assert_allclose([swapped.low, swapped.high], [-floored.high, -floored.low], rtol=1e-9)


@pytest.mark.parametrize(
    ("first", "second"),
    [((0.6, 0.01), (0.6, 0.06)), ((0.7, 0.08), (0.5, 0.08)), ((0.55, 0.0), (0.5, 0.02)), ((0.6, 0.0), (0.0, 0.0))],
)
def test_the_interval_covers_whatever_the_floors(first, second):
    """Of 60 studies, 95 % covered, 52 or fewer covering have a chance of 1 in 100; seeds are fixed."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        shared = 0.05 * generator.standard_normal((6, 1))
        a, b = (log_errors(*law, 0.05, generator) + shared for law in (first, second))
        found = compare_paired(SIZES, a, b, largest_floor=BOUND, confidence=0.95)
        covered += found.low <= first[0] - second[0] <= found.high
    assert covered > 52


def test_a_floor_is_found_with_its_exponent():
    sizes = 64 * 2 ** np.arange(8)
    curve = fit_floored_curve(
        sizes, log_errors(0.7, 0.25, 0.005, np.random.default_rng(6), sizes=sizes), largest_floor=BOUND
    )
    assert curve.exponent == pytest.approx(0.7, abs=0.03)
    assert curve.floor == pytest.approx(0.25 / 1.25, abs=0.01)


def test_the_largest_size_is_predicted_from_the_others():
    generator = np.random.default_rng(7)
    errors = log_errors(0.5, 0.0, 0.01, generator)
    right = hold_out_largest(fit_floored_curve(SIZES, errors, largest_floor=BOUND), confidence=0.95)
    assert right.inside and right.measured == pytest.approx(0.25, rel=0.03)
    assert right.predicted == pytest.approx(0.25, rel=0.1)
    errors[:, -1] += np.log(1.4)
    wrong = hold_out_largest(fit_floored_curve(SIZES, errors, largest_floor=BOUND), confidence=0.95)
    assert not wrong.inside and wrong.high < wrong.measured


@pytest.mark.parametrize("shape", [(6, 3), (1, 5)])
def test_too_few_sizes_or_draws_are_refused(shape):
    with pytest.raises(ValueError, match="needs 4 sizes, two draws"):
        fit_floored_curve(SIZES[: shape[1]], np.zeros(shape), largest_floor=BOUND)
