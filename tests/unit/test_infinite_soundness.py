"""Infinite kernels out of range, or decided by rounding, are never silent; error bounds where a variance is 0."""

import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

from ntk_atlas.activations import ActivationError
from ntk_atlas.config import NetworkSettings
from ntk_atlas.dispersion import critical_ratio_limit, exponential_ratio, finite_sum_ratio, weights_ratio_limit
from ntk_atlas.kernels import (
    KernelInputError,
    dual_of,
    infinite_convolutional_kernels,
    infinite_kernels,
    infinite_lambda_max,
    infinite_ntk,
    output_variance,
)
from ntk_atlas.networks import ConvolutionalArchitecture
from ntk_atlas.streams import torch_stream

X = torch.randn(5, 8, generator=torch_stream("soundness"), dtype=torch.float64)


def settings(activation: str = "relu", **choice) -> NetworkSettings:
    return NetworkSettings(activation=activation, **{"parameterization": "ntk"} | choice)


def overflow_depth(x: torch.Tensor, init_scale: float, limit: float) -> int:
    """The first depth at which the largest ReLU kernel, Θ = (L + 1) σ_w² (σ_w²/2)^L ‖x‖²/n, is too large."""
    depth, size = 0, init_scale * float((x**2).mean(1).max())
    while (depth + 1) * size <= limit:
        depth, size = depth + 1, size * init_scale / 2
    return depth


