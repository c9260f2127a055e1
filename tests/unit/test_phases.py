"""Phases against tabulated critical points, closed forms, independent quadrature and known limits."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ntk_atlas.activations import ACTIVATIONS, ActivationError
from ntk_atlas.activations import activation as activation_of
from ntk_atlas.config import NetworkSettings
from ntk_atlas.kernels import dual_of
from ntk_atlas.phases import (
    CRITICAL_TOLERANCE,
    NoFixedPointError,
    depth_scale,
    derivative_moment,
    finite_fixed_point,
    fixed_point,
    moments,
    phase_at,
    phase_of,
    value_moment,
)


def iterated(activation, init_scale, bias_variance, n_layers=3000):
    """The variance as a network's layers make it."""
    q = init_scale + bias_variance
    for _ in range(n_layers):
        q = min(init_scale * value_moment(activation, q) + bias_variance, 1e7)
    return q


@pytest.mark.parametrize(("scale", "chi_1"), [(1.0, 0.056), (4.0, 0.17), (10.0, 0.31), (20.0, 0.45)])
def test_sigmoid_is_ordered_at_usual_scales(scale, chi_1):
    phase = phase_of(NetworkSettings(activation="sigmoid"), scale)
    assert phase.chi_1 == pytest.approx(chi_1, abs=0.006)
    assert phase.name == "ordered"
    assert phase.xi_1 == pytest.approx(1.0 / abs(math.log(phase.chi_1)))


@pytest.mark.parametrize("activation", ["erf", "tanh", "sigmoid", "gelu", "silu"])
@pytest.mark.parametrize("q", [0.3, 1.0, 7.0])
def test_moments_agree_with_adaptive_integration(activation, q):
    from scipy.integrate import quad
    from scipy.special import erf, expit, ndtr

    phi = {"erf": erf, "tanh": np.tanh, "sigmoid": expit, "gelu": lambda u: u * ndtr(u), "silu": lambda u: u * expit(u)}
    density = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    h = 1e-5

    def slope(u):
        return (phi[activation](u + h) - phi[activation](u - h)) / (2 * h)

    value = quad(lambda z: density(z) * phi[activation](math.sqrt(q) * z) ** 2, -12, 12, epsabs=1e-12)[0]
    derivative = quad(lambda z: density(z) * slope(math.sqrt(q) * z) ** 2, -12, 12, epsabs=1e-12)[0]
    assert value_moment(activation, q) == pytest.approx(value, rel=1e-9)
    assert derivative_moment(activation, q) == pytest.approx(derivative, rel=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS.names())
@pytest.mark.parametrize("q", [1e-10, 0.01, 1.0, 12.0, 100.0, 1e4, 1e8])
def test_moments_are_those_of_the_kernels(activation, q):
    """Independent quadratures, and the closed forms, of every activation that can be chosen; also where z varies by
    far more than φ does, as for the sigmoid at its critical point."""
    dual, at = dual_of(activation), torch.tensor([q], dtype=torch.float64)
    found = moments(activation, q)
    assert found.value == pytest.approx(float(dual.second_moment(at)), rel=1e-10)
    assert found.slope == pytest.approx(float(dual.slope_moment(at)), rel=1e-10)
    assert found.error < 1e-10


@pytest.mark.parametrize("q", [1e-3, 0.5, 3.0, 100.0, 1e6])
@pytest.mark.parametrize("bound", [1.0, 0.7310585786])
def test_kinks_anywhere_are_integrated_to_their_closed_form(q, bound):
    """φ = clip(u, −b, b): E[φ'²] = P(|√q z| < b), E[φ²] by parts."""
    end = bound / math.sqrt(q)
    inside = math.erf(end / math.sqrt(2))
    second = q * (inside - 2 * end * math.exp(-(end**2) / 2) / math.sqrt(2 * math.pi)) + bound**2 * (1 - inside)
    found = moments(nn.Hardtanh(-bound, bound), q)
    assert found.slope == pytest.approx(inside, rel=1e-10)
    assert found.value == pytest.approx(second, rel=1e-9)


def test_kinks_are_found_where_they_are():
    function = activation_of(lambda u: torch.relu(u - 1.2345) + torch.relu(-u - 7.0))
    np.testing.assert_allclose(function.kinks, (-7.0, 1.2345), atol=1e-12)
    assert activation_of(torch.tanh).kinks == ()


@pytest.mark.parametrize(
    ("function", "value", "slope"),
    [
        (torch.sin, lambda q: -math.expm1(-2 * q) / 2, lambda q: (1 + math.exp(-2 * q)) / 2),
        (torch.exp, lambda q: math.exp(2 * q), lambda q: math.exp(2 * q)),
        (lambda u: u**3, lambda q: 15 * q**3, lambda q: 27 * q**2),
        (lambda u: torch.exp(-(u**2)), lambda q: (1 + 4 * q) ** -0.5, lambda q: 4 * q * (1 + 4 * q) ** -1.5),
    ],
    ids=["sin", "exp", "cube", "bump"],
)
@pytest.mark.parametrize("q", [1e-3, 1.0, 60.0])
def test_functions_of_ones_own_have_their_closed_forms(function, value, slope, q):
    """exp at q = 60 has its mass at z = 15, beyond where the Gaussian alone would end."""
    found = moments(function, q)
    assert found.value == pytest.approx(value(q), rel=1e-9)
    assert found.slope == pytest.approx(slope(q), rel=1e-9)


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (torch.tanh, "tanh"),
        (nn.SiLU(), "silu"),
        (lambda u: u * torch.sigmoid(u), "silu"),
        (nn.LeakyReLU(), "leaky_relu"),
    ],
)
def test_a_function_of_ones_own_has_the_phase_of_its_name(own, name):
    for scale, bias in ((0.8, 0.0), (1.9, 0.3), (3.0, 0.1)):
        assert phase_at(own, scale, bias).chi_1 == pytest.approx(phase_at(name, scale, bias).chi_1, rel=1e-9)


