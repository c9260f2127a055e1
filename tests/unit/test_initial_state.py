"""Networks of the user's own that start from a file of weights, and train a part of their parameters: fine-tuning."""

import pytest
import torch

from ntk_atlas.config import ExperimentSettings, NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.jobs.parts.slice import user_file_digest
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.networks import FactoryError
from ntk_atlas.streams import torch_stream
from ntk_atlas.study import ConfigError, load_study

CODE = """
from torch import nn
def build(*, depth, width, init_scale, input_shape, n_outputs, generator):
    net = nn.Sequential()
    net.body = nn.Linear(input_shape[0], width)
    net.phi = nn.Tanh()
    net.head = nn.Linear(width, n_outputs)
    for p in net.parameters():
        p.data.normal_(0.0, 0.5, generator=generator)
    return net
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    body = {"body.weight": torch.full((4, 3), 0.25), "body.bias": torch.arange(4.0)}
    torch.save(body, "body.pt")
    torch.save({"state_dict": {f"model.{key}": value for key, value in body.items()}}, "lightning.ckpt")
    torch.save(body | {"head.weight": torch.ones(1, 4), "head.bias": torch.zeros(1)}, "whole.pt")
    return tmp_path


def networks(seeds=2, width=4, **keys):
    settings = NetworkSettings(factory="net.py:build", **keys)
    return build_networks(
        settings, depth=1, width=width, init_scale=1.0, input_shape=(3,), n_outputs=1,
        generators=[torch_stream("seed", seed) for seed in range(seeds)], dtype=torch.float64,
        samples=torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )  # fmt: skip


@pytest.mark.parametrize("file", ["body.pt", "lightning.ckpt"])
def test_the_body_is_of_the_file_and_the_head_of_the_seed(folder, file):
    stack = networks(initial_state=file)
    members = [stack.member(seed).module for seed in (0, 1)]
    for member in members:
        assert torch.equal(member.body.weight, torch.full((4, 3), 0.25, dtype=torch.float64))
        assert torch.equal(member.body.bias, torch.arange(4.0, dtype=torch.float64))
    assert not torch.equal(members[0].head.weight, members[1].head.weight)
    assert torch.equal(members[0].head.weight, networks(seeds=1).member(0).module.head.weight)


def test_only_named_parameters_train_and_count_in_the_kernel(folder):
    stack = networks(initial_state="body.pt", trainable=["head.*"])
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    hidden = torch.tanh(x @ torch.full((3, 4), 0.25, dtype=torch.float64) + torch.arange(4.0))
    torch.testing.assert_close(empirical_ntk(stack, x)[0], hidden @ hidden.T + 1.0)
    assert {name for name, p in stack.member(0).module.named_parameters() if p.requires_grad} == {
        "head.weight", "head.bias",
    }  # fmt: skip


def test_a_file_of_all_weights_goes_with_one_seed(folder):
    member = networks(seeds=1, initial_state="whole.pt").member(0).module
    assert torch.equal(member.head.weight, torch.ones(1, 4, dtype=torch.float64))
    with pytest.raises(FactoryError, match=r"has all weights of the network, .* set grid.seeds to 1"):
        networks(seeds=2, initial_state="whole.pt")


class Code:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"initial_state": "other.pt"},
            r"network.initial_state: other.pt lacks 'body.weight': it is of another module",
        ),
        ({"initial_state": "body.pt", "width": 5}, r"has 'body.weight' of shape \(4, 3\), the module \(5, 3\)"),
        ({"initial_state": "code.pt"}, "code.pt cannot be read as weights alone"),
        ({"trainable": ["tail.*"]}, r"network.trainable: no parameter is named 'tail.\*'; there are body.weight, "),
    ],
)
def test_what_does_not_fit_is_said(folder, keys, message, capsys):
    torch.save({"unknown": torch.zeros(2)}, "other.pt")
    torch.save({"body.weight": Code()}, "code.pt")
    with pytest.raises(FactoryError, match=message):
        networks(**keys)
    assert "executed" not in capsys.readouterr().out


def test_units_depend_on_what_the_file_holds_and_studies_without_it_are_as_before(folder):
    plain = NetworkSettings(factory="net.py:build")
    assert not {'"initial_state"', '"trainable"'} & set(plain.canonical_json().replace(":", ",").split(","))
    settings = NetworkSettings(factory="net.py:build", initial_state="body.pt")
    first = user_file_digest(settings)
    assert first != user_file_digest(plain)
    torch.save({"body.weight": torch.zeros(4, 3)}, "body.pt")
    assert user_file_digest(settings) != first


def study(**network):
    return {
        "experiments": {
            "mine": {
                "dataset": {"source": "diabetes", "n_validation": 32, "n_test": 64},
                "grid": {"depth": [1], "width": [4], "init_scale": [1.0], "n_train": [16]},
                "network": network,
                "regression": {"predictors": ["ntk_init", "ntk_final"]},
            }
        }
    }


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"factory": "net.py:build", "initial_state": "gone.pt"}, r"network.initial_state: there is no file gone.pt"),
        ({"initial_state": "body.pt"}, "initial_state goes with a network of your own: set factory, or remove it"),
        ({"trainable": ["head.*"]}, "trainable goes with a network of your own: set factory, or remove it"),
    ],
)
def test_configs_that_cannot_be_meant_are_refused(folder, network, message):
    with pytest.raises(ConfigError, match=message):
        load_study(study(**network))
    found = load_study(study(factory="net.py:build", initial_state="body.pt", trainable=["head.*"]))
    assert isinstance(found.experiments["mine"], ExperimentSettings)