def warned(caplog) -> list[str]:
    """Warnings alone: whether jobs that ran before let information through does not count."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_an_overflow_is_said_with_the_depth(dtype, parameterization, caplog):
    depth = overflow_depth(X, 256.0, torch.finfo(dtype).max)
    shallow = depth // 2
    choice = {"settings": settings(parameterization=parameterization), "init_scale": 256.0, "dtype": dtype, "width": 1}
    kernels = infinite_kernels(X, depths=[shallow, depth + 3], **choice)
    assert kernels.ntk[0].isfinite().all()
    assert not kernels.ntk[1].isfinite().any()
    if parameterization == "ntk":
        assert f"infinite kernels overflow {dtype} from depth {depth} on at init_scale 256" in caplog.text
    assert "infinite kernels overflow" in caplog.text
    caplog.clear()
    infinite_kernels(X, depths=[shallow], **choice)
    assert not warned(caplog)


@pytest.mark.parametrize("activation", ["erf", "gelu", "leaky_relu", "tanh", "silu"])
def test_inputs_whose_squares_overflow_are_said_and_give_no_numbers(activation, caplog):
    kernels = infinite_kernels(1e160 * X, depths=[2], settings=settings(activation), init_scale=2.0)
    assert kernels.nngp.isnan().all()
    assert kernels.ntk.isnan().all()
    assert "infinite kernels overflow torch.float64 from depth 0 on" in caplog.text
    output_variance(1e160 * X, depth=2, settings=settings(activation), init_scale=2.0)
    assert caplog.text.count("overflow") == 2


def test_the_largest_variances_that_fit_are_right():
    q = torch.tensor([1e150, 1e200, 1e300], dtype=torch.float64)
    torch.testing.assert_close(dual_of("gelu").second_moment(q), q / 2, rtol=1e-12, atol=0)


def test_inputs_that_float32_does_not_hold_are_named():
    with pytest.raises(
        KernelInputError, match=r"x1 overflows torch.float32: its largest entry is .*take dtype=torch.f"
    ):
        infinite_ntk(1e60 * X, depth=1, settings=settings(), init_scale=2.0, dtype=torch.float32)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_an_underflow_is_said_and_gives_zero(activation, caplog):
    kernels = infinite_kernels(1e-200 * X, depths=[1], settings=settings(activation), init_scale=2.0)
    assert (kernels.ntk.diagonal(dim1=1, dim2=2) == 0).all()
    assert "infinite kernels underflow torch.float64 from depth 0 on" in caplog.text
    caplog.clear()
    if activation == "relu":
        deep = infinite_kernels(X, depths=[3, 60], settings=settings(), init_scale=0.01, dtype=torch.float32)
        assert (deep.nngp[1] == 0).all()
        assert "infinite kernels underflow torch.float32 from depth 16 on at init_scale 0.01" in caplog.text
        caplog.clear()
    zero = torch.cat([X, torch.zeros(1, 8, dtype=torch.float64)])
    infinite_kernels(zero, depths=[1], settings=settings(activation), init_scale=2.0)
    assert not warned(caplog)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_tiny_inputs_scale_as_the_linear_network(activation):
    plain = infinite_kernels(1e-6 * X, depths=[1, 2], settings=settings(activation), init_scale=2.0).ntk
    tiny = infinite_kernels(1e-100 * X, depths=[1, 2], settings=settings(activation), init_scale=2.0).ntk
    torch.testing.assert_close(tiny * 1e188, plain, rtol=1e-5, atol=1e-17)


def test_an_activation_too_steep_for_quadrature_is_named_with_its_variance():
    with pytest.raises(ActivationError, match=r"at variance .*e\+.* steeper, .* scale the inputs"):
        infinite_ntk(1e60 * X, depth=1, settings=settings("tanh"), init_scale=2.0)
    with pytest.raises(ActivationError, match="hidden layer 3: the activation overflows within 12 standard"):
        infinite_ntk(X, depth=4, settings=settings(), init_scale=2.0, activation=torch.special.expm1)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e20), (torch.float64, 1e120)])
def test_convolutional_kernels_say_it_too(dtype, scale, caplog):
    images = torch.rand(2, 1, 4, 4, generator=torch_stream("soundness images"), dtype=torch.float64)
    architecture = ConvolutionalArchitecture(blocks=((2, False),), kernel_size=3, readout="flatten")
    choice = {"architecture": architecture, "settings": settings()}
    kernels = infinite_convolutional_kernels(images, init_scale=scale, dtype=dtype, **choice)
    assert not kernels.ntk.isfinite().all()
    assert f"infinite kernels overflow {dtype}" in caplog.text
    caplog.clear()
    infinite_convolutional_kernels(images, init_scale=1.0 / scale, dtype=dtype, **choice)
    assert f"infinite kernels underflow {dtype}" in caplog.text
    caplog.clear()
    infinite_convolutional_kernels(images, init_scale=2.0, dtype=dtype, **choice)
    assert not warned(caplog)


def test_a_scale_that_the_precision_does_not_hold_is_named():
    with pytest.raises(KernelInputError, match=r"init_scale is 1e\+60, which torch.float32 does not hold"):
        infinite_ntk(X, depth=1, settings=settings(), init_scale=1e60, dtype=torch.float32)


def test_a_stability_limit_of_a_kernel_that_overflows_is_refused():
    with pytest.raises(KernelInputError, match="the infinite NTK at depth 400, init_scale 256, overflows"):
        infinite_lambda_max(X, depth=400, settings=settings(), init_scale=256.0)


@pytest.mark.parametrize("activation", ["tanh", "silu", "sigmoid", lambda u: torch.sin(u) + u])
@pytest.mark.parametrize("factor", [0.0, 1e-170, 1e-30, 1e-9])
def test_a_sample_of_zeros_leaves_the_bound_to_the_others(activation, factor, caplog):
    x = X.clone()
    x[1] *= factor
    name = activation if isinstance(activation, str) else "relu"
    choice = {"depths": [1, 3], "settings": settings(name), "init_scale": 2.0}
    if not isinstance(activation, str):
        choice["activation"] = activation
    found, others = infinite_kernels(x, **choice), infinite_kernels(X, **choice)
    assert (found.error_bound <= 100.0 * others.error_bound.clamp(min=1e-10)).all()
    assert "certain to" not in caplog.text


def test_all_samples_zero_have_no_error():
    kernels = infinite_kernels(torch.zeros(2, 3), depths=[2], settings=settings("tanh"), init_scale=2.0)
    assert (kernels.error_bound < 1e-9).all()
    assert (kernels.ntk == 0).all()


@pytest.mark.parametrize(
    ("activation", "depth", "dtype"),
    [("erf", 50, torch.float32), ("erf", 120, torch.float64), ("relu", 50, torch.float32)],
)
def test_rounding_that_chaos_amplifies_is_said(activation, depth, dtype, caplog):
    near = X.clone()
    near[4] = X[0] + (1e-3 if activation == "relu" else 0.0)
    choice = {"depths": [depth], "settings": settings(activation), "init_scale": 3.0, "dtype": dtype}
    infinite_kernels(X, near, **choice)
    assert f"at depth {depth} rounding in {dtype} decides kernels of nearly equal samples: for sample" in caplog.text
    caplog.clear()
    infinite_kernels(X, X[:3] + 1.0, **choice)  # nothing is near
    infinite_kernels(X, near, **choice | {"depths": [3]})
    assert "rounding" not in caplog.text


def test_what_is_said_of_rounding_is_what_happens(caplog):
    choice = {"depths": [50], "settings": settings("erf"), "init_scale": 3.0}
    single = infinite_kernels(X, X.clone(), dtype=torch.float32, **choice).nngp[0].diagonal().double()
    exact = infinite_kernels(X, **choice).nngp[0].diagonal()
    worst = float(((single - exact) / exact).abs().max())
    assert worst > 0.01
    assert "of the NNGP" in caplog.text


def pair(angle: float, norm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two samples of ‖x‖²/n = norm² at an angle, numbers of float32."""
    first, other = X[0] / X[0].norm(), X[1] - (X[1] @ X[0]) * X[0] / X[0].norm() ** 2
    second = math.cos(angle) * first + math.sin(angle) * other / other.norm()
    return tuple((norm * math.sqrt(8) * side).float()[None] for side in (first, second))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "erf", "gelu"])
