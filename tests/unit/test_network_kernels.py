"""Infinite-width kernels by architecture, and what a workflow asks of convolutional networks."""

import logging
import re

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ntk_atlas.config import (
    CheckpointSettings,
    ExperimentSettings,
    GridSettings,
    NetworkSettings,
    RegressionSettings,
    StudySettings,
    TrainingSettings,
    section_of,
)
from ntk_atlas.datasets import Dataset, inspect_dataset, make_draw, read_dataset
from ntk_atlas.families import build_networks
from ntk_atlas.families.convolutional import ConvolutionalSettings
from ntk_atlas.families.fully_connected import fully_connected
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.regress_infinite import regress_infinite
from ntk_atlas.kernels import (
    KernelInputError,
    infinite_convolutional_kernels,
    infinite_kernels,
    infinite_lambda_max,
    output_variance,
)
from ntk_atlas.networks import ConvolutionalArchitecture
from ntk_atlas.streams import torch_stream
from ntk_atlas.study import consistency_problems

DigitsSettings = section_of("digits")
TeacherSettings = section_of("teacher")

LAYOUT = ConvolutionalSettings(blocks=2, channels=(1, 2))
CHOICE = {"init_scale": 1.8, "width": 16}


def settings(readout="global_average", **change):
    return NetworkSettings(
        architecture="convolutional", convolutional=LAYOUT.model_copy(update={"readout": readout}),
        bias_variance=0.1, output_scale=1.5, **change,
    )  # fmt: skip


def images(n=6, shape=(2, 6, 5)):
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch_stream("images"))


@pytest.mark.parametrize("readout", ["flatten", "global_average"])
def test_convolutional_kernels_of_several_depths(readout):
    x, network = images(), settings(readout)
    both = network.family.infinite_kernels(x[:4], x[4:], depths=[1, 3], settings=network, **CHOICE)
    for position, depth in enumerate((1, 3)):
        architecture = ConvolutionalArchitecture.of_depth(network.convolutional, depth)
        alone = infinite_convolutional_kernels(x[:4], x[4:], architecture=architecture, settings=network, **CHOICE)
        assert torch.equal(both.ntk[position], alone.ntk[0])
        assert torch.equal(both.nngp[position], alone.nngp[0])
    assert both.error_bound.shape == (2, 2)


