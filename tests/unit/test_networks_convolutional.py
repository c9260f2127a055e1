import pytest
import torch
from kernel_catalogue import ntk_by_loop, reduced
from pydantic import ValidationError
from torch import nn

from ntk_atlas.activations import ACTIVATIONS, activation
from ntk_atlas.config import NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.families.convolutional import ConvolutionalSettings
from ntk_atlas.kernels import empirical_ntk, empirical_ntk_with_record
from ntk_atlas.networks import ConvolutionalArchitecture, NetworkShapeError
from ntk_atlas.networks import convolutional as module
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, train_unit

GAP = {"channels": (1, 2), "readout": "global_average"}
FLAT = {"blocks": 2, "readout": "flatten"}
PARAMETERIZATIONS = ["standard", "ntk"]


def build(seeds=(0, 1, 2), *, depth=3, init_scale=1.7, dtype=torch.float64, shape=(2, 9, 8), layout=GAP, **settings):
    return build_networks(
        NetworkSettings(
            architecture="convolutional",
            convolutional=ConvolutionalSettings(**layout),
            **({"bias_variance": 0.3, "output_scale": 1.5} | settings),
        ),
        depth=depth,
        width=4,
        init_scale=init_scale,
        input_shape=shape,
        n_outputs=2,
        generators=[torch_stream("weights", seed) for seed in seeds],
        dtype=dtype,
    )


def images(n=5, shape=(2, 9, 8), dtype=torch.float64):
    return torch.randn(n, *shape, generator=torch_stream("images"), dtype=dtype)


