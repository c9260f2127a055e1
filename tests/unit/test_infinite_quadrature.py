"""Activations without closed form: the error stated is one that holds."""

import math

import pytest
import torch
from torch.nn import functional as F

from ntk_atlas.activations import ActivationError, dual_at
from ntk_atlas.activations import activation as activation_of
from ntk_atlas.config import NetworkSettings
from ntk_atlas.kernels import HermiteRule, SeriesDual, conditional_moments, dual_of, infinite_kernels, output_variance
from ntk_atlas.streams import torch_stream

NTK = NetworkSettings(parameterization="ntk", bias_variance=0.1)
RHO = [-1.0, -0.999, -0.7, 0.0, 0.3, 0.9, 0.999, 1.0]


def normal(n, d, name="x"):
    return torch.randn(n, d, dtype=torch.float64, generator=torch_stream(name))


def tile(activation, a, b, dtype=torch.float64):
    """T and Ṫ of variances a, b at the correlations above, with their errors."""
    dual = dual_of(activation) if isinstance(activation, str) else SeriesDual(activation_of(activation))
    a, b = (torch.full((len(RHO),), v, dtype=torch.float64) for v in (a, b))
    c = (torch.tensor(RHO, dtype=torch.float64) * (a * b).sqrt()).to(dtype)
    ready = dual.at(torch.cat([a, b]))
    scratch = (torch.empty_like(c), torch.empty_like(c))
    return ready.evaluate(c, ready.side(a, dtype), ready.side(b, dtype), scratch, 1.0)


def product_rule(phi, a, b, n=1601, reach=9.0):
    """T and Ṫ by a trapezoidal rule over (z₁, z₂)."""
    z, step = torch.linspace(-reach, reach, n, dtype=torch.float64), 2 * reach / (n - 1)
    weight = torch.exp(-(z**2) / 2) * (step / math.sqrt(2 * math.pi))
    phi = activation_of(phi)
    at_u, slope_u = phi.with_slope(math.sqrt(a) * z)
    results = []
    for rho in RHO:
        v = math.sqrt(b) * (rho * z[:, None] + math.sqrt(1 - rho**2) * z)
        at_v, slope_v = phi.with_slope(v)
        results.append([weight @ (at_u[:, None] * at_v) @ weight, weight @ (slope_u[:, None] * slope_v) @ weight])
    return torch.tensor(results, dtype=torch.float64).T


FUNCTIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": F.silu}


@pytest.mark.parametrize(
    ("activation", "a", "b"),
    [
        ("tanh", 1.0, 0.3),
        ("tanh", 17.0, 20.0),
        ("tanh", 90.0, 60.0),
        ("sigmoid", 0.01, 2.0),
        ("sigmoid", 45.0, 42.0),
        ("silu", 1.0, 3.0),
        ("silu", 20.0, 0.5),
        (torch.sin, 2.0, 9.0),
        (F.softplus, 1.0, 4.0),
        (F.elu, 1.0, 4.0),
        (torch.erf, 1.0, 30.0),
    ],
)
def test_the_stated_error_holds_and_is_small(activation, a, b):
    phi = FUNCTIONS.get(activation, activation)
    result = tile(activation, a, b)
    expected = product_rule(phi, a, b)
    scale = [math.sqrt(float(tile(activation, q, q)[k][-1])) for k in (0, 1) for q in (a, b)]
    for kind, stated in enumerate((result.moment_error, result.slope_error)):
        size = scale[2 * kind] * scale[2 * kind + 1]
        assert (result[kind] - expected[kind]).abs().max() <= stated + 2e-12 * size
        # ELU bends at 0 and its derivative has a kink: its series is long, and the error is stated.
        assert stated <= (1e-4 if activation is F.elu else 3e-10) * size


@pytest.mark.parametrize("activation", [F.relu, lambda u: F.leaky_relu(u, 0.3), torch.erf, F.gelu])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.2, 7.0)])
def test_series_of_what_has_a_closed_form(activation, a, b):
    """The stated error against exact numbers, kinks included: a step as derivative is the hardest there is."""
    closed = {F.relu: "relu", torch.erf: "erf", F.gelu: "gelu"}.get(activation, torch.nn.LeakyReLU(0.3))
    result = tile(activation, a, b)
    c = torch.tensor(RHO, dtype=torch.float64) * math.sqrt(a * b)
    exact = dual_at(dual_of(closed), *(torch.tensor(q, dtype=torch.float64) for q in (a, b)), c)
    assert (result.moment - exact[0]).abs().max() <= result.moment_error + 1e-13
    assert (result.slope - exact[1]).abs().max() <= result.slope_error + 1e-13
    assert result.moment_error < 1e-4 and result.slope_error < 2e-3


def test_float32_stops_at_its_rounding():
    double, single = tile("tanh", 1.0, 0.3), tile("tanh", 1.0, 0.3, torch.float32)
    torch.testing.assert_close(single.moment.double(), double.moment, rtol=0, atol=2e-6)
    torch.testing.assert_close(single.slope.double(), double.slope, rtol=0, atol=2e-6)


