"""Where correlations end: closed forms, the kernels' own recursion, and known limits."""

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from ntk_atlas.kernels.infinite.duals import dual_activation
from ntk_atlas.phases.correlation import correlation_fixed_point, generalization_scale
from ntk_atlas.phases.critical import critical_init_scale
from ntk_atlas.phases.fixed_point import NoFixedPointError, fixed_point
from ntk_atlas.phases.phase import phase_at


@pytest.mark.parametrize(
    ("activation", "scale", "bias"),
    [("erf", 2.5, 0.05), ("tanh", 3.0, 0.05), ("tanh", 1.9, 0.05), ("sigmoid", 300.0, 0.0), ("sigmoid", 105.0, 0.0)],
)
def test_correlations_end_where_the_kernels_recursion_stays(activation, scale, bias):
    q = torch.tensor([fixed_point(activation, scale, bias)], dtype=torch.float64)
    dual, end = dual_activation(activation), correlation_fixed_point(activation, scale, bias)
    at = torch.tensor([end.correlation - 1e-3, end.correlation, end.correlation + 1e-3], dtype=torch.float64)
    moment, slope = dual(q, q, q * at)
    step = (scale * moment + bias) / q - at
    assert step[0] > 0.0 > step[2]
    assert float(step[1]) == pytest.approx(0.0, abs=1e-8)
    assert end.chi == pytest.approx(scale * float(slope[1]), rel=1e-8)
    assert end.error < 1e-8


def test_a_kinked_activation_against_the_probability_of_a_rectangle():
    """clip(u, −1, 1): E[φ'(u) φ'(v)] = P(|u| < 1, |v| < 1)."""
    clip, scale, bias = nn.Hardtanh(), 2.0, 0.1
    q, end = fixed_point(clip, scale, bias), correlation_fixed_point(clip, scale, bias)
    pair = multivariate_normal(cov=[[q, q * end.correlation], [q * end.correlation, q]], abseps=1e-10, releps=1e-10)
    inside = pair.cdf([1, 1], lower_limit=[-1, -1])
    assert 0.1 < end.correlation < 0.9
    assert end.chi == pytest.approx(scale * inside, rel=1e-6)


def test_an_odd_activation_without_biases_forgets_all():
    """c* = 0 and χ_{c*} = σ_w² E[φ']²: for erf 4 σ_w² / (π (1 + 2q))."""
    q = fixed_point("erf", 2.0, 0.0)
    end = correlation_fixed_point("erf", 2.0)
    assert end.correlation == 0.0
    assert end.chi == pytest.approx(2.0 * 4.0 / math.pi / (1.0 + 2.0 * q), rel=1e-9)
    ratio = end.chi / phase_at("erf", 2.0).chi_1
    assert generalization_scale("erf", 2.0) == pytest.approx(-1.0 / math.log(ratio))


def test_outside_the_chaotic_phase_correlations_end_at_one():
    for activation, scale in (("tanh", 0.8), ("tanh", 1.0), ("relu", 3.0), ("sigmoid", 20.0)):
        end = correlation_fixed_point(activation, scale)
        assert (end.correlation, end.chi) == (1.0, pytest.approx(phase_at(activation, scale).chi_1))
        assert generalization_scale(activation, scale) == math.inf


def test_the_generalization_scale_diverges_at_the_critical_line():
    critical = critical_init_scale("tanh", 0.05)
    scales = [generalization_scale("tanh", factor * critical, 0.05) for factor in (2.0, 1.3, 1.1, 1.03)]
    assert scales == sorted(scales)
    assert scales[-1] > 10 * scales[0]
    # Near the line χ_{c*} ≈ 2 − χ₁ (the map of correlations is nearly a parabola), so that ξ* ≈ 1/(2 log χ₁) = ξ₁/2.
    assert scales[-1] == pytest.approx(0.5 * phase_at("tanh", 1.03 * critical, 0.05).xi_1, rel=0.1)


def test_without_a_fixed_point_there_is_no_scale():
    with pytest.raises(NoFixedPointError, match="activation gelu has no fixed point at σ_w² = 3, σ_b² = 0"):
        generalization_scale("gelu", 3.0)
