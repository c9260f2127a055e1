"""Spread of trained random-feature models over their initializations: Monte Carlo against the exact formula."""

import math

import pytest
import torch

from ntk_atlas.regression import finite_time_mean, finite_time_variance
from ntk_atlas.streams import torch_stream

N, N_TEST, N_FEATURES, N_DRAWS = 12, 6, 60, 20_000


@pytest.mark.parametrize(
    ("dynamics", "n_steps"),
    [("gradient_descent", 0), ("gradient_descent", 3), ("gradient_descent", 80), ("heavy_ball", 25)],
)
def test_mean_and_variance_over_initializations_are_those_of_the_theory(dynamics, n_steps):
    r"""f(x) = w₁·φ₁(x) + w₂·φ₂(x), only w₁ trained: Θ = φ₁φ₁ᵀ and K = s₁²φ₁φ₁ᵀ + s₂²φ₂φ₂ᵀ exactly, and they differ."""
    generator = torch_stream("random features", dynamics, n_steps)
    x = torch.randn(N + N_TEST, 5, generator=generator, dtype=torch.float64)
    trained, frozen = (
        torch.relu(x @ torch.randn(5, N_FEATURES, generator=generator, dtype=torch.float64)) / math.sqrt(N_FEATURES)
        for _ in range(2)
    )
    y = torch.randn(N, 1, generator=generator, dtype=torch.float64)
    first, second = (torch.randn(N_FEATURES, N_DRAWS, generator=generator, dtype=torch.float64) for _ in range(2))
    weights, fixed = 1.3 * first, frozen @ (0.6 * second)
    ntk = trained @ trained.T
    nngp = 1.3**2 * ntk + 0.6**2 * frozen @ frozen.T
    rate = 1.0 * N / float(torch.linalg.eigvalsh(ntk[:N, :N])[-1])
    momentum, before = 0.9 if dynamics == "heavy_ball" else 0.0, weights
    for _ in range(n_steps):
        gradient = trained[:N].T @ (trained[:N] @ weights + fixed[:N] - y) / N
        weights, before = weights - rate * gradient + momentum * (weights - before), weights
    outputs = trained @ weights + fixed

    arguments = {"times": [n_steps], "learning_rate": rate, "dynamics": dynamics}
    variance = finite_time_variance(ntk[:N, :N], ntk[N:, :N], nngp[:N, :N], nngp[N:, :N], nngp[N:, N:], **arguments)
    mean = finite_time_mean(ntk[:N, :N], ntk[N:, :N], y, **arguments)
    expected_variance = torch.cat([variance.train[0], variance.test[0]])
    expected_mean = torch.cat([mean.train[0], mean.test[0]])[:, 0]
    # Sampling errors: √(2/draws) of a variance, √(variance/draws) of a mean; five of them.
    assert ((outputs.var(1) / expected_variance - 1).abs() < 5 * math.sqrt(2 / N_DRAWS)).all()
    assert ((outputs.mean(1) - expected_mean).abs() < 5 * (expected_variance / N_DRAWS).sqrt()).all()
    if n_steps:
        prior = nngp.diagonal()
        assert ((expected_variance / prior - 1).abs() > 5 * math.sqrt(2 / N_DRAWS)).any()
