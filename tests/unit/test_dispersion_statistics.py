"""R and Var log Θ with intervals: known numbers, coverage on log-normals, what is not trusted, bad input."""

import tracemalloc

import numpy as np
import pytest

from ntk_atlas.statistics import DispersionMoments, is_reliable, relative_error_of_ratio


def moments_of(kernels, n_bootstrap=200, seed=0):
    moments = DispersionMoments(n_bootstrap=n_bootstrap, generator=np.random.default_rng(seed))
    moments.add(kernels)
    return moments


def log_normal(shape, log_variance, seed=0):
    return np.exp(np.sqrt(log_variance) * np.random.default_rng(seed).normal(size=shape))


def test_estimates_are_plain_moments():
    kernels = log_normal((1300, 3, 2, 4), 0.4)
    estimates = moments_of(kernels).estimates(0.95)
    np.testing.assert_allclose(estimates.mean.value, kernels.mean(0))
    np.testing.assert_allclose(estimates.ratio.value, (kernels**2).mean(0) / kernels.mean(0) ** 2)
    np.testing.assert_allclose(estimates.log_variance.value, np.log(kernels[..., 0]).var(0))
    assert estimates.n_finite.tolist() == [1300] * 3
    for interval in (estimates.mean, estimates.ratio, estimates.log_variance):
        assert (interval.low < interval.value).all()
        assert (interval.value < interval.high).all()


@pytest.mark.parametrize("factor", [1e-200, 1e30, 1e200])
def test_scale_does_not_matter(factor):
    kernels = log_normal((600, 1, 2), 0.4)
    one, other = (moments_of(k).estimates(0.95) for k in (kernels, factor * kernels))
    np.testing.assert_allclose(other.ratio.high, one.ratio.high, rtol=1e-9)
    np.testing.assert_allclose(other.log_variance.low, one.log_variance.low, rtol=1e-9)
    np.testing.assert_allclose(other.mean.low, factor * one.mean.low, rtol=1e-9)


def test_networks_may_come_in_parts():
    kernels = log_normal((1000, 2, 2, 1), 0.3)
    moments = DispersionMoments(n_bootstrap=100, generator=np.random.default_rng(0))
    for part in (kernels[:500], kernels[500:]):
        moments.add(part)
    whole = moments_of(kernels, 100).estimates(0.9)
    np.testing.assert_array_equal(moments.estimates(0.9).ratio.low, whole.ratio.low)


@pytest.mark.parametrize(
    ("log_variance", "n", "least"), [(0.05, 500, 0.90), (0.3, 1000, 0.90), (0.6, 2000, 0.86)], ids=str
)
def test_intervals_cover_the_ratio_of_log_normals(log_variance, n, least):
    """200 experiments side by side."""
    kernels = log_normal((n, 200, 1, 1), log_variance, seed=5)
    estimates = moments_of(kernels, 400).estimates(0.95)
    ratio, variance = estimates.ratio, estimates.log_variance
    covered = (ratio.low <= np.exp(log_variance)) & (np.exp(log_variance) <= ratio.high)
    assert least <= covered.mean() <= 0.99
    covered = (variance.low <= log_variance) & (log_variance <= variance.high)
    assert 0.91 <= covered.mean() <= 0.99


def test_intervals_of_a_heavy_tail_fail_and_say_so():
    kernels = log_normal((1000, 200, 1, 1), 3.0, seed=6)
    estimates = moments_of(kernels, 200).estimates(0.95)
    covered = (estimates.ratio.low <= np.exp(3.0)) & (np.exp(3.0) <= estimates.ratio.high)
    assert covered.mean() < 0.85
    assert not estimates.reliable.any()
    variance = estimates.log_variance
    assert ((variance.low <= 3.0) & (variance.high >= 3.0)).mean() > 0.91


@pytest.mark.parametrize(
    ("log_variance", "n", "trusted"),
    [(0.9, 2000, True), (1.1, 2000, False), (1.1, 10_000, True), (2.5, 10_000, False), (0.9, 100, False)],
)
def test_what_is_trusted(log_variance, n, trusted):
    assert is_reliable(np.array(log_variance), np.array(n)) == trusted


def test_the_relative_error_of_the_ratio_is_that_of_second_moments_of_log_normals():
    second = (log_normal((4000, 500), 0.3, seed=7) ** 2).mean(axis=1)
    assert second.std() / second.mean() == pytest.approx(relative_error_of_ratio(np.exp(0.3), 500), rel=0.15)


def test_networks_that_are_not_finite_are_counted_out():
    kernels = log_normal((800, 2, 2, 3), 0.4)
    broken = kernels.copy()
    broken[::4, 0, 1, 2] = np.inf
    broken[1::4, 0, 0, 0] = np.nan
    kept = np.arange(800) % 4 >= 2
    estimates = moments_of(broken).estimates(0.95)
    assert estimates.n_finite.tolist() == [400, 800]
    expected = moments_of(kernels[kept]).estimates(0.95)
    np.testing.assert_allclose(estimates.ratio.value[0], expected.ratio.value[0])
    np.testing.assert_allclose(estimates.log_variance.value[0], expected.log_variance.value[0])


def test_no_finite_network_is_no_number():
    estimates = moments_of(np.full((600, 1, 2, 1), np.inf)).estimates(0.95)
    assert np.isnan(estimates.ratio.value).all()
    assert np.isnan(estimates.log_variance.high).all()
    assert not estimates.reliable.any()
    assert estimates.n_finite.tolist() == [0]


def test_kernels_that_are_zero_have_no_logarithm():
    kernels = log_normal((600, 1, 1), 0.4)
    kernels[::2] = 0.0
    estimates = moments_of(kernels).estimates(0.95)
    assert estimates.log_variance.value == pytest.approx(np.log(kernels[1::2, 0, 0]).var())
    assert estimates.n_finite == 600


def test_kernels_that_are_all_alike_have_no_spread():
    estimates = moments_of(np.full((500, 1, 1), 3.0)).estimates(0.95)
    assert estimates.ratio.high == pytest.approx(1.0)
    assert estimates.log_variance.high == pytest.approx(0.0, abs=1e-12)


def test_no_networks_are_an_error():
    with pytest.raises(ValueError, match="no networks"):
        DispersionMoments(n_bootstrap=100, generator=np.random.default_rng(0)).estimates(0.95)


def test_memory_does_not_grow_with_the_number_of_networks():
    def peak(n_parts):
        moments = DispersionMoments(n_bootstrap=100, generator=np.random.default_rng(0))
        part = log_normal((500, 2, 2, 2), 0.3)
        tracemalloc.start()
        for _ in range(n_parts):
            moments.add(part)
        moments.estimates(0.95)
        bytes_ = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_

    assert peak(40) < 1.2 * peak(4)
