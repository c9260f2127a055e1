"""Variance ratios over networks: against explicit resamples, invariances, and what there is no interval of."""

import numpy as np
import pytest

from ntk_atlas.statistics import MIN_NETWORKS, resampling_weights, variance_ratio


def outputs(n=20, d=6, seed=0):
    g = np.random.default_rng(seed)
    return g.standard_normal((n, 1)) * np.arange(1.0, d + 1) + 0.3 * g.standard_normal((n, d)) + 5.0


def weights(n=20, b=200, seed=1):
    return resampling_weights(n, b, np.random.default_rng(seed))


def twin(above, below, counts, confidence):
    """Bootstrap-t of the log ratio with every resample written out."""

    def statistic(a, b):
        top = ((a - a.mean(0)) ** 2).mean(1)
        bottom = ((b - b.mean(0)) ** 2).mean(1)
        influence = top / top.mean() - bottom / bottom.mean()
        return np.log(top.mean() / bottom.mean()), influence.std(ddof=0) / np.sqrt(len(a) - 1)

    whole, error = statistic(above, below)
    t = []
    for row in counts.astype(int):
        members = np.repeat(np.arange(len(above)), row)
        resampled, its_error = statistic(above[members], below[members])
        t.append((resampled - whole) / its_error)
    low, high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2])
    return np.exp(whole), np.exp(whole - high * error), np.exp(whole - low * error)


def test_equals_resamples_written_out():
    above, below, counts = outputs(), outputs(seed=3)[:, :4], weights()
    found = variance_ratio(above, below, counts, confidence=0.9)
    np.testing.assert_allclose([found.value, found.low, found.high], twin(above, below, counts, 0.9), rtol=1e-9)


def test_against_a_known_variance_it_is_the_unbiased_one():
    found = variance_ratio(outputs(), 2.0, weights(), confidence=0.95)
    np.testing.assert_allclose(found.value, outputs().var(axis=0, ddof=1).mean() / 2.0, rtol=1e-12)
    assert found.low < found.value < found.high


def test_units_translations_and_rotations_of_outputs_do_not_matter():
    above, below = outputs(), outputs(seed=3)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]
    plain = variance_ratio(above, below, weights(), confidence=0.95)
    changed = variance_ratio(3.0 * above @ rotation - 100.0, below + np.arange(6), weights(), confidence=0.95)
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(getattr(changed, name), 9.0 * getattr(plain, name), rtol=1e-8)


def test_what_both_share_cancels():
    above = outputs()
    same = variance_ratio(above, above.copy(), weights(), confidence=0.95)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    near = variance_ratio(above, above + 1e-3 * outputs(seed=9), weights(), confidence=0.95)
    alone = variance_ratio(above, float(above.var(0, ddof=1).mean()), weights(), confidence=0.95)
    assert near.high / near.low < 1.01 < 1.5 < alone.high / alone.low


def test_too_few_networks_have_a_ratio_but_no_interval():
    few = variance_ratio(outputs(5), 1.0, weights(5), confidence=0.95)
    assert np.isfinite(few.value) and np.isnan([few.low, few.high]).all()
    assert np.isnan(variance_ratio(outputs(1), 1.0, weights(1), confidence=0.95).value)


@pytest.mark.parametrize("below", [0.0, np.nan, np.ones((20, 6))])
def test_no_ratio_to_nothing(below):
    found = variance_ratio(outputs(), below, weights(), confidence=0.95)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_resamples_are_of_networks():
    counts = weights()
    assert counts.shape == (200, 20) and (counts.sum(1) == 20).all() and abs(counts.mean() - 1.0) < 1e-12
    assert MIN_NETWORKS == 8
