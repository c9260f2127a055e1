import numpy as np
import pytest
from scipy import stats

from ntk_atlas.statistics import finite_mean, t_critical, t_interval
from ntk_atlas.streams import numpy_stream


@pytest.mark.parametrize(("n_draws", "confidence"), [(2, 0.95), (4, 0.9), (8, 0.99)])
def test_t_interval_is_that_of_scipy(n_draws, confidence):
    values = numpy_stream("t", n_draws).normal(0.4, 0.1, n_draws)
    interval = t_interval(values, confidence)
    expected = stats.t.interval(confidence, n_draws - 1, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-10)


def test_missing_values_are_left_out_problem_by_problem():
    values = np.array([[0.1, np.nan, 0.3, 0.4], [np.inf, 0.2, 0.1, 0.7], [np.nan, np.nan, np.nan, 0.5]])
    interval = t_interval(values, 0.95)
    np.testing.assert_array_equal(interval.n_values, [3, 3, 1])
    for row in range(2):
        alone = t_interval(values[row][np.isfinite(values[row])], 0.95)
        assert (interval.low[row], interval.high[row]) == pytest.approx((alone.low, alone.high), rel=1e-12)
    assert interval.value[2] == 0.5
    assert np.isnan(interval.low[2]) and np.isnan(interval.high[2])


@pytest.mark.parametrize(("values", "count"), [([], 0), ([np.nan, np.nan], 0), ([0.3], 1)])
def test_fewer_than_two_draws_give_no_interval_and_say_so(values, count):
    interval = t_interval(np.array(values), 0.95)
    assert np.isnan(interval.low) and np.isnan(interval.high)
    assert interval.reason == f"no interval: {count} usable draw(s), at least 2 are needed"


def test_two_draws_give_an_interval_and_no_reason():
    assert t_interval(np.array([0.1, 0.2]), 0.95).reason == ""


def test_axis_and_critical_value():
    values = numpy_stream("axis").normal(size=(5, 3))
    np.testing.assert_array_equal(t_interval(values, 0.95, axis=0).low, t_interval(values.T, 0.95).low)
    assert t_critical(4, 0.95) == pytest.approx(3.182446305284263, rel=1e-12)  # tables: t(0.975, 3)
    assert np.isnan(finite_mean(np.array([np.nan])))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_must_be_a_coverage(confidence):
    with pytest.raises(ValueError, match="coverage between 0 and 1"):
        t_interval(np.ones(3), confidence)