def test_homogeneous_activations_have_values_for_their_fixed_points():
    assert fixed_point("relu", 1.0, 0.0) == 0.0
    assert fixed_point("relu", 1.0, 0.1) == pytest.approx(0.2)
    assert fixed_point("relu", 3.0, 0.0) == math.inf
    assert phase_of(NetworkSettings(activation="relu", bias_variance=0.3), 3.0).chi_1 == 1.5
    assert fixed_point("leaky_relu", 1.0, 0.1) == pytest.approx(0.1 / (1 - 0.5 * (1 + 0.01**2)))
    assert activation_of(nn.LeakyReLU(0.2)).homogeneous == (0.2, 1.0)
    assert activation_of(torch.abs).homogeneous == (-1.0, 1.0)
    assert activation_of(nn.ELU()).homogeneous is None


@pytest.mark.parametrize(
    "activation", ["tanh", "sigmoid", "gelu", torch.sin, nn.Softplus(), lambda u: torch.exp(-(u**2))]
)
@pytest.mark.parametrize(("scale", "bias"), [(0.7, 0.0), (1.3, 0.2), (4.0, 0.1)])
def test_the_fixed_point_is_where_layers_end(activation, scale, bias):
    function = activation_of(activation)
    q_star, end = fixed_point(function, scale, bias), iterated(function, scale, bias, 300)
    if math.isinf(q_star):
        assert end > 1e5
    else:
        assert q_star == pytest.approx(end, rel=1e-6, abs=1e-10)


def test_the_phase_of_a_network_of_ones_own_is_unknown():
    phase = phase_of(NetworkSettings(factory="net.py:build"), 2.0)
    assert phase.name == "unknown"
    assert math.isnan(phase.chi_1) and math.isnan(phase.xi_1)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("scale", [1.2, 1.8, 2.2, 2.5, 3.5])
def test_where_zero_and_infinity_are_both_stable_the_networks_own_start_decides(activation, scale):
    """Iterate the map from the first layer's variance, as a network does."""
    expected = "chaotic" if iterated(activation, scale, 0.0) >= 1e6 else "ordered"
    assert phase_of(NetworkSettings(activation=activation), scale).name == expected


def test_without_a_fixed_point_there_is_a_phase_but_no_number():
    """SiLU at 3: no finite q*, and φ' → 0 and 1, so that χ₁ → 3/2. A power grows without any limit of χ₁."""
    phase = phase_at("silu", 3.0, 0.1)
    assert (phase.name, phase.q_star, phase.chi_1) == ("chaotic", math.inf, 1.5)
    assert phase_at(torch.square, 2.0).chi_1 == math.inf
    assert phase_at(torch.square, 2.0).xi_1 == 0.0
    with pytest.raises(
        NoFixedPointError, match=r"activation silu has no fixed point at σ_w² = 3, σ_b² = 0.1: .* lower"
    ):
        finite_fixed_point("silu", 3.0, 0.1)


def test_depth_scales():
    assert depth_scale(math.e) == pytest.approx(1.0)
    assert depth_scale(math.exp(-0.1)) == pytest.approx(10.0)
    assert depth_scale(1.0) == math.inf
    assert depth_scale(0.0) == depth_scale(math.inf) == 0.0
    assert phase_at("relu", 2.0).xi_1 == math.inf
    assert phase_at("relu", 2.0 * (1 + 0.9 * CRITICAL_TOLERANCE)).xi_1 == math.inf
    assert phase_at("relu", 2.0 * (1 + 2.0 * CRITICAL_TOLERANCE)).xi_1 < 1e3


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (torch.sign, "jumps, or part of it is detached"),
        (lambda u: torch.where(u > 0.3, u + 1.0, u), "jumps, or part of it is detached"),
        (lambda u: torch.tanh(u.detach()) + 0.5 * u, "jumps, or part of it is detached"),
        (lambda u: u.softmax(0), "does not act on each entry alone"),
        (lambda u: u.float(), "maps a tensor to one of its shape and dtype"),
        (3.0, "an activation is a name or a function of a tensor, got 3.0"),
    ],
    ids=["sign", "step", "detached", "softmax", "float32", "number"],
)
def test_what_is_no_activation_is_named(activation, message):
    with pytest.raises(ActivationError, match=message):
        phase_at(activation, 1.0)


@pytest.mark.parametrize("activation", ["tanh", "erf"])
@pytest.mark.parametrize("init_scale", [1e7, 1e10, 1e40])
def test_saturating_activations_are_chaotic_at_every_large_scale(activation, init_scale):
    phase = phase_at(activation, init_scale, 0.0)
    assert phase.name == "chaotic"
    # φ is nearly a sign: E[φ²] = 1 − const/√q, and E[φ'²] ∝ 1/√q.
    assert phase.q_star == pytest.approx(init_scale, rel=1e-3)
    assert phase.chi_1 == pytest.approx(phase_at(activation, 1e6, 0.0).chi_1 * (init_scale / 1e6) ** 0.5, rel=2e-3)