def test_pairs_near_one_go_to_the_conditional_rule(monkeypatch):
    """The same numbers with a series cut far too short for |ρ| near 1."""
    full = tile("tanh", 9.0, 5.0)
    monkeypatch.setattr("ntk_atlas.kernels.infinite.series.MOST_TERMS", 128)
    short = tile("tanh", 9.0, 5.0)
    torch.testing.assert_close(short.moment, full.moment, rtol=0, atol=2e-10)
    torch.testing.assert_close(short.slope, full.slope, rtol=0, atol=2e-10)
    assert short.slope_error < 1e-9
    monkeypatch.setattr("ntk_atlas.kernels.infinite.series._PAIR_EVALUATIONS", 0)
    cut = tile("tanh", 9.0, 5.0)
    error = (cut.slope - full.slope).abs().max()
    assert 1e-6 < error <= cut.slope_error < 1e-2


def test_conditional_rule_against_its_limits():
    phi = activation_of("tanh")
    a, b, rho = (torch.tensor(v, dtype=torch.float64) for v in ([2.0, 2.0], [2.0, 5.0], [1.0, -1.0]))
    result = conditional_moments(phi, a, b, rho, 768)
    expected = dual_of("tanh").second_moment(a[:1])
    assert float(result.moment[0]) == pytest.approx(float(expected), rel=1e-13)
    assert result.moment[1] < 0 and max(result.moment_error, result.slope_error) < 1e-12


def test_more_terms_and_nodes_than_asked_for_change_less_than_the_tolerance():
    q = torch.tensor([0.5, 3.0, 8.0], dtype=torch.float64)
    dual = dual_of("silu")
    rule = dual.at(q).rule
    finer = HermiteRule(rule.phi, 4 * rule.n_nodes, rule.n_terms)
    for coarse, fine in zip(rule.coefficients(q), finer.coefficients(q), strict=True):
        torch.testing.assert_close(coarse, fine, rtol=0, atol=1e-14)
    assert max(rule.coefficient_errors) < 1e-13
    values = rule.coefficients(q).values
    left = 1 - (values**2).sum(0) / dual.second_moment(q)
    assert (left.abs() < 1e-10).all()


@pytest.mark.parametrize(
    ("activation", "init_scale"), [("tanh", 20.0), ("sigmoid", 103.0), ("silu", 2.0), ("tanh", 1.5)]
)
def test_error_of_whole_kernels(activation, init_scale):
    """Against the kernels with a hundred times tighter series, deep and at large variance."""
    x = torch.cat([normal(7, 4), normal(1, 4) + 1e-3, normal(1, 4)])
    choice = {"depths": [1, 4], "settings": NTK, "init_scale": init_scale}
    kernels = infinite_kernels(x, activation=activation, **choice)
    exact = infinite_kernels(x, activation=_tight(activation), **choice)
    for kind in range(2):
        for depth in range(2):
            found, best = ((k.nngp, k.ntk)[kind][depth] for k in (kernels, exact))
            bound = float(kernels.error_bound[kind, depth] + exact.error_bound[kind, depth])
            assert (found - best).abs().max() <= bound + 1e-12 * best.abs().max()
            assert bound <= 1e-7 * best.abs().max()
    variance = output_variance(x, depth=4, settings=NTK, init_scale=init_scale, activation=activation)
    torch.testing.assert_close(kernels.nngp[1].diagonal(), variance, rtol=1e-13, atol=0)


def _tight(activation):
    function = FUNCTIONS[activation]

    class Tight(torch.nn.Module):
        def forward(self, u):
            return function(u)

    return Tight()


def test_closed_forms_have_no_quadrature_error_and_their_series_agrees():
    x = normal(6, 3)
    choice = {"depths": [0, 1, 3], "settings": NTK, "init_scale": 1.3}
    closed = infinite_kernels(x, activation="gelu", **choice)
    assert (closed.error_bound == 0).all() and closed.error_bound.shape == (2, 3)
    series = infinite_kernels(x, activation=lambda u: F.gelu(u), **choice)
    assert (series.error_bound[:, 0] == 0).all() and (series.error_bound[:, 1:] > 0).all()
    for kind, (a, b) in enumerate(((closed.nngp, series.nngp), (closed.ntk, series.ntk))):
        for depth in range(3):
            assert (a[depth] - b[depth]).abs().max() <= series.error_bound[kind, depth] + 1e-13
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("activation", "message"),
    [(lambda u: torch.sign(u) + 0 * u, "does not integrate"), (lambda u: torch.exp(u**2), "overflows within 12")],
)
def test_functions_without_a_kernel_are_refused(activation, message):
    with pytest.raises(ActivationError, match=message):
        infinite_kernels(normal(3, 2), depths=[1], settings=NTK, init_scale=9.0, activation=activation)
