"""Kernels of untrained networks: against autograd and the general kernel code, and what their randomness depends on."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from ntk_atlas.activations import Activation, activation
from ntk_atlas.config import NetworkSettings
from ntk_atlas.dispersion import CHUNK, InitialKernelLaw, initial_kernels, stack_size
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.networks import ActivationLayer, LayerScaling, StackedLayers, StackedLinear
from ntk_atlas.streams import torch_stream

SEED = 3
CORRELATIONS = (1.0, 0.6, 0.0, -0.5)


def law(depth=3, width=8, n_inputs=5, squared_norm=2.5, correlations=CORRELATIONS, **network):
    return InitialKernelLaw(NetworkSettings(**network), depth, width, n_inputs, squared_norm, correlations)


def drawn_again(law, init_scale, count=4, chunk=0):
    """The first networks of a chunk as a stack in float64, on inputs of n₀ features."""
    network, stack = law.network, stack_size(law)
    sizes = (2, *[law.width] * law.depth, 1)
    weights = torch_stream("initial kernels", "weights", SEED, law.depth, law.width, chunk)
    biases = torch_stream("initial kernels", "biases", SEED, law.depth, law.width, chunk)
    layers = []
    normals = [torch.empty(stack, n_out, n_in).normal_(generator=weights) for n_in, n_out in pairwise(sizes)]
    for i, (weight, n_out) in enumerate(zip(normals, sizes[1:], strict=True)):
        weight = weight[:count].double().transpose(1, 2)
        bias = torch.randn(stack, n_out, generator=biases)[:count].double()
        if i == 0:  # features that are 0 at every input change nothing
            weight = torch.cat([weight, torch.randn(count, law.n_inputs - 2, n_out, dtype=torch.float64)], dim=1)
        factors = (init_scale / weight.shape[1]) ** 0.5, network.bias_variance**0.5
        if network.parameterization == "standard":
            layers.append(StackedLinear(factors[0] * weight, factors[1] * bias))
        else:
            layers.append(StackedLinear(weight, bias, LayerScaling(*factors)))
        layers[-1].bias.requires_grad_(network.trainable_biases)
    inputs = torch.zeros(len(law.correlations), law.n_inputs, dtype=torch.float64)
    inputs[:, :2] = torch.from_numpy(law.inputs)
    return StackedLayers(layers, ActivationLayer(activation(network.activation)), network.output_scale), inputs


CASES = [
    {},
    {"parameterization": "ntk"},
    {"activation": "tanh", "bias_variance": 0.3},
    {"activation": "sigmoid", "bias_variance": 0.3, "parameterization": "ntk", "output_scale": 2.0},
    {"activation": "gelu", "trainable_biases": False, "bias_variance": 0.1},
    {"activation": "erf", "depth": 1},
    {"activation": "leaky_relu", "depth": 5, "width": 3},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("weights_only", [False, True])
def test_kernels_are_those_of_the_general_code(case, weights_only):
    setting = law(**case)
    network, inputs = drawn_again(setting, 1.7)
    if weights_only:
        for layer in network.layers:
            layer.bias.requires_grad_(False)
    expected = empirical_ntk(network, inputs)[:, 0].numpy()
    kernels = initial_kernels(setting, [1.7], seed=SEED, chunks=[0])[0, 0, :4, int(weights_only)]
    np.testing.assert_allclose(kernels, expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())


def test_kernels_are_those_of_an_autograd_loop():
    setting = law(activation="tanh", bias_variance=0.2)
    network, inputs = drawn_again(setting, 3.0, count=2)
    kernels = initial_kernels(setting, [3.0], seed=SEED, chunks=[0])[0, 0]
    for member in range(2):
        gradients = []
        for x in inputs:
            output = network(x.unsqueeze(0))[member].sum()
            gradients.append([g[member].flatten() for g in torch.autograd.grad(output, list(network.parameters()))])
        for r in range(len(inputs)):
            products = [float(a @ b) for a, b in zip(gradients[0], gradients[r], strict=True)]
            assert kernels[member, 0, r] == pytest.approx(sum(products), rel=1e-4)
            assert kernels[member, 1, r] == pytest.approx(sum(products[::2]), rel=1e-4)


def test_inputs_have_the_norms_and_cosines_they_are_named_by():
    inputs = law(squared_norm=7.0).inputs
    np.testing.assert_allclose((inputs**2).sum(1), 7.0)
    np.testing.assert_allclose(inputs @ inputs[0] / 7.0, CORRELATIONS, atol=1e-15)


def test_a_network_does_not_depend_on_what_else_is_sampled():
    setting = law(width=6)
    alone = initial_kernels(setting, [2.0], seed=SEED, chunks=[1])
    among = initial_kernels(setting, [1.0, 2.0, 3.0], seed=SEED, chunks=[0, 1], workers=2)
    assert np.array_equal(alone[0, 0], among[1, 1])
    assert not np.array_equal(among[1, 0], among[1, 1])


def test_phases_are_paired_and_relu_weights_scale_with_the_init_scale_exactly():
    setting = law(depth=4)
    small, large = initial_kernels(setting, [2.0, 8.0], seed=SEED, chunks=[0])[:, 0, :, 1]
    np.testing.assert_array_equal(large, small * 4.0**4)  # a^{L−1}, a power of two


def test_under_the_ntk_parameterization_biases_drop_out_without_variance():
    kernels = initial_kernels(law(parameterization="ntk"), [1.3], seed=SEED, chunks=[0])
    assert np.array_equal(kernels[..., 0, :], kernels[..., 1, :])
    standard = initial_kernels(law(), [1.3], seed=SEED, chunks=[0])
    assert (standard[..., 0, 0] >= standard[..., 1, 0] + 1.0).all()  # the output bias has gradient 1


def test_the_general_and_the_short_way_through_relu_agree(monkeypatch):
    setting = law()
    short = initial_kernels(setting, [2.0], seed=SEED, chunks=[0])

    monkeypatch.setattr("ntk_atlas.activations.relu.Relu.with_slope", Activation.with_slope)
    assert np.array_equal(initial_kernels(setting, [2.0], seed=SEED, chunks=[0]), short)


def test_squares_beyond_single_precision_are_summed_in_double():
    kernels = initial_kernels(law(depth=30, width=20), [100.0], seed=SEED, chunks=[0])
    assert kernels.shape == (1, 1, CHUNK, 2, 4)
    diagonal = kernels[..., 1, 0]
    assert np.median(diagonal) > np.finfo(np.float32).max
    assert np.isfinite(diagonal).all()


def test_signals_beyond_single_precision_are_not_finite_and_do_no_harm():
    kernels = initial_kernels(law(depth=40, width=10), [1e9], seed=SEED, chunks=[0])
    assert not np.isfinite(kernels[..., 0, 0]).all()


def test_a_stack_is_bounded_whatever_the_width():
    assert stack_size(law(depth=50, width=4000)) == 1
    assert stack_size(law(depth=24, width=100)) * 24 * 100**2 <= 2**22
    assert stack_size(law(depth=1, width=1)) <= CHUNK


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correlations": (0.5, 1.0)}, "must start with 1"),
        ({"factory": "net.py:build"}, "network of your own"),
        ({"architecture": "convolutional"}, "these are convolutional networks"),
    ],
)
def test_laws_that_cannot_be_sampled(change, message):
    with pytest.raises(ValueError, match=message):
        law(**change)