@pytest.mark.parametrize("norm", [1e-3, 1.0, 1e3, 1e5])
def test_single_precision_is_near_double_or_warns(activation, norm, caplog):
    depths, far = [1, 3, 20, 50], []
    for init_scale in (1.0, 3.0):
        choice = {"depths": depths, "settings": settings(activation), "init_scale": init_scale}
        for angle in (0.0, 1e-4, 1.0):
            x, y = pair(angle, norm)
            caplog.clear()
            single = infinite_kernels(x, y, dtype=torch.float32, **choice)
            said = [int(text.partition("at depth ")[2].split()[0]) for text in warned(caplog) if "at depth " in text]
            double, own = infinite_kernels(x.double(), y.double(), **choice), infinite_kernels(x.double(), **choice)
            for name in ("nngp", "ntk"):
                kernels = [getattr(kernel, name)[:, 0, 0].double() for kernel in (single, double, own)]
                errors = (kernels[0] - kernels[1]).abs() / kernels[2]
                far += [
                    (init_scale, angle, name, depth, float(error))
                    for depth, error in zip(depths, errors, strict=True)
                    if not (error < 5e-3 or (said and depth >= min(said)))
                ]
    assert not far


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu"])
@pytest.mark.parametrize("readout", ["flatten", "global_average"])
def test_convolutional_kernels_in_single_precision_are_near_double_or_warn(activation, readout, caplog):
    architecture = ConvolutionalArchitecture(blocks=((2, True), (2, False)), kernel_size=3, readout=readout)
    images = torch.rand(2, 1, 4, 4, generator=torch_stream("soundness images"), dtype=torch.float64)
    images[1] = images[0] + 1e-3 * images[1]
    for norm in (1.0, 1e3):
        x, y = ((norm * image[None]).float() for image in images)
        choice = {"architecture": architecture, "settings": settings(activation), "init_scale": 3.0}
        caplog.clear()
        single = infinite_convolutional_kernels(x, y, dtype=torch.float32, **choice)
        double = infinite_convolutional_kernels(x.double(), y.double(), **choice)
        for name in ("nngp", "ntk"):
            exact = getattr(double, name)
            far = (getattr(single, name).double() - exact).abs() > 5e-3 * exact.abs()
            assert not far.any() or any("rounding" in text for text in warned(caplog)), (norm, name)


@pytest.mark.parametrize("activation", ["erf", "gelu"])
@pytest.mark.parametrize("norm", [1e-150, 1e-8, 1e3, 1e6, 1e9])
def test_equal_samples_given_twice_have_the_kernel_of_one(activation, norm):
    x = norm * X[:1]
    choice = {"depths": [1, 3, 20], "settings": settings(activation), "init_scale": 1.0}
    own, twice = infinite_kernels(x, **choice), infinite_kernels(x, x * (1.0 + 1e-16), **choice)
    torch.testing.assert_close(twice.nngp, own.nngp, rtol=1e-8, atol=0.0)
    torch.testing.assert_close(twice.ntk, own.ntk, rtol=1e-6 if norm < 1e6 else 0.5, atol=0.0)


def test_arrays_are_inputs():
    choice = {"depth": 2, "settings": settings("erf"), "init_scale": 2.0}
    assert torch.equal(infinite_ntk(X.numpy(), **choice), infinite_ntk(X, **choice))
    with pytest.raises(KernelInputError, match=r"x1 has dtype .*128, which torch lacks"):
        infinite_ntk(X.numpy().astype(np.longdouble), **choice)


@pytest.mark.parametrize("activation", [nn.PReLU(), nn.Sequential(nn.Linear(1, 1))])
def test_an_activation_with_parameters_is_refused(activation):
    with pytest.raises(ActivationError, match="has parameters, which would be trained"):
        dual_of(activation)


def test_relu_at_zero_is_the_average_of_its_slopes_and_torch_takes_zero():
    zero = torch.zeros(1, 3, dtype=torch.float64)
    standard = {"settings": settings(parameterization="standard", bias_variance=0.0), "init_scale": 2.0, "width": 8}
    # Θ(0, 0): one from the biases of each of the four layers, carried by σ_w² E[φ'²] = 1; torch has φ'(0) = 0.
    assert float(infinite_ntk(zero, depth=3, **standard)) == 4.0
    network = nn.Sequential(*(m for _ in range(3) for m in (nn.LazyLinear(8), nn.ReLU())), nn.LazyLinear(1)).double()
    network(zero)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    gradients = torch.autograd.grad(network(zero).sum(), list(network.parameters()))
    assert sum(float((g**2).sum()) for g in gradients) == 1.0


def test_ratios_that_overflow_are_infinite_and_said(caplog):
    assert exponential_ratio(150.0) == weights_ratio_limit(150.0) == critical_ratio_limit(150.0, 1.0) == math.inf
    assert finite_sum_ratio(np.zeros(1000), np.zeros(1000), 4) == math.inf
    assert caplog.text.count("overflows: at λ") == 4
    assert finite_sum_ratio(np.zeros(30), np.zeros(30), 8) < math.inf
