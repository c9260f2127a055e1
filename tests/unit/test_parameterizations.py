"""Parameterizations: equal functions at initialization, rates in forward factors, and muP's features at every width."""

import numpy as np
import pytest
import torch

from ntk_atlas.config import ExperimentSettings, FigureSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.figures.parts import plot_coordinate_check
from ntk_atlas.kernels import KernelInputError, empirical_ntk, infinite_kernels
from ntk_atlas.parameterizations import PARAMETERIZATIONS, layer_parameters, parameterization
from ntk_atlas.parameterizations.mup import MaximalUpdate
from ntk_atlas.study import value_problems
from ntk_atlas.training import UnitData, train_unit
from ntk_atlas.training.coordinate_check import coordinate_check

BASE, WIDTH, DEPTH = 64, 256, 2
RATIO = WIDTH / BASE


def build(name, *, width=WIDTH, depth=DEPTH, **settings):
    return build_networks(
        NetworkSettings(**{"parameterization": name, "activation": "tanh", "bias_variance": 0.1} | settings),
        depth=depth, width=width, init_scale=1.5, input_shape=(6,), n_outputs=2,
        generators=[torch.Generator().manual_seed(seed) for seed in (0, 1)], dtype=torch.float64,
    )  # fmt: skip


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(5)
    x = torch.randn(24, 6, generator=g, dtype=torch.float64)
    return x, torch.stack([x[:, 0] * x[:, 1], x[:, 2].sign()], 1)


def test_the_room_lists_its_files_and_a_wrong_name_says_what_there_is():
    assert set(PARAMETERIZATIONS.names()) >= {"standard", "ntk", "mup"}
    with pytest.raises(ValueError, match=r"no parameterization 'ntks'; did you mean `ntk`\? known here: mup, ntk, "):
        NetworkSettings(parameterization="ntks")


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_at_the_base_width_mup_is_the_standard_parameterization(data, depth):
    networks = [build(name, width=BASE, depth=depth) for name in ("mup", "standard")]
    assert torch.equal(*(network.weights() for network in networks))
    assert torch.equal(*(empirical_ntk(network, data[0]) for network in networks))
    assert networks[0].rates() == networks[1].rates() == [1.0] * 2 * (depth + 1)


def test_a_linear_model_has_no_width_to_scale_by():
    assert torch.equal(build("mup", depth=0).weights(), build("standard", depth=0).weights())
    assert build("mup", depth=0).rates() == [1.0, 1.0]


def test_a_kernel_weighs_each_parameter_by_its_squared_forward_factor():
    parameters = [parameter for pair in layer_parameters([6, WIDTH, WIDTH], WIDTH) for parameter in pair]
    for name in PARAMETERIZATIONS.names():
        value = parameterization(name)
        for parameter in parameters:
            _, forward = value.split(parameter, (1.5 / parameter.fan_in) ** 0.5)
            assert value.kernel_factor(parameter, 1.5) == pytest.approx(parameter.fan_in * forward**2)


# Of weights and biases, layer by layer: the table of Yang et al. (2022) in units of the standard parameterization.
DESCENT = [RATIO, RATIO, 1.0, RATIO, 1 / RATIO, 1.0]
ADAM = [1.0, 1.0, 1 / RATIO, 1.0, 1 / RATIO, 1.0]


@pytest.mark.parametrize(
    ("name", "rate", "rates", "by_hand"),
    [
        ("sgd", 0.05, DESCENT, lambda groups: torch.optim.SGD(groups)),
        ("momentum", 0.02, DESCENT, lambda groups: torch.optim.SGD(groups, momentum=0.9)),
        ("adam", 0.002, ADAM, lambda groups: torch.optim.Adam(groups)),
    ],
)
def test_mup_trains_as_standard_networks_with_the_rates_of_the_table(data, name, rate, rates, by_hand):
    x, y = data
    mup, plain = build("mup"), build("standard")
    with torch.no_grad():
        plain.layers[-1].weight /= RATIO**0.5
    torch.testing.assert_close(mup(x), plain(x))
    settings = TrainingSettings(optimizer=name, learning_rate={"absolute": rate}, max_epochs=5, dtype="float64")
    train_unit(mup, UnitData(x, y, x, y, x, y, x), settings=settings, n_epochs=5, batch_labels=[("a",), ("b",)])
    parameters = zip(plain.parameters(), rates, strict=True)
    steps = by_hand([{"params": [p], "lr": rate * factor} for p, factor in parameters])
    start = plain(x).detach()
    for _ in range(5):
        steps.zero_grad()
        ((plain(x) - y).square().sum() / (2 * len(x))).backward()
        steps.step()
    assert (plain(x) - start).abs().max() > 0.05
    torch.testing.assert_close(mup(x), plain(x), rtol=1e-4, atol=1e-6)


WIDTHS = (64, 256, 1024)


