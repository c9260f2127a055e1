"""Critical line and plane: tabulated points to all their digits, and what passes from phase to phase otherwise."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ntk_atlas.activations import activation as activation_of
from ntk_atlas.phases import (
    NoCriticalPointError,
    chi_1_plane,
    critical_init_scale,
    critical_line,
    critical_points,
    phase_at,
)

TABULATED = [
    ("relu", 0.0, 2.0, 4), ("relu", 0.7, 2.0, 4), ("leaky_relu", 0.0, 2.0 / (1.0 + 0.01**2), 12),
    ("tanh", 0.0, 1.0, 4), ("tanh", 0.01, 1.4242, 4), ("tanh", 0.05, 1.7610, 4), ("tanh", 0.1, 1.9861, 4),
    ("tanh", 0.18, 2.2339, 4), ("tanh", 0.2, 2.2852, 4), ("tanh", 0.5, 2.8432, 4),
    ("erf", 0.0, math.pi / 4, 12), ("erf", 0.01, 1.1143, 4), ("erf", 0.05, 1.3758, 4), ("erf", 0.1, 1.5521, 4),
    ("erf", 0.18, 1.7476, 4), ("erf", 0.2, 1.7882, 4), ("erf", 0.5, 2.2337, 4),
    ("sigmoid", 0.0, 103.0076, 4), ("sigmoid", 0.1, 103.2491, 4), ("sigmoid", 1.0, 105.3701, 4),
]  # fmt: skip


@pytest.mark.parametrize(("activation", "bias_variance", "critical", "digits"), TABULATED)
def test_tabulated_critical_points(activation, bias_variance, critical, digits):
    found = critical_init_scale(activation, bias_variance)
    assert found == pytest.approx(critical, abs=0.51 * 10.0**-digits)
    names = [phase_at(activation, factor * found, bias_variance).name for factor in (0.9, 1.0, 1.1)]
    assert names == ["ordered", "critical", "chaotic"]
    assert phase_at(activation, found, bias_variance).chi_1 == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    "activation", [torch.sin, torch.atan, nn.Softsign(), nn.Hardtanh(), lambda u: torch.tanh(2.0 * u) / 2.0]
)
def test_functions_of_ones_own_have_a_line_that_parts_the_phases(activation):
    function = activation_of(activation)
    for bias in (0.0, 0.1):
        (point,) = critical_points(function, bias)
        low, high = (phase_at(function, factor * point.init_scale, bias).chi_1 for factor in (0.97, 1.03))
        assert low < 1.0 < high
    assert critical_init_scale(function, 0.0) == pytest.approx(1.0, abs=1e-9)  # φ'(0) = 1, and |φ(u)| ≤ |u|


def test_a_scaled_activation_has_a_scaled_line():
    """φ(s u) at (σ_w², σ_b²) is φ at (s² σ_w², s² σ_b²): a relation that no quadrature knows of."""
    scaled = activation_of(lambda u: torch.tanh(3.0 * u))
    for bias in (0.01, 0.2):
        assert 9.0 * critical_init_scale(scaled, bias) == pytest.approx(
            critical_init_scale("tanh", 9.0 * bias), rel=1e-9
        )


def test_gelu_jumps_past_criticality_or_meets_it_twice():
    """At σ_b² = 0 GELU's variance falls to 0 (χ₁ = σ_w²/4) until it grows for ever (χ₁ = σ_w²/2 > 1): nothing between.
    At σ_b² = 1 the line is crossed below 2, and met again in the limit of a variance that grows for ever at 2."""
    assert critical_points("gelu", 0.0) == ()
    below, above = phase_at("gelu", 2.01), phase_at("gelu", 2.2)
    assert below.chi_1 < 0.6 and above.chi_1 >= 1.1
    crossed, touched = critical_points("gelu", 1.0)
    assert phase_at("gelu", 0.99 * crossed.init_scale, 1.0).chi_1 < 1.0 < phase_at("gelu", 1.99, 1.0).chi_1
    assert (touched.init_scale, touched.q_star) == (2.0, math.inf)
    with pytest.raises(
        NoCriticalPointError, match=r"activation gelu has no critical point at σ_b² = 0: .* jumps past it"
    ):
        critical_init_scale("gelu", 0.0)
    with pytest.raises(NoCriticalPointError, match=r"has 2 critical points at σ_b² = 1: σ_w² = 1\.9767, 2"):
        critical_init_scale("gelu", 1.0)


def test_unstable_points_of_the_curve_are_not_critical_points():
    """u²: D = 4q, V = 3q², so q = 4 σ_b² solves both equations at σ_w² = 1/(16 σ_b²); networks leave it for ∞."""
    assert critical_points(torch.square, 0.1) == ()
    assert phase_at(torch.square, 1.0 / 1.6, 0.1).q_star == math.inf


def test_the_line_is_its_points():
    line = critical_line("tanh", (0.0, 0.05, 0.5))
    assert [point.bias_variance for point in line] == [0.0, 0.05, 0.5]
    assert [point.init_scale for point in line] == [critical_init_scale("tanh", bias) for bias in (0.0, 0.05, 0.5)]


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", torch.sin])
def test_the_plane_is_the_phase_of_each_point(activation):
    function = activation_of(activation)
    top = 200.0 if activation == "sigmoid" else 4.1
    scales, biases = np.linspace(0.01 * top, top, 9), np.array([0.0, 0.03, 1.0])
    slow = [[phase_at(function, scale, bias).chi_1 for scale in scales] for bias in biases]
    np.testing.assert_allclose(chi_1_plane(function, scales, biases), slow, rtol=1e-3)
