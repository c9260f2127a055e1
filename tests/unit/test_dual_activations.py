"""Second moments against adaptive quadrature, and by halving the step."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, expit, ndtr

from ntk_atlas.kernels.dual_activations import dual_activation, second_moment

ACTIVATIONS = {
    "relu": lambda z: max(z, 0.0),
    "erf": erf,
    "tanh": math.tanh,
    "sigmoid": expit,
    "gelu": lambda z: z * ndtr(z),
}
VARIANCES = [1e-6, 0.01, 0.5, 1.0, 1.01, 4.0, 30.0, 1e3, 1e5]


def moment_by_quad(phi, q):
    """Adaptive, split at the scale of the activation and of the Gaussian."""

    def integrand(t):
        return phi(t) ** 2 * math.exp(-(t**2) / (2 * q)) / math.sqrt(2 * math.pi * q)

    scale = math.sqrt(q)
    edges = sorted({s * e for s in (-1, 1) for e in (0.0, min(1.0, scale), min(30.0, 12 * scale), 12 * scale)})
    return sum(quad(integrand, a, b, epsabs=0, epsrel=1e-12, limit=200)[0] for a, b in pairwise(edges))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_moments_agree_with_adaptive_quadrature(activation):
    q = torch.tensor(VARIANCES, dtype=torch.float64)
    expected = torch.tensor([moment_by_quad(ACTIVATIONS[activation], v) for v in VARIANCES], dtype=torch.float64)
    torch.testing.assert_close(second_moment(activation, q), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_halving_the_step_changes_nothing(activation):
    q = torch.logspace(-8, 8, 200, dtype=torch.float64)
    coarse, fine = second_moment(activation, q), second_moment(activation, q, step=0.05)
    torch.testing.assert_close(coarse, fine, rtol=1e-13, atol=0)
    assert (second_moment(activation, q[:5], step=2.0) - fine[:5]).abs().max() > 1e-12


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_moments_keep_shape_and_grow_with_the_variance(activation):
    q = torch.linspace(0.0, 9.0, 10_001, dtype=torch.float64)
    moment = second_moment(activation, q)
    assert (moment.diff() > 0).all()
    assert torch.equal(second_moment(activation, q[:12].reshape(3, 4)), moment[:12].reshape(3, 4))


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_dual_meets_the_moment_on_the_diagonal_and_oddness(activation):
    q = torch.tensor(VARIANCES, dtype=torch.float64)
    dual = dual_activation(activation)
    moment, slope = dual(q, q, q)
    torch.testing.assert_close(moment, second_moment(activation, q), rtol=1e-13, atol=0)
    opposite, opposite_slope = dual(q, q, -q)
    if activation == "relu":  # φ(z) φ(−z) = 0
        assert (opposite == 0).all() and (opposite_slope == 0).all() and (slope == 0.5).all()
    else:
        torch.testing.assert_close(opposite, -moment, rtol=1e-13, atol=0)
        torch.testing.assert_close(opposite_slope, slope, rtol=1e-13, atol=0)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_slope_is_the_derivative_of_the_dual(activation):
    """∂T/∂c = Ṫ (Price's theorem)."""
    dual = dual_activation(activation)
    a, b = torch.tensor(1.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    c = torch.linspace(-0.9, 0.9, 9, dtype=torch.float64).requires_grad_()
    moment, slope = dual(a, b, c)
    (derivative,) = torch.autograd.grad(moment.sum(), c)
    torch.testing.assert_close(derivative, slope.detach(), rtol=1e-12, atol=0)