@pytest.mark.parametrize("readout", ["flatten", "global_average"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_output_variance_is_the_diagonal_of_the_nngp(monkeypatch, readout, activation):
    monkeypatch.setattr("ntk_atlas.kernels.infinite.convolutional._IMAGES_AT_A_TIME", 4)
    x, network = images(), settings(readout, activation=activation)
    expected = network.family.infinite_kernels(x, depths=[3], settings=network, **CHOICE).nngp[0].diagonal()
    found = network.family.output_variance(x, depth=3, settings=network, init_scale=1.8)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_fully_connected_networks_see_flat_inputs():
    x, network = images(), NetworkSettings(bias_variance=0.2)
    found = network.family.infinite_kernels(x, depths=[0, 2], settings=network, **CHOICE)
    expected = infinite_kernels(x.flatten(1), depths=[0, 2], settings=network, **CHOICE)
    assert torch.equal(found.ntk, expected.ntk)
    variance = network.family.output_variance(x, depth=2, settings=network, init_scale=1.8)
    assert torch.equal(variance, output_variance(x.flatten(1), depth=2, settings=network, init_scale=1.8))


def test_largest_eigenvalue_is_that_of_the_architecture():
    x, network = images(), settings()
    kernel = network.family.infinite_kernels(x, depths=[2], settings=network, **CHOICE).ntk[0]
    found = infinite_lambda_max(x, depth=2, settings=network, **CHOICE)
    assert found == pytest.approx(float(torch.linalg.eigvalsh(kernel)[-1]), rel=1e-12)


def test_cost_grows_with_pairs_of_images():
    network = settings()
    choice = {"input_shape": (1, 8, 8), "depths": (2,), "settings": network}
    many, few = (network.family.infinite_cost(n, n, **choice) for n in (640, 160))
    assert 5 < many / few < 50
    assert fully_connected.infinite_cost(640, 640, **choice) == 0.0


@pytest.mark.parametrize(
    ("x", "depth", "message"),
    [
        (torch.ones(3, 64), 2, r"images \(channels, height, width\)"),
        (torch.ones(3, 1, 1, 1), 2, "1 poolings halve images of 1 x 1 pixels away"),
        (torch.ones(3, 1, 8, 8), 0, "at least one convolution"),
    ],
)
def test_inputs_that_do_not_fit(x, depth, message):
    network = settings()
    for call in (
        lambda: network.family.infinite_kernels(x, depths=[depth], settings=network, **CHOICE),
        lambda: network.family.output_variance(x, depth=depth, settings=network, init_scale=1.0),
    ):
        with pytest.raises(KernelInputError, match=message):
            call()


def experiment(network, depth=(2,), dimension=16, width=(4, 8)):
    return ExperimentSettings(
        dataset=TeacherSettings(dimension=dimension, n_samples=60, n_validation=10, n_test=20),
        grid=GridSettings(depth=depth, width=width, init_scale=(2.0,), n_train=(8, 16), draws=2, seeds=2),
        network=network,
        training=TrainingSettings(max_epochs=2, checkpoints=CheckpointSettings(n_probe=4)),
        regression=RegressionSettings(predictors=("infinite_ntk", "nngp")),
    )


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_infinite_kernels_as_predictors(caplog, parameterization):
    """The stage against regression by hand, with the cost said before the first kernel."""
    network = NetworkSettings(
        architecture="convolutional", convolutional=LAYOUT, parameterization=parameterization, bias_variance=0.1
    )
    chosen = experiment(network)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((60, 1, 4, 4))
    data = Dataset(
        name="images", x=x, y=np.sign(x.mean((1, 2, 3)))[:, None], labels=None, split=None, target_encoding="±1"
    )
    with caplog.at_level(logging.INFO):
        found = regress_infinite(job_slice("regress_infinite", chosen, "2.0"), data)
    messages = [r.getMessage() for r in caplog.records]
    assert "infinite kernels of convolutional networks: about" in messages[0]
    draw = make_draw(data, chosen.dataset, 1)
    x_train, y_train = map(torch.as_tensor, draw.training_set(16))
    rest = torch.cat([torch.as_tensor(draw.x_validation), torch.as_tensor(draw.x_test)])
    layer = {"settings": network, "init_scale": 2.0, "width": 8}
    layer["architecture"] = ConvolutionalArchitecture.of_depth(LAYOUT, 2)
    gram = infinite_convolutional_kernels(x_train, **layer).ntk[0]
    cross = infinite_convolutional_kernels(rest, x_train, **layer).ntk[0, 10:]
    ridge_zero = (cross @ torch.linalg.solve(gram, y_train) - torch.as_tensor(draw.y_test)).square().mean()
    of_draw = found["test_mse_infinite_ntk"][..., 1, 1, :].reshape(-1, 2)[-1]
    assert np.isclose(of_draw, float(ridge_zero), rtol=1e-6).any()
    widths = (2,) if parameterization == "standard" else ()
    assert found["test_mse_infinite_ntk"].shape[: 1 + len(widths)] == (1, *widths)
    assert found["test_mse_nngp"].shape == (1, 2, 2, 2)
    for name in ("infinite_ntk", "nngp"):
        assert np.isfinite(found[f"test_mse_{name}"]).all()
    flat = regress_infinite(job_slice("regress_infinite", experiment(NetworkSettings(bias_variance=0.1)), "2.0"), data)
    assert not np.allclose(flat["test_mse_nngp"], found["test_mse_nngp"], rtol=1e-3)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (settings(), r"architecture: convolutional networks take images .* shape \(16,\)"),
        (NetworkSettings(), None),
    ],
)
def test_a_convolutional_network_asks_for_images(network, message):
    problems = consistency_problems(StudySettings(experiments={"a": experiment(network)}))
    said = [f"{p.key[-1]}: {p.message}" for p in problems]
    if message is None:
        assert not said
    else:
        (one,) = said
        assert re.match(message, one), one


@pytest.mark.parametrize(
    ("blocks", "depth", "message"),
    [
        (3, 3, None),
        (5, 5, "blocks: 4 poolings halve images of 8 x 8 pixels away: their sides must be at least 16"),
        (3, 0, "depth: a convolutional network has at least one convolution"),
    ],
)
def test_architecture_and_images_of_digits(blocks, depth, message):
    network = NetworkSettings(architecture="convolutional", convolutional={"blocks": blocks})
    chosen = experiment(network, depth=(depth,)).model_copy(update={"dataset": DigitsSettings(as_images=True)})
    said = [f"{p.key[-1]}: {p.message}" for p in consistency_problems(StudySettings(experiments={"a": chosen}))]
    assert len(said) == (message is not None)
    assert all(text.startswith(message) for text in said)


def test_digits_as_images_are_the_same_numbers():
    rows, as_images = (read_dataset(DigitsSettings(as_images=flag)).x for flag in (False, True))
    assert as_images.shape == (1797, 1, 8, 8)
    assert np.array_equal(rows, as_images.reshape(1797, 64))
    assert inspect_dataset(DigitsSettings(as_images=True)).input_shape == (1, 8, 8)


@pytest.mark.parametrize(("depth", "network"), [(3, settings()), (1, settings("flatten")), (3, NetworkSettings())])
def test_layer_sizes_count_parameters_and_operations(depth, network):
    built = build_networks(
        network, depth=depth, width=5, init_scale=1.0, input_shape=(2, 6, 4), n_outputs=3,
        generators=[torch_stream("w")],
    )  # fmt: skip
    sizes = network.family.layers(network, (2, 6, 4), depth, 5, 3)
    assert sum(layer.parameters for layer in sizes) == built.weights().shape[1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built.member(0)(torch.zeros(7, 2, 6, 4))
    assert 7 * 2 * sum(layer.multiply_adds for layer in sizes) == counter.get_total_flops()
