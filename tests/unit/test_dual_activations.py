"""Dual activations in closed form against brute-force quadrature, their limits, and moments of every activation."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, expit, ndtr
from torch import nn
from torch.nn import functional as F

from ntk_atlas.activations import ACTIVATIONS, ActivationError, dual_at
from ntk_atlas.activations import activation as activation_of
from ntk_atlas.kernels import dual_of

VALUES = {
    "relu": lambda z: max(z, 0.0),
    "leaky_relu": lambda z: max(z, 0.01 * z),
    "erf": erf,
    "gelu": lambda z: z * ndtr(z),
    "tanh": math.tanh,
    "sigmoid": expit,
    "silu": lambda z: z * expit(z),
}
SLOPES = {
    "relu": lambda z: float(z > 0),
    "leaky_relu": lambda z: 1.0 if z > 0 else 0.01,
    "erf": lambda z: 2 / math.pi**0.5 * math.exp(-(z**2)),
    "gelu": lambda z: ndtr(z) + z * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
    "tanh": lambda z: 1 / math.cosh(z) ** 2 if abs(z) < 300 else 0.0,
    "sigmoid": lambda z: expit(z) * expit(-z),
    "silu": lambda z: expit(z) * (1 + z * expit(-z)),
}
TORCH = {"relu": F.relu, "leaky_relu": F.leaky_relu, "erf": torch.erf, "gelu": F.gelu}
VARIANCES = [1e-6, 0.01, 0.5, 1.0, 1.01, 4.0, 30.0, 1e3, 1e5]


def moment_by_quad(phi, q):
    """Adaptive, split at the scale of the activation and of the Gaussian."""

    def integrand(t):
        return phi(t) ** 2 * math.exp(-(t**2) / (2 * q)) / math.sqrt(2 * math.pi * q)

    scale = math.sqrt(q)
    edges = sorted({s * e for s in (-1, 1) for e in (0.0, min(1.0, scale), min(30.0, 12 * scale), 12 * scale)})
    return sum(quad(integrand, a, b, epsabs=0, epsrel=1e-12, limit=200)[0] for a, b in pairwise(edges))


@pytest.mark.parametrize("activation", ACTIVATIONS.names())
@pytest.mark.parametrize("kind", ["second", "slope"])
def test_moments_agree_with_adaptive_quadrature(activation, kind):
    q = torch.tensor(VARIANCES, dtype=torch.float64)
    function = (VALUES if kind == "second" else SLOPES)[activation]
    expected = torch.tensor([moment_by_quad(function, v) for v in VARIANCES], dtype=torch.float64)
    dual = dual_of(activation)
    moments = dual.second_moment(q) if kind == "second" else dual.slope_moment(q)
    torch.testing.assert_close(moments, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("moments", [activation_of(name).moments for name in ("tanh", "sigmoid", "silu")])
@pytest.mark.parametrize("kind", ["second", "slope"])
def test_halving_the_step_of_the_moments_changes_nothing(moments, kind):
    q = torch.logspace(-8, 8, 200, dtype=torch.float64)
    function = getattr(moments, kind)
    coarse, fine = function(q, 0.1), function(q, 0.05)
    torch.testing.assert_close(coarse, fine, rtol=1e-13, atol=0)
    assert (function(q[60:], 2.0) - fine[60:]).abs().max() > 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS.names())
def test_moments_keep_shape_and_grow_with_the_variance(activation):
    q = torch.linspace(0.0, 9.0, 10_001, dtype=torch.float64)
    moment = dual_of(activation).second_moment(q)
    assert (moment.diff() > 0).all()
    assert torch.equal(dual_of(activation).second_moment(q[:12].reshape(3, 4)), moment[:12].reshape(3, 4))


def brute_force(phi, a, b, c, kinks):
    """T and Ṫ by Gauss-Legendre in polar coordinates, split where u or v changes sign: exact also for kinks."""
    rho = c / math.sqrt(a * b)
    u_angle, v_angle = math.pi / 2, math.pi / 2 + math.acos(rho)
    edges = sorted({angle % (2 * math.pi) for s in (0, math.pi) for angle in (u_angle + s, v_angle + s)})
    edges = [*edges, edges[0] + 2 * math.pi]
    if not kinks:
        edges = [k * math.pi / 4 for k in range(9)]
    node, weight = (torch.as_tensor(t) for t in _legendre(60))
    total = [0.0, 0.0]
    radius, radius_weight = (torch.as_tensor(t) for t in _legendre(200))
    r, r_weight = 6.5 * (radius + 1), 6.5 * radius_weight
    for low, high in pairwise(edges):
        half = (high - low) / 2
        angle = low + half * (node + 1)
        z1, z2 = r[:, None] * angle.cos(), r[:, None] * angle.sin()
        u, v = (math.sqrt(a) * z1), math.sqrt(b) * (rho * z1 + math.sqrt(1 - rho**2) * z2)
        density = (r * torch.exp(-(r**2) / 2) * r_weight)[:, None] * (half * weight) / (2 * math.pi)
        u, v = u.requires_grad_(), v.requires_grad_()
        phi_u, phi_v = phi(u), phi(v)
        slope_u, slope_v = (torch.autograd.grad(p.sum(), x)[0] for p, x in ((phi_u, u), (phi_v, v)))
        total[0] += float((density * phi_u * phi_v).sum().detach())
        total[1] += float((density * slope_u * slope_v).sum())
    return total


def _legendre(n):
    import numpy as np

    return np.polynomial.legendre.leggauss(n)


@pytest.mark.parametrize("activation", list(TORCH))
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 2.0), (0.01, 5.0), (9.0, 6.0)])
@pytest.mark.parametrize("rho", [-0.99, -0.5, 0.0, 0.3, 0.9, 0.999])
def test_closed_forms_agree_with_brute_force(activation, a, b, rho):
    c = rho * math.sqrt(a * b)
    expected = brute_force(TORCH[activation], a, b, c, kinks="relu" in activation)
    moment, slope = dual_at(dual_of(activation), *(torch.tensor(t, dtype=torch.float64) for t in (a, b, c)))
    assert float(moment) == pytest.approx(expected[0], rel=1e-10, abs=1e-12 * math.sqrt(a * b))
    assert float(slope) == pytest.approx(expected[1], rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "erf", "gelu"])
def test_closed_forms_meet_their_moments_on_the_diagonal(activation):
    q = torch.tensor(VARIANCES, dtype=torch.float64)
    dual = dual_of(activation)
    moment, slope = dual_at(dual, q, q, q)
    # Away from the diagonal 1 − s² loses what s does not have.
    loss = 1e-15 * q.clamp(min=1) if "relu" not in activation else torch.zeros_like(q)
    assert ((moment / dual.second_moment(q) - 1).abs() <= 1e-13 + loss).all()
    assert ((slope / dual.slope_moment(q) - 1).abs() <= 1e-13 + 100 * loss).all()


def test_opposite_inputs():
    q = torch.tensor(VARIANCES, dtype=torch.float64)
    moment, slope = dual_at(dual_of("relu"), q, q, -q)  # φ(z) φ(−z) = 0
    assert (moment.abs() <= 1e-15 * q).all() and (slope.abs() <= 1e-15).all()
    moment, slope = dual_at(dual_of("erf"), q, q, q)
    opposite, opposite_slope = dual_at(dual_of("erf"), q, q, -q)
    assert torch.equal(opposite, -moment) and torch.equal(opposite_slope, slope)


@pytest.mark.parametrize("activation", ACTIVATIONS.names())
def test_slope_is_the_derivative_of_the_dual(activation):
    """∂T/∂c = Ṫ (Price's theorem), by a difference of fourth order."""
    dual, h = partial(dual_at, dual_of(activation)), 2e-3
    a, b = torch.tensor(1.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    c = torch.linspace(-0.85, 0.85, 9, dtype=torch.float64)
    f = [dual(a, b, c + k * h)[0] for k in (-2, -1, 1, 2)]
    derivative = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
    torch.testing.assert_close(derivative, dual(a, b, c)[1], rtol=1e-7, atol=0)


@pytest.mark.parametrize("slope", [-1.0, -0.3, 0.2, 1.0, 2.5])
def test_leaky_relu_of_any_slope_is_a_sum_of_relus(slope):
    """φ(u) = relu(u) − s relu(−u), and −u has covariance −c with v."""
    a, b, c = (torch.tensor(t, dtype=torch.float64) for t in (1.3, 0.7, [-0.9, -0.2, 0.0, 0.6]))
    relu = partial(dual_at, dual_of("relu"))
    same, opposite = relu(a, b, c), relu(a, b, -c)
    moment, derivative = dual_at(dual_of(nn.LeakyReLU(slope)), a, b, c)
    torch.testing.assert_close(moment, (1 + slope**2) * same[0] - 2 * slope * opposite[0], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(derivative, (1 + slope**2) * same[1] + 2 * slope * opposite[1], rtol=1e-12, atol=1e-15)


def test_zero_variance_is_the_limit_of_small_orthogonal_inputs():
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    moment, slope = dual_at(dual_of("relu"), zero, one, zero)
    assert (moment == 0).all() and torch.allclose(slope, 0.25 * one)
    _, slope = dual_at(dual_of("relu"), zero, zero, zero)  # a zero input and itself
    assert torch.allclose(slope, 0.5 * one)


def test_names_modules_and_functions_of_torch_find_the_same_activation():
    for name, others in {
        "relu": (nn.ReLU(), torch.relu, F.relu),
        "leaky_relu": (F.leaky_relu,),
        "erf": (torch.erf,),
        "gelu": (nn.GELU(), F.gelu),
        "tanh": (nn.Tanh(), torch.tanh, F.tanh),
        "sigmoid": (nn.Sigmoid(), torch.sigmoid, F.sigmoid),
        "silu": (nn.SiLU(), F.silu),
    }.items():
        assert all(activation_of(other) is activation_of(name) for other in others)
    assert dual_of(nn.LeakyReLU()) == dual_of("leaky_relu") != dual_of("relu")
    assert dual_of(nn.LeakyReLU(0.2)).negative_slope == 0.2
    assert dual_of(nn.Identity()).negative_slope == 1.0
    assert activation_of(nn.GELU(approximate="tanh")).dual() is None


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("softplus", r"there is no activation 'softplus'; known here: erf, gelu, .*tanh"),
        (3, "a name or a function of a tensor, got 3"),
        (lambda u: u.sum(), r"one of its shape and dtype"),
        (lambda u: u.float(), r"one of its shape and dtype"),
        (lambda u: torch.softmax(u, 0), "does not act on each entry alone"),
        (lambda u: torch.log(u), "not finite"),
        (lambda u: u.detach().exp(), "no derivative for automatic differentiation"),
        (lambda u: u @ torch.ones(3), "failed on a float64 tensor of shape"),
    ],
)
def test_what_is_no_activation_is_refused(activation, message):
    with pytest.raises(ActivationError, match=message):
        dual_of(activation)
