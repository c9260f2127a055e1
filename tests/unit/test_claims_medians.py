"""The median network: exact intervals from order statistics, and claims that are about it."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

from ntk_atlas.judging import Comparison, Region, cell_median, decide, with_replicates
from ntk_atlas.statistics import median_of
from ntk_atlas.streams import numpy_stream


def test_the_interval_of_six_goes_from_the_smallest_to_the_largest_and_five_have_none():
    values = [0.3, 0.1, 0.2, 0.6, 0.5, 0.4]
    median = median_of(values)
    assert median.interval(0.95) == pytest.approx((0.35, 0.1, 0.6))
    assert median.p_below(0.61) == 2.0**-6 and median.p_below(0.6) > 0.025
    assert median_of(values[:5]).interval(0.95)[1:] == (-np.inf, np.inf)
    assert median_of(values[:5], logarithmic=True).interval(0.95)[1:] == (0.0, np.inf)


def test_nine_leave_one_out_at_each_end():
    median = median_of(np.arange(1.0, 10.0))
    assert median.interval(0.95) == (5.0, 2.0, 8.0)
    assert median.p_above(1.5) == pytest.approx(binom.cdf(1, 9, 0.5))


@pytest.mark.parametrize("n", [6, 7, 9, 12, 30])
def test_an_interval_clears_a_bound_where_its_p_value_is_below_the_level(n):
    """Words, nearness and intervals follow from one another."""
    sample = numpy_stream("medians", n).lognormal(size=n)
    median = median_of(sample, logarithmic=True)
    for bound in np.geomspace(0.02, 50.0, 41):
        assert (median.clearance(bound, 0.95, above=True) > 0.0) == (median.p_above(bound) <= 0.025)
        assert (median.clearance(bound, 0.95, above=False) > 0.0) == (median.p_below(bound) <= 0.025)


def test_coverage_whatever_the_law():
    """Of one network in six that jumps tenfold: Student's interval of six logarithms covers .65."""
    generator, found = numpy_stream("coverage"), []
    truth = np.quantile(_jumping(generator, 200_000), 0.5)
    for _ in range(2000):
        _, low, high = median_of(_jumping(generator, 6), logarithmic=True).interval(0.95)
        found.append(low <= truth <= high)
    assert np.mean(found) > 0.95


def _jumping(generator: np.random.Generator, n: int) -> np.ndarray:
    return np.exp(0.3 * generator.standard_normal(n)) * np.where(generator.random(n) < 1.0 / 6.0, 10.0, 1.0)


def test_one_network_that_jumps_does_not_move_the_verdict():
    """Eight of nine networks stay: the median one does; in the mean of logarithms they move."""
    drifts = np.array([0.05, 0.06, 0.05, 0.07, 0.06, 0.05, 0.06, 0.07, 9.0])
    still = Comparison("drift", median_of(drifts, logarithmic=True), Region(upper=0.1), trained=True)
    found = decide([still], confidence=0.95, least_replicates=6)
    assert found.word == "supported" and found.high == pytest.approx(0.07)


def test_a_draw_counts_once_with_the_median_of_its_seeds():
    values = xr.DataArray([[0.1, 0.2, 5.0], [0.3, 0.3, np.nan], [np.nan, np.nan, np.nan]], dims=("draw", "seed"))
    assert sorted(cell_median(values).sample) == pytest.approx([0.2, 0.3])
    single = cell_median(values.isel(draw=[0]))
    assert sorted(single.sample) == pytest.approx([0.1, 0.2, 5.0])


def test_what_draws_share_widens_the_interval_for_new_data():
    values = np.linspace(1.0, 2.0, 9)
    alone, shared = median_of(values), median_of(values, common=float(values.var(ddof=1)) / 9)
    low, high = alone.interval(0.95)[1:]
    wide_low, wide_high = shared.interval(0.95)[1:]
    assert shared.interval(0.95, new_data=False)[1:] == (low, high)
    assert wide_high - wide_low == pytest.approx(np.sqrt(2.0) * (high - low))
    assert shared.p_above(low - 0.01) > alone.p_above(low - 0.01)


def test_more_replicates_at_the_same_quantiles_narrow_the_interval():
    median = median_of(np.linspace(1.0, 2.0, 9))
    more = with_replicates(median, 90)
    assert more.interval(0.95)[2] < median.interval(0.95)[2]
    assert more.interval(0.95)[0] == median.interval(0.95)[0]
