"""Intervals of variance ratios cover what they promise, also where all outputs of a network share one number."""

import numpy as np
import pytest

from ntk_atlas.statistics import resampling_weights, variance_ratio

N_STUDIES, N_NETWORKS, D = 300, 50, 8


def shared(g):
    """All outputs are one Gaussian times a pattern, as of networks that differ in f₀ only."""
    return g.standard_normal((N_NETWORKS, 1)) * np.linspace(0.5, 1.5, D), np.mean(np.linspace(0.5, 1.5, D) ** 2)


def mixed(g):
    return g.standard_normal((N_NETWORKS, 2)) @ np.stack([np.ones(D), np.linspace(-1, 1, D)]), (
        1.0 + np.mean(np.linspace(-1, 1, D) ** 2)
    )


def paired(g):
    common = g.standard_normal((N_NETWORKS, 1))
    above, below = (common + s * g.standard_normal((N_NETWORKS, D)) for s in (0.6, 0.2))
    return above, below, (1 + 0.36) / (1 + 0.04)


@pytest.mark.parametrize("make", [shared, mixed, paired])
def test_coverage_at_fifty_networks(make):
    g = np.random.default_rng(4)
    covered = []
    for _ in range(N_STUDIES):
        above, below, *true = make(g)
        weights = resampling_weights(N_NETWORKS, 300, g)
        found = variance_ratio(above, below, weights, confidence=0.95)
        covered.append(found.low <= (true[0] if true else 1.0) <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.985  # binomial standard error 0.013
