import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.streams import torch_stream

ACTIVATIONS = ["relu", "leaky_relu", "erf", "tanh", "sigmoid", "gelu", "silu"]


def build(seeds=(0, 1, 2), depth=2, init_scale=1.7, output_scale=1.0, **settings):
    return build_networks(
        NetworkSettings(output_scale=output_scale, **settings),
        depth=depth,
        width=5,
        init_scale=init_scale,
        input_shape=(2, 3),
        n_outputs=2,
        generators=[torch_stream("weights", seed) for seed in seeds],
        dtype=torch.float64,
    )


@pytest.fixture
def x():
    return torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 3])
def test_outputs_by_explicit_loops(x, activation, depth):
    network = build(depth=depth, activation=activation, bias_variance=0.3, output_scale=2.0)
    phi = getattr(torch, activation, None) or getattr(torch.nn.functional, activation)
    for s in range(3):
        h = x.reshape(7, 6)
        for index, layer in enumerate(network.layers):
            z = torch.stack([sample @ layer.weight[s] + layer.bias[s] for sample in h])
            h = phi(z) if index < depth else 2.0 * z
        torch.testing.assert_close(network(x)[s], h, rtol=1e-12, atol=1e-12)
    own = torch.stack([x, x + 1, x * 2])
    torch.testing.assert_close(network(own)[1], network(x + 1)[1], rtol=1e-12, atol=1e-12)


def test_both_parameterizations_are_one_function(x):
    standard = build(parameterization="standard", bias_variance=0.2)
    ntk = build(parameterization="ntk", bias_variance=0.2)
    torch.testing.assert_close(standard(x), ntk(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(standard.weights(), ntk.weights())


def test_streams_pair_init_scales_and_do_not_see_other_members(x):
    small, large = build(init_scale=0.5), build(init_scale=2.0)
    torch.testing.assert_close(2.0 * small.weights(), large.weights(), rtol=1e-12, atol=0)
    torch.testing.assert_close(build(seeds=(2,)).weights()[0], small.weights()[2] * 1.7**0.5 / 0.5**0.5)


def test_weight_variance_is_the_init_scale():
    network = build(seeds=range(400), depth=1, init_scale=1.5)
    for layer in network.layers:
        fan_in = layer.weight.shape[1]
        assert float(layer.weight.detach().var()) * fan_in == pytest.approx(1.5, rel=0.06)


def test_weights_round_trip_members_and_copies(x):
    network, other = build(), build(seeds=(7, 8, 9))
    other.load_weights(network.weights())
    assert torch.equal(other(x), network(x))
    member = network.member(1)
    torch.testing.assert_close(member(x), network(x)[1], rtol=1e-13, atol=1e-13)
    before = network.weights()
    with torch.no_grad():
        next(member.parameters()).add_(1.0)
    assert torch.equal(network.weights(), before)
    torch.testing.assert_close(network.select([2, 0])(x), network(x)[[2, 0]], rtol=1e-13, atol=1e-13)


def test_fixed_biases_stay_out_of_training():
    network = build(trainable_biases=False, bias_variance=0.1)
    assert {name.split(".")[-1] for name, p in network.named_parameters() if p.requires_grad} == {"weight"}


def test_frozen_parameters_stay_frozen_in_selected_members():
    stack = build_networks(
        NetworkSettings(trainable_biases=False),
        depth=1,
        width=4,
        init_scale=2.0,
        input_shape=(3,),
        n_outputs=2,
        generators=[torch_stream("frozen", i) for i in range(3)],
    )
    expected = [True, False, True, False]
    assert [p.requires_grad for p in stack.parameters()] == expected
    assert [p.requires_grad for p in stack.select([2, 0]).parameters()] == expected
    assert [p.requires_grad for p in stack.member(1).parameters()] == expected


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_a_small_last_layer_scales_the_output_and_no_other_layer(x, parameterization):
    plain, small = (build(parameterization=parameterization, last_layer_scale=scale) for scale in (1.0, 0.1))
    torch.testing.assert_close(small(x), 0.1 * plain(x), rtol=1e-12, atol=1e-12)
    for mine, others in zip(small.layers[:-1], plain.layers[:-1], strict=True):
        torch.testing.assert_close(mine.weight, others.weight, rtol=0, atol=0)
