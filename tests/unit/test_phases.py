"""Phases against tabulated critical points and known limits."""

import math
import typing

import numpy as np
import pytest
import torch

from ntk_atlas.config.network import Activation, NetworkSettings
from ntk_atlas.kernels.infinite.duals import dual_of
from ntk_atlas.phases import derivative_moment, fixed_point, phase_of, value_moment


@pytest.mark.parametrize(
    ("activation", "bias_variance", "critical"),
    [
        ("relu", 0.0, 2.0),
        ("leaky_relu", 0.0, 2.0 / (1.0 + 0.01**2)),
        ("tanh", 0.0, 1.0),
        ("tanh", 0.05, 1.7610),
        ("tanh", 0.5, 2.8432),
        ("erf", 0.0, math.pi / 4),
        ("erf", 0.18, 1.7476),
        ("sigmoid", 0.0, 103.0076),
        ("sigmoid", 1.0, 105.3701),
    ],
)
def test_tabulated_critical_points_are_critical_and_their_neighbours_are_not(activation, bias_variance, critical):
    network = NetworkSettings(activation=activation, bias_variance=bias_variance)
    assert phase_of(network, critical).chi_1 == pytest.approx(1.0, abs=1e-4)
    names = [phase_of(network, factor * critical).name for factor in (0.9, 1.0, 1.1)]
    assert names == ["ordered", "critical", "chaotic"]


@pytest.mark.parametrize(("scale", "chi_1"), [(1.0, 0.056), (4.0, 0.17), (10.0, 0.31), (20.0, 0.45)])
def test_sigmoid_is_ordered_at_usual_scales(scale, chi_1):
    phase = phase_of(NetworkSettings(activation="sigmoid"), scale)
    assert phase.chi_1 == pytest.approx(chi_1, abs=0.006)
    assert phase.name == "ordered"


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


def test_homogeneous_activations_have_values_for_their_fixed_points():
    assert fixed_point("relu", 1.0, 0.0) == 0.0
    assert fixed_point("relu", 1.0, 0.1) == pytest.approx(0.2)
    assert fixed_point("relu", 3.0, 0.0) == math.inf
    assert phase_of(NetworkSettings(activation="relu", bias_variance=0.3), 3.0).chi_1 == 1.5
    assert fixed_point("leaky_relu", 1.0, 0.1) == pytest.approx(0.1 / (1 - 0.5 * (1 + 0.01**2)))


@pytest.mark.parametrize("activation", typing.get_args(Activation))
def test_moments_are_those_of_the_kernels(activation):
    """Two independent quadratures, and the closed forms, of every activation that can be chosen."""
    dual = dual_of(activation)
    for q in (0.01, 1.0, 12.0):
        at = torch.tensor([q], dtype=torch.float64)
        assert value_moment(activation, q) == pytest.approx(float(dual.second_moment(at)), rel=1e-12)
        assert derivative_moment(activation, q) == pytest.approx(float(dual.slope_moment(at)), rel=1e-12)


def test_the_phase_of_a_network_of_ones_own_is_unknown():
    phase = phase_of(NetworkSettings(factory="net.py:build"), 2.0)
    assert phase.name == "unknown"
    assert math.isnan(phase.chi_1)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("scale", [1.2, 1.8, 2.2, 2.5, 3.5])
def test_where_zero_and_infinity_are_both_stable_the_networks_own_start_decides(activation, scale):
    """Iterate the map from the first layer's variance, as a network does."""
    q = scale
    for _ in range(3000):
        q = min(scale * value_moment(activation, q), 1e7)
    expected = "chaotic" if q >= 1e6 else "ordered"
    assert phase_of(NetworkSettings(activation=activation), scale).name == expected
