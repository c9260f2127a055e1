"""Infinite-width kernels against an independent implementation, published values, and limits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.activations import ACTIVATIONS, ActivationError
from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import (
    KernelInputError,
    empirical_ntk,
    infinite_kernels,
    infinite_nngp,
    infinite_ntk,
    output_variance,
)
from ntk_atlas.streams import torch_stream

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "neural_tangents_reference.npz")
META = json.loads(str(REFERENCE["meta"]))
CASES = list(enumerate(META["cases"]))


def case_settings(case):
    """The reference has no bias parameters where σ_b² is 0."""
    chosen = {key: case[key] for key in ("activation", "parameterization", "bias_variance")}
    return NetworkSettings(**chosen, trainable_biases=case["bias_variance"] > 0)


def normal(n, d, name="x"):
    return torch.randn(n, d, dtype=torch.float64, generator=torch_stream(name))


@pytest.mark.parametrize(("index", "case"), CASES)
@pytest.mark.parametrize("against", ["same", "cross"])
def test_neural_tangents_agrees(index, case, against):
    x1, x2 = (torch.as_tensor(REFERENCE[name]) for name in ("x1", "x2"))
    kernels = infinite_kernels(
        x1,
        None if against == "same" else x2,
        depths=META["depths"],
        settings=case_settings(case),
        init_scale=case["init_scale"],
        width=META["width"],
    )
    relu = "relu" in case["activation"]
    nngp, ntk = (torch.as_tensor(REFERENCE[f"{kind}_{against}"][index]) for kind in ("nngp", "ntk"))
    # The reference's arccos loses half the digits near equal inputs, on its own diagonal too.
    torch.testing.assert_close(kernels.nngp, nngp, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(kernels.ntk, ntk, rtol=1e-7 if relu else 1e-10, atol=1e-12)
    apart = ~torch.eye(*nngp.shape[1:], dtype=torch.bool)
    torch.testing.assert_close(kernels.ntk[:, apart], ntk[:, apart], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("index", "case"), CASES[: len(REFERENCE["empirical_full"])])
def test_neural_tangents_agrees_on_an_empirical_kernel(index, case):
    network = build_networks(
        case_settings(case),
        depth=2,
        width=7,
        init_scale=case["init_scale"],
        input_shape=(5,),
        n_outputs=3,
        generators=[torch_stream("any")],
        dtype=torch.float64,
    )
    weights, biases = (torch.as_tensor(REFERENCE[f"empirical_{kind}"][index]) for kind in ("weights", "biases"))
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.copy_(weights[: layer.weight.numel()].reshape(layer.weight.shape))
            layer.bias.copy_(biases[: layer.bias.numel()].reshape(layer.bias.shape))
            weights, biases = weights[layer.weight.numel() :], biases[layer.bias.numel() :]
    x1, x2 = (torch.as_tensor(REFERENCE[name]) for name in ("x1", "x2"))
    expected = torch.as_tensor(REFERENCE["empirical_full"][index])
    kernel = empirical_ntk(network, x1, x2, output_reduction="full")[0]
    torch.testing.assert_close(kernel, expected, rtol=1e-10, atol=1e-12)


def pair_with_correlation(rho, d=2):
    """Two inputs with ‖x‖² = d and correlation ρ."""
    return d**0.5 * torch.tensor([[1.0, 0.0], [rho, (1 - rho**2) ** 0.5]], dtype=torch.float64)


NTK = NetworkSettings(parameterization="ntk")


@pytest.mark.parametrize(
    ("chosen", "init_scale", "depths", "theta_xx", "theta_xy"),
    [
        (
            {"activation": "relu"},
            2.0,
            [1, 2, 3, 4, 5],
            [4, 6, 8, 10, 12],
            [1.884662, 2.702959, 3.475689, 4.214225, 4.925786],
        ),
        (
            {"activation": "relu", "bias_variance": 0.1},
            1.0,
            [1, 2, 3],
            [1.2000, 1.0250, 0.8250],
            [0.656919, 0.587183, 0.511209],
        ),
        ({"activation": "erf", "bias_variance": 0.18}, 1.7476, [10], [11.288], [4.1801]),
        ({"activation": "erf", "bias_variance": 0.18}, 1.0, [10], [1.8559], [1.6786]),
        ({"activation": "erf", "bias_variance": 0.18}, 3.0, [10], [111.28], [5.2046]),
    ],
)
def test_known_values(chosen, init_scale, depths, theta_xx, theta_xy):
    settings_ = NetworkSettings(parameterization="ntk", **chosen)
    kernels = infinite_kernels(pair_with_correlation(0.5), depths=depths, settings=settings_, init_scale=init_scale)
    tolerance = 5e-5 if chosen["activation"] == "erf" else 1e-6
    np.testing.assert_allclose(kernels.ntk[:, 0, 0], theta_xx, rtol=tolerance)
    np.testing.assert_allclose(kernels.ntk[:, 0, 1], theta_xy, rtol=tolerance)


def test_known_nngp_values():
    kernels = infinite_kernels(pair_with_correlation(0.5), depths=range(1, 6), settings=NTK, init_scale=2.0)
    expected = [1.217996, 1.367811, 1.476256, 1.557790, 1.620908]
    np.testing.assert_allclose(kernels.nngp[:, 0, 1], expected, rtol=1e-6)
    np.testing.assert_allclose(kernels.nngp[:, 0, 0], 2.0, rtol=1e-14)


@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("trainable_biases", [True, False])
def test_linear_model_and_one_hidden_layer_from_their_definition(activation, parameterization, trainable_biases):
    """H = 0 is exact at any width; H = 1 from expectations over (u, v) ~ N(0, K) by a fine product rule."""
    sigma_w2, sigma_b2, alpha, width = 1.3, 0.2, 1.7, 11
    x = normal(2, 3)
    kernels = infinite_kernels(
        x,
        depths=[1, 0],
        settings=NetworkSettings(
            activation=activation,
            parameterization=parameterization,
            bias_variance=sigma_b2,
            trainable_biases=trainable_biases,
            output_scale=alpha,
        ),
        init_scale=sigma_w2,
        width=width,
    )
    standard = parameterization == "standard"
    weight_part = (x @ x.T) * (1.0 if standard else sigma_w2 / 3)
    bias_part = trainable_biases * (1.0 if standard else sigma_b2)
    theta1 = weight_part + bias_part
    k1 = sigma_w2 * (x @ x.T) / 3 + sigma_b2
    torch.testing.assert_close(kernels.nngp[1], alpha**2 * k1, rtol=1e-12, atol=0)
    torch.testing.assert_close(kernels.ntk[1], alpha**2 * theta1, rtol=1e-12, atol=0)

    nodes, step = np.linspace(-9, 9, 1801, retstep=True)
    z1, z2 = torch.as_tensor(np.stack(np.meshgrid(nodes, nodes, indexing="ij")))
    root = torch.linalg.cholesky(k1)
    u, v = root[0, 0] * z1, root[1, 0] * z1 + root[1, 1] * z2
    weight = torch.exp(-(z1**2 + z2**2) / 2) * step**2 / (2 * np.pi)
    phi, slope = {
        "relu": (lambda z: z.clamp(min=0), lambda z: (z > 0).double() + 0.5 * (z == 0)),
        "erf": (torch.erf, lambda z: 2 / np.pi**0.5 * torch.exp(-(z**2))),
    }[activation]
    moment, dot = (weight * phi(u) * phi(v)).sum(), (weight * slope(u) * slope(v)).sum()
    theta2 = moment * (width if standard else sigma_w2) + bias_part + sigma_w2 * dot * theta1[0, 1]
    tolerance = 1e-4 if activation == "relu" else 1e-10  # the kink limits the product rule
    assert float(kernels.nngp[0, 0, 1]) == pytest.approx(alpha**2 * float(sigma_w2 * moment + sigma_b2), rel=tolerance)
    assert float(kernels.ntk[0, 0, 1]) == pytest.approx(alpha**2 * float(theta2), rel=2 * tolerance)


@pytest.mark.parametrize("d", [1, 5, 784])
def test_equal_and_scaled_inputs_have_the_diagonal_value(d):
    """Θ(x, s x) = s Θ(x, x) for ReLU without biases, whichever path computes it."""
    x = normal(20, d)
    choice = {"depths": [1, 4, 12], "settings": NTK, "init_scale": 2.0}
    diagonal = infinite_kernels(x, **choice).ntk.diagonal(dim1=1, dim2=2)
    for scale in (1.0, 3.7, 1e-3):
        cross = infinite_kernels(x, scale * x, **choice).ntk.diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(cross, scale * diagonal, rtol=1e-12, atol=0)
    expected = 2.0 / d * (x**2).sum(1) * torch.tensor([[2.0], [5.0], [13.0]])
    torch.testing.assert_close(diagonal, expected.double(), rtol=1e-12, atol=0)


def test_opposite_and_zero_inputs_are_finite():
    x = torch.cat([normal(3, 4), torch.zeros(1, 4, dtype=torch.float64)])
    for activation in ("relu", "erf"):
        chosen = NetworkSettings(activation=activation)
        kernels = infinite_kernels(x, -x, depths=[0, 1, 5], settings=chosen, init_scale=2.0, width=8)
        assert torch.isfinite(kernels.nngp).all() and torch.isfinite(kernels.ntk).all()


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "tanh"])
def test_tiles_do_not_change_the_kernels(monkeypatch, activation):
    x1, x2 = normal(23, 3), normal(9, 3, "x2")
    choice = {
        "depths": [3, 0, 1],
        "settings": NetworkSettings(activation=activation, bias_variance=0.1),
        "init_scale": 1.5,
        "width": 10,
    }
    whole, cross = infinite_kernels(x1, **choice), infinite_kernels(x1, x2, **choice)
    monkeypatch.setattr("ntk_atlas.kernels.infinite.kernels._SIDE", {torch.float64: 5})
    tiled, tiled_cross = infinite_kernels(x1, **choice), infinite_kernels(x1, x2, **choice)
    rtol = 1e-8 if activation == "tanh" else 1e-12
    for a, b in ((whole, tiled), (cross, tiled_cross)):
        torch.testing.assert_close(a.ntk, b.ntk, rtol=rtol, atol=0)
        torch.testing.assert_close(a.nngp, b.nngp, rtol=rtol, atol=0)
    assert torch.equal(tiled.ntk, tiled.ntk.mT) and torch.equal(tiled.nngp, tiled.nngp.mT)
    for i, depth in enumerate(choice["depths"]):
        one = {"depth": depth, **{k: v for k, v in choice.items() if k != "depths"}}
        assert torch.equal(infinite_ntk(x1, x2, **one), tiled_cross.ntk[i])
        assert torch.equal(infinite_nngp(x1, x2, **one), tiled_cross.nngp[i])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 12),
    depth=st.integers(0, 20),
    init_scale=st.floats(0.1, 4.0),
    bias_variance=st.floats(0.0, 1.0),
    activation=st.sampled_from(ACTIVATIONS.names()),
    parameterization=st.sampled_from(["standard", "ntk"]),
)
def test_kernels_are_positive_semidefinite(n, depth, init_scale, bias_variance, activation, parameterization):
    chosen = NetworkSettings(activation=activation, parameterization=parameterization, bias_variance=bias_variance)
    kernels = infinite_kernels(normal(n, 3), depths=[depth], settings=chosen, init_scale=init_scale, width=50)
    for kernel, bound in zip((kernels.nngp[0], kernels.ntk[0]), kernels.error_bound[:, 0], strict=True):
        assert torch.equal(kernel, kernel.T)
        assert torch.linalg.eigvalsh(kernel)[0] > -1e-8 * kernel.trace() - n * bound


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    scale=st.floats(1e-3, 1e3),
    depth=st.integers(0, 8),
    slope=st.floats(-1.0, 1.0),
    order=st.permutations(range(9)),
    parameterization=st.sampled_from(["standard", "ntk"]),
)
def test_relu_is_homogeneous_and_order_does_not_matter(scale, depth, slope, order, parameterization):
    """K(s x, s x') = s² K(x, x') without biases, for every leaky ReLU; samples may come in any order."""
    chosen = NetworkSettings(parameterization=parameterization, trainable_biases=False)
    choice = {"depths": [depth], "settings": chosen, "init_scale": 1.7, "width": 9}
    choice["activation"] = torch.nn.LeakyReLU(slope)
    x = normal(9, 3)
    kernels = infinite_kernels(x, **choice)
    scaled = infinite_kernels(scale * x[list(order)], **choice)
    for a, b in ((kernels.nngp[0], scaled.nngp[0]), (kernels.ntk[0], scaled.ntk[0])):
        expected = scale**2 * a[list(order)][:, list(order)]
        torch.testing.assert_close(b, expected, rtol=1e-9, atol=1e-13 * float(expected.abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS.names())
def test_rectangles_are_parts_of_the_square(activation):
    """x1 ≠ x2 with samples in common: what is exact on the diagonal is so elsewhere, up to rounding."""
    x = normal(11, 4)
    choice = {"depths": [1, 3], "init_scale": 1.9}
    choice["settings"] = NetworkSettings(activation=activation, parameterization="ntk", bias_variance=0.2)
    square, rectangle = infinite_kernels(x, **choice), infinite_kernels(x[2:], x[:7], **choice)
    bound = float(square.error_bound.max() + rectangle.error_bound.max())
    for a, b in ((square.nngp, rectangle.nngp), (square.ntk, rectangle.ntk)):
        torch.testing.assert_close(b, a[:, 2:, :7], rtol=1e-10, atol=1e-12 + bound)


@pytest.mark.parametrize("activation", ACTIVATIONS.names())
def test_single_precision_is_double_up_to_its_rounding(activation):
    x = normal(40, 50)
    choice = {"depths": [0, 2], "init_scale": 2.0, "settings": NetworkSettings(activation=activation), "width": 3}
    double, single = infinite_kernels(x, **choice), infinite_kernels(x.float(), dtype=torch.float32, **choice)
    assert single.nngp.dtype == single.ntk.dtype == torch.float32
    torch.testing.assert_close(single.nngp.double(), double.nngp, rtol=0, atol=1e-5 * float(double.nngp.max()))
    torch.testing.assert_close(single.ntk.double(), double.ntk, rtol=0, atol=1e-5 * float(double.ntk.max()))
    diagonal = (single.ntk[1].double().diagonal() / double.ntk[1].diagonal() - 1).abs()
    assert diagonal.max() < 1e-6  # from float64 variances


def test_functions_and_modules_stand_for_names():
    x = normal(5, 3)
    choice = {"depth": 2, "settings": NTK, "init_scale": 1.5}
    for own, name in ((torch.nn.GELU(), "gelu"), (torch.tanh, "tanh"), (torch.nn.LeakyReLU(0.01), "leaky_relu")):
        assert torch.equal(infinite_ntk(x, activation=own, **choice), infinite_ntk(x, activation=name, **choice))
        assert torch.equal(infinite_nngp(x, activation=own, **choice), infinite_nngp(x, activation=name, **choice))
    linear = infinite_ntk(x, activation=torch.nn.Identity(), **choice)
    torch.testing.assert_close(linear, 3 * 1.5**3 * (x @ x.T) / 3, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_output_variance_is_the_nngp_diagonal(activation):
    chosen = NetworkSettings(activation=activation, bias_variance=0.3, output_scale=2.0)
    x = normal(6, 2, "x").reshape(6, 2, 1)
    for depth in (0, 1, 4):
        nngp = infinite_nngp(x, depth=depth, settings=chosen, init_scale=1.7)
        variance = output_variance(x, depth=depth, settings=chosen, init_scale=1.7)
        torch.testing.assert_close(variance, nngp.diagonal(), rtol=1e-12, atol=0)


def test_nngp_needs_no_width_but_the_standard_ntk_does():
    x = normal(2, 3)
    with pytest.raises(ValueError, match="grows with the width: give `width`"):
        infinite_ntk(x, depth=1, settings=NetworkSettings(), init_scale=2.0)
    same = infinite_nngp(x, depth=1, settings=NetworkSettings(), init_scale=2.0)
    torch.testing.assert_close(same, infinite_nngp(x, depth=1, settings=NTK, init_scale=2.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x1": torch.zeros(0, 3)}, "x1 is empty"),
        ({"x1": torch.full((2, 3), torch.nan)}, "x1 has a NaN"),
        ({"x2": torch.full((2, 3), torch.inf)}, "x2 has a NaN"),
        ({"x2": torch.ones(2, 4)}, "a sample of x1 has 3 inputs .* of x2 4"),
        ({"x1": [[1.0, 2.0], [3.0]]}, "x1 is a list that is no array of numbers"),
        ({"x1": None}, "x1 is a NoneType: give a torch tensor or a NumPy array"),
        ({"x1": torch.ones(2, 3, dtype=torch.complex64)}, "x1 is complex"),
        ({"init_scale": -1.0}, "positive and finite; got -1.0"),
        ({"init_scale": float("inf")}, "positive and finite"),
        ({"dtype": torch.bfloat16}, "torch.float64 or torch.float32, got torch.bfloat16"),
        ({"activation": "swish"}, "there is no activation 'swish'; known here: erf"),
        ({"depths": []}, "numbers of hidden layers"),
        ({"depths": [2, -1]}, "numbers of hidden layers"),
        ({"depths": [1.5]}, r"numbers of hidden layers, .*; got \(1.5,\)"),
        ({"depths": 3}, "numbers of hidden layers, .*; got 3"),
        ({"depths": "3"}, "numbers of hidden layers, .*; got '3'"),
        ({"init_scale": None}, "init_scale is None: give one number"),
        ({"init_scale": "2.0"}, "init_scale is '2.0': give one number"),
        ({"init_scale": 1e300}, "init_scale is 1e.300, which torch.float64 does not hold"),
        *(({"width": width}, "width is a number of hidden units, from 1 on; got") for width in (0, -3, 1.5, "16")),
    ],
)
def test_bad_input_gives_one_clear_message(change, message):
    choice = {"x1": torch.ones(2, 3), "depths": [1], "settings": NTK, "init_scale": 2.0} | change
    with pytest.raises((KernelInputError, ActivationError), match=message):
        infinite_kernels(choice.pop("x1"), choice.pop("x2", None), **choice)