def plain_twin(network, index):
    """The member as torch's own layers, factors of the parameterization in the weights."""
    layers, position = [], 0
    for count, pool in network.architecture.blocks:
        for layer in network.convolutions[position : position + count]:
            _, c_out, c_in, k, _ = layer.weight.shape
            twin = nn.Conv2d(c_in, c_out, k, padding=k // 2)
            twin.weight = nn.Parameter(layer.weight_factor * layer.weight[index])
            twin.bias = nn.Parameter(layer.bias_factor * layer.bias[index])
            layers += [twin, network.phi]
        layers += [nn.AvgPool2d(2)] * pool
        position += count
    layers += [nn.AdaptiveAvgPool2d(1)] * (network.architecture.readout == "global_average") + [nn.Flatten()]
    last = network.readout
    head = nn.Linear(*last.weight.shape[1:])
    head.weight = nn.Parameter(last.weight_factor * last.weight[index].mT)
    head.bias = nn.Parameter(last.bias_factor * last.bias[index])
    return nn.Sequential(*layers, head)


@pytest.mark.parametrize("small", [0, 2**16])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize(("layout", "depth"), [(GAP, 3), (FLAT, 3), (FLAT, 1), (GAP, 5)])
def test_outputs_are_those_of_plain_modules(monkeypatch, small, parameterization, layout, depth):
    """Both for members in one grouped convolution and in turn, inputs shared or of each member's own."""
    monkeypatch.setattr(module, "_SMALL", small)
    network = build(layout=layout, depth=depth, parameterization=parameterization, activation="erf")
    x = images()
    own = torch.stack([x, x + 1, x * 2])
    for index in range(3):
        twin = plain_twin(network, index)
        torch.testing.assert_close(network(x)[index], 1.5 * twin(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(network(own)[index], 1.5 * twin(own[index]), rtol=1e-12, atol=1e-12)


def test_gradients_do_not_depend_on_how_members_are_evaluated(monkeypatch):
    network, results = build(activation="tanh"), []
    for small in (0, 2**16):
        monkeypatch.setattr(module, "_SMALL", small)
        results.append(torch.autograd.grad(network(images()).square().sum(), list(network.parameters())))
    for in_turn, together in zip(*results, strict=True):
        torch.testing.assert_close(in_turn, together, rtol=1e-11, atol=1e-11)


def test_both_parameterizations_are_one_function():
    standard, ntk = (build(parameterization=name) for name in PARAMETERIZATIONS)
    torch.testing.assert_close(standard(images()), ntk(images()), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(standard.weights(), ntk.weights())


def test_streams_pair_init_scales_and_do_not_see_other_members_or_precision():
    small, large = build(init_scale=0.5, bias_variance=0.0), build(init_scale=2.0, bias_variance=0.0)
    torch.testing.assert_close(2.0 * small.weights(), large.weights(), rtol=1e-12, atol=0)
    assert torch.equal(build(seeds=(2,)).weights()[0], build().weights()[2])
    assert torch.equal(build(dtype=torch.float32).weights(), build().weights().float())
    state = torch.random.get_rng_state()
    build()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weight_variance_is_the_init_scale_over_the_fan_in():
    network = build(seeds=range(300), layout={"channels": (2, 1), "blocks": 2, "readout": "flatten"}, depth=2)
    fan_ins = [9 * 2, 9 * 8, 4 * 4 * 4]
    for layer, fan_in in zip([*network.convolutions, network.readout], fan_ins, strict=True):
        assert float(layer.weight.detach().var()) * fan_in == pytest.approx(1.7, rel=0.05)
        assert float(layer.bias.detach().var()) == pytest.approx(0.3, rel=0.15)


def test_weights_round_trip_members_and_copies():
    network, other, x = build(), build(seeds=(7, 8, 9)), images()
    other.load_weights(network.weights())
    assert torch.equal(other(x), network(x))
    member = network.member(1)
    torch.testing.assert_close(member(x), network(x)[1], rtol=1e-13, atol=1e-13)
    before = network.weights()
    with torch.no_grad():
        next(member.parameters()).add_(1.0)
    assert torch.equal(network.weights(), before)
    torch.testing.assert_close(network.select([2, 0])(x), network(x)[[2, 0]], rtol=1e-13, atol=1e-13)


def test_fixed_biases_stay_fixed_in_selected_members():
    network = build(trainable_biases=False)
    for copy in (network, network.select([2, 0]), network.member(1)):
        assert {name.split(".")[-1] for name, p in copy.named_parameters() if p.requires_grad} == {"weight"}


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (1, ((1, False),)),
        (2, ((1, True), (1, False))),
        (3, ((1, True), (1, True), (1, False))),
        (4, ((2, True), (1, True), (1, False))),
        (6, ((2, True), (2, True), (2, False))),
        (9, ((3, True), (3, True), (3, False))),
    ],
)
def test_depth_fills_blocks_as_in_the_myrtle_networks(depth, blocks):
    architecture = ConvolutionalArchitecture.of_depth(ConvolutionalSettings(), depth)
    assert architecture.blocks == blocks
    assert architecture.depth == depth
    assert [architecture.sizes(side, side)[-1][0] for side in (8, 16, 28, 32)] == [
        side // 2 ** (len(blocks) - 1) for side in (8, 16, 28, 32)
    ]


def test_channels_of_the_gap_network():
    architecture = ConvolutionalArchitecture.of_depth(ConvolutionalSettings(**GAP), 3)
    assert architecture.layer_channels == (1, 2, 2)
    assert architecture.fan_ins((3, 16, 16), 16) == (27, 9 * 16, 9 * 32, 32)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("layout", [GAP, FLAT])
@pytest.mark.parametrize("trainable_biases", [True, False])
@pytest.mark.parametrize("output_reduction", ["full", "mean", "logit_sum"])
def test_empirical_ntk_equals_the_loop(parameterization, layout, trainable_biases, output_reduction):
    shape = (2, 5, 4)
    network = build(
        (0, 1), layout=layout, shape=shape, parameterization=parameterization, trainable_biases=trainable_biases
    )
    x1, x2 = images(4, shape), images(7, shape)[4:]
    for other in (None, x2):
        kernels = empirical_ntk(network, x1, other, output_reduction=output_reduction)
        for index in range(2):
            expected = reduced(ntk_by_loop(network.member(index), x1, other), output_reduction)
            torch.testing.assert_close(kernels[index], expected, rtol=1e-11, atol=1e-11 * float(expected.abs().max()))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_empirical_ntk_uses_the_structure_and_says_so(parameterization):
    network = build((0, 1), parameterization=parameterization)
    kernels, record = empirical_ntk_with_record(network, images())
    assert record.layers.startswith("1 layer by factors, ") and "Jacobian" not in record.layers
    assert record.parameterization == parameterization
    alone = empirical_ntk(build((1,), parameterization=parameterization), images())[0]
    torch.testing.assert_close(kernels[1], alone, rtol=1e-13, atol=0)


def test_layers_in_groups_give_the_same_kernel():
    network = build((0,), layout={"channels": (8,)}, parameterization="ntk")
    x = images(12)
    whole, record = empirical_ntk_with_record(network, x)
    least, divided = empirical_ntk_with_record(network, x, memory_limit=620_000)
    assert "groups" in divided.layers and "groups" not in record.layers
    torch.testing.assert_close(whole, least, rtol=1e-12, atol=0)


@pytest.mark.parametrize("batch_size", ["full", 8])
def test_training_lowers_the_loss_and_does_not_depend_on_the_stack(batch_size):
    x = images(40, (1, 8, 8))
    y = torch.sign(x.mean((1, 2, 3)) + 0.3 * x[:, 0, 0, 0]).unsqueeze(1)
    data = UnitData(x[:24], y[:24], x[24:32], y[24:32], x[32:], y[32:], x_probe=x[32:36])

    def trained(seeds):
        return train_unit(
            build_networks(
                NetworkSettings(architecture="convolutional", convolutional=ConvolutionalSettings(**GAP)),
                depth=3, width=4, init_scale=2.0, input_shape=(1, 8, 8), n_outputs=1,
                generators=[torch_stream("weights", seed) for seed in seeds], dtype=torch.float64,
            ),
            data,
            settings=TrainingSettings(
                dtype="float64", batch_size=batch_size, max_epochs=30, learning_rate={"absolute": 0.1}
            ),
            target_scale=1.0,
            n_epochs=30,
            batch_labels=[("batches", seed) for seed in seeds],
        )  # fmt: skip

    together, alone = trained((0, 1)), trained((1,))
    assert (together.train_mse[:, -1] < 0.7 * together.train_mse[:, 0]).all()
    for name in ("train_mse", "test_mse", "probe_kernels", "weights"):
        first, second = (torch.as_tensor(getattr(part, name)) for part in (together, alone))
        torch.testing.assert_close(first[1], second[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (64,)}, r"take images \(channels, height, width\), a sample of these data has shape \(64,\)"),
        ({"layout": {"blocks": 5}, "depth": 5}, r"4 poolings halve images of 9 x 8 pixels away: .* at least 16"),
        ({"depth": 0}, "at least one convolution"),
    ],
)
def test_what_does_not_fit_is_one_message(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
    assert issubclass(NetworkShapeError, ValueError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"convolutional": {"blocks": 2}}, "does not apply to the architecture fully_connected"),
        ({"architecture": "convolutional", "convolutional": {"kernel_size": 4}}, "odd number"),
        ({"architecture": "convolutional", "convolutional": {"channels": []}}, "at least 1 item"),
        (
            {"architecture": "convolutional", "factory": "a.py:b"},
            "architecture does not apply to a network of your own",
        ),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSettings(**settings)
    with pytest.raises(ValueError, match="channels are at least 1"):
        ConvolutionalArchitecture(((1, False),), channels=())


@pytest.mark.parametrize("name", ACTIVATIONS.names())
def test_every_activation_and_precision(name):
    double, single = (build((0,), activation=name, dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert single.phi.activation is activation(name)
    torch.testing.assert_close(single(images().float()), double(images()).float(), rtol=1e-4, atol=1e-4)