def check(name, optimizer, rate):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(16, 8, generator=g)
    training = TrainingSettings(
        optimizer=optimizer, learning_rate={"absolute": rate}, max_epochs=3, initial_output="subtract"
    )
    return coordinate_check(
        NetworkSettings(parameterization=name, activation="tanh"), training, x, (x[:, :1] * x[:, 1:2]).sign(),
        depth=2, widths=WIDTHS, init_scale=2.0, seeds=6,
    )  # fmt: skip


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("momentum", 0.05), ("adam", 0.002)])
def test_mup_learns_features_at_every_width(optimizer, rate):
    found = check("mup", optimizer, rate)
    size, change = found.slopes()
    assert np.abs(size[:-1]).max() < 0.02 and size[-1] == pytest.approx(-0.5, abs=0.12)
    assert np.abs(change).max() < 0.1
    assert found.change[:, :, -1].min() > 0.05  # all of them learn something


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.001), ("adam", 0.002)])
def test_layers_of_standard_networks_change_more_or_less_the_wider_they_are(optimizer, rate):
    size, change = check("standard", optimizer, rate).slopes()
    assert np.abs(size).max() < 0.15
    assert change[0] < -0.2 and change[1] > 0.3 and change[2] > 0.5


def test_features_of_the_ntk_parameterization_stand_still_and_its_output_moves():
    _, change = check("ntk", "sgd", 0.5).slopes()
    np.testing.assert_allclose(change, [-0.5, -0.5, 0.0], atol=0.1)


def test_convolutional_networks_take_the_factors_and_rates_of_their_layers():
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    networks = {}
    for name in ("mup", "standard"):
        networks[name] = build_networks(
            NetworkSettings(parameterization=name, architecture="convolutional"), depth=2, width=4 * BASE,
            init_scale=2.0, input_shape=(1, 8, 8), n_outputs=1, generators=[torch.Generator().manual_seed(0)],
            dtype=torch.float64,
        )  # fmt: skip
    with torch.no_grad():
        networks["standard"].readout.weight /= 2.0
    torch.testing.assert_close(networks["mup"](images), networks["standard"](images))
    # Weights and biases of the first layer, the hidden one, and the readout.
    assert networks["mup"].rates() == pytest.approx([1 / 2, 1 / 2, 1 / 4, 1 / 2, 1 / 2, 1.0])


def test_the_figure_shows_the_sizes_and_their_slopes():
    checks = {"standard": check("standard", "sgd", 0.001), "μP": check("mup", "sgd", 0.1)}
    figure = plot_coordinate_check(checks, FigureSettings())
    panels = np.array(figure.axes).reshape(2, 2).T
    for (name, found), column in zip(checks.items(), panels, strict=True):
        assert column[0].get_title(loc="left") == name
        for ax, sizes, slopes in zip(column, (found.size, found.change), found.slopes(), strict=True):
            drawn = np.array([line.get_ydata() for line in ax.lines])
            np.testing.assert_allclose(drawn.T, np.exp(np.log(sizes).mean(1)))
            assert [text.get_text() for text in ax.texts] == [f"{slope:+.2f}" for slope in slopes]


def test_networks_whose_features_move_have_no_infinite_kernel(data):
    with pytest.raises(KernelInputError, match="no kernels of infinite width: under mup features move"):
        infinite_kernels(data[0], depths=[2], settings=NetworkSettings(parameterization="mup"), init_scale=2.0, width=9)


def test_what_needs_an_infinite_kernel_is_refused_in_the_plan():
    asked = {
        "network": {"parameterization": "mup", "bias_variance": 0.1},
        "grid": {"width": (8,), "depth": (2,), "init_scale": (2.0,), "n_train": (16,), "seeds": 8, "draws": 1},
        "training": {"target_scale": "initial_output", "learning_rate": {"relative": 0.5, "of": "infinite_ntk"}},
        "regression": {"predictors": ("ntk_init", "infinite_ntk", "nngp", "ntk_with_bias")},
        "dispersion": {"depth": (2,), "width": (8,), "n_networks": 500},
        "output_variance": {},
    }
    experiment = ExperimentSettings(dataset={"source": "digits"}, **asked)
    problems = dict(value_problems(experiment, own=False))
    assert set(problems) == {
        "regression.predictors", "training.target_scale", "training.learning_rate.of", "dispersion", "output_variance",
    }  # fmt: skip
    assert "infinite_ntk, nngp: under mup features move at infinite width" in problems["regression.predictors"]
    standard = experiment.model_copy(update={"network": NetworkSettings(bias_variance=0.1)})
    assert not dict(value_problems(standard, own=False))


def test_another_base_width_is_another_value():
    wide = MaximalUpdate(base_width=WIDTH)
    for pair in layer_parameters([6, WIDTH, WIDTH], WIDTH):
        assert [wide.rate(parameter) for parameter in pair] == [1.0, 1.0]
