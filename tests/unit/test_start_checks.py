"""What is tried before any work: data and code of the user's own, in the process that plans a run."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ntk_atlas.config import ExperimentSettings, StudySettings
from ntk_atlas.study import (
    ConfigError,
    OwnCost,
    Problem,
    StartChecks,
    cost_at,
    disk_estimate,
    experiment_work,
    load_study,
    read_study,
    time_estimate,
    trial_digest,
)
from ntk_atlas.study.trial import trial

NETS = """
import os, sys, time
import torch
from torch import nn

def _layers(depth, width, input_shape, n_outputs, generator, scale=1.0):
    sizes = [input_shape[0], *[width] * depth, n_outputs]
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(0, (scale / layer.weight.shape[1]) ** 0.5, generator=generator)
    return [part for layer in layers for part in (layer, nn.Tanh())][:-1]

def build(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return nn.Sequential(*_layers(depth, width, input_shape, n_outputs, generator, init_scale))

def normed(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return nn.Sequential(nn.BatchNorm1d(input_shape[0]), nn.Dropout(0.1), nn.Dropout(0.0),
                         *_layers(depth, width, input_shape, n_outputs, generator, init_scale))

def ignores(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return nn.Sequential(*_layers(2, 5, input_shape, n_outputs, generator, min(init_scale, 2.0)))

class Scaled(nn.Module):
    def __init__(self, scale, *layers):
        super().__init__()
        self.scale, self.layers = scale, nn.Sequential(*layers)

    def forward(self, x):
        return self.scale * self.layers(x)

def forward_scale(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return Scaled(init_scale, *_layers(depth, width, input_shape, n_outputs, generator))

class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) + (torch.randn(1) if self.training else 0)

def noisy(*, depth, width, init_scale, input_shape, n_outputs, generator):
    layers = _layers(depth, width, input_shape, n_outputs, generator, init_scale)
    return nn.Sequential(*layers, Noisy(n_outputs, n_outputs))

def short(depth, width):
    return None

def raises(**arguments):
    raise KeyError("what")

def too_wide(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return nn.Linear(input_shape[0], n_outputs + (width > 4))

class Tokens(nn.Module):
    def __init__(self, width, n_outputs, cast):
        super().__init__()
        self.embedding, self.head, self.cast = nn.Embedding(9, width), nn.Linear(width, n_outputs), cast

    def forward(self, x):
        return self.head(self.embedding(x.long() if self.cast else x).mean(1))

def looks_up(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return Tokens(width, n_outputs, True)

def looks_up_floats(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return Tokens(width, n_outputs, False)

def forgets_gradients(*, depth, width, init_scale, input_shape, n_outputs, generator):
    torch.use_deterministic_algorithms(True)
    layers = _layers(depth, width, input_shape, n_outputs, generator, init_scale)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return nn.Sequential(*layers)

def writes(**arguments):
    print("words of another network", file=sys.stderr)
    return build(**arguments)

def stops(**arguments):
    os._exit(0)

def hangs(**arguments):
    time.sleep(60)

def wants_a_key(*, depth, width, init_scale, input_shape, n_outputs, generator):
    print("printed")
    input()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "phi.py").write_text(
        "import torch\ndef phi(u): return torch.sin(u)\ndef mean(u): return u - u.mean()\n"
        "def jump(u): return torch.sign(u) + u\n"
        "def steep(u): return torch.exp(15 * u**2)\n"
    )
    return tmp_path


def experiment(network, dataset=None, **grid):
    return ExperimentSettings.model_validate(
        {
            "dataset": dataset or {"source": "diabetes"},
            "grid": {"depth": [1, 2], "width": [4, 8], "init_scale": [1.0, 2.0, 3.0], "n_train": [8], **grid},
            "network": network,
            "regression": {"predictors": ["ntk_init"]},
        }
    )  # fmt: skip


def found(*arguments, **grid):
    return [(f.kind, f.key, f.text) for f in trial(experiment(*arguments, **grid)) if f.kind not in ("begins", "cost")]


def notices(name, **grid):
    return [text for kind, _, text in found({"factory": f"nets.py:{name}"}, **grid) if kind == "notice"]


def test_a_good_network_is_measured_at_its_extreme_cells():
    findings = list(trial(experiment({"factory": "nets.py:build"})))
    costs = [OwnCost(**f.cost) for f in findings if f.kind == "cost"]
    assert not [f for f in findings if f.kind in ("problem", "notice")]
    assert [(c.depth, c.width, c.parameters) for c in costs] == [(1, 4, 49), (2, 8, 169)]
    assert all(c.step_seconds > 0 and c.kernel_seconds > 0 for c in costs)


@pytest.mark.parametrize(
    ("network", "key", "message"),
    [
        ("short", "network.factory", r"'nets.py:short' got an unexpected keyword .*nets.py, line \d+\): define"),
        ("raises", "network.factory", r"'nets.py:raises' failed: KeyError: 'what' \(nets.py, line \d+\)"),
        ("absent", "network.factory", r"nets.py has no function 'absent'"),
        ("too_wide", "network.factory", r"maps inputs .*\[at depth 2, width 8, init_scale 3\]"),
        ("phi.py:steep", "network.activation", r"'phi.py:steep': its (outputs|gradients) on 4 training samples"),
        ("phi.py:jump", "network.activation", r"activation phi.py:jump .* does not integrate to it: it jumps"),
        ("phi.py:mean", "network.activation", r"'phi.py:mean': activation mean does not act on each entry alone"),
        ("phi.py:absent", "network.activation", r"phi.py has no function 'absent'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_code_is_a_problem_of_its_key(network, key, message):
    name = key.rpartition(".")[2]
    (problem,) = found({name: network if ":" in network else f"nets.py:{network}"})
    assert problem[:2] == ("problem", key)
    assert re.search(message, problem[2]), problem[2]


def test_kernels_of_ones_own_are_evaluated_on_the_samples(folder):
    (folder / "my_k.py").write_text("def k(x1, x2): return x1 @ x2.T\ndef odd(x1, x2): return -x1 @ x2.T\n")
    settings = experiment({}).model_dump(mode="json")
    settings["regression"]["predictors"] = ["my_k.py:k", "my_k.py:odd"]
    ((kind, key, text),) = [
        (f.kind, f.key, f.text) for f in trial(ExperimentSettings.model_validate(settings)) if f.kind != "begins"
    ]
    assert (kind, key) == ("problem", "regression.predictors")
    assert text.startswith("kernel 'my_k.py:odd' is not positive semidefinite: on 8 samples of the data")


def test_contents_of_data_are_read_and_the_code_is_loaded_all_the_same(folder):
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(folder / "mine.npz", X=np.where(np.arange(60)[:, None] == 7, np.nan, x), y=np.arange(60.0))
    data = {"source": "file", "path": "mine.npz", "task": "regression", "n_validation": 10, "n_test": 10}
    assert [key for _, key, _ in found({"factory": "nets.py:build"}, data)] == ["dataset"]
    problems = found({"factory": "nets.py:short"}, data)
    assert [(kind, key) for kind, key, _ in problems] == [("problem", "dataset"), ("problem", "network.factory")]
    assert "mine.npz" in problems[0][2] and "finite" in problems[0][2]
    assert [key for _, key, _ in found({"activation": "phi.py:absent"}, data)] == ["dataset", "network.activation"]


def test_a_network_of_tokens_that_fails_is_told_how_its_tokens_come(folder):
    x = np.random.default_rng(0).integers(0, 9, size=(60, 12))
    np.savez(folder / "tokens.npz", X=x, y=x.sum(axis=1))
    data = {"source": "file", "path": "tokens.npz", "task": "regression", "n_validation": 10, "n_test": 10}
    problem = [text for kind, _, text in found({"factory": "nets.py:looks_up"}, data, **ONE_CELL) if kind == "problem"]
    assert "dataset.normalization: center_unit_norm has scaled these whole numbers" in problem[0]
    data |= {"normalization": "none"}
    assert not [f for f in found({"factory": "nets.py:looks_up"}, data, **ONE_CELL) if f[0] == "problem"]
    ((_, _, text),) = found({"factory": "nets.py:looks_up_floats"}, data, **ONE_CELL)
    assert text.endswith("tokens come as floating-point numbers: look them up by x.long()")
    ((_, _, text),) = found({"factory": "nets.py:short"}, data, **ONE_CELL)
    assert "x.long()" not in text


def test_settings_of_torch_that_a_factory_changes_hold_in_its_calls_alone():
    assert found({"factory": "nets.py:forgets_gradients"}, **ONE_CELL) == []
    Path("off.py").write_text("import torch\nfrom nets import build\ntorch.set_grad_enabled(False)\n")
    assert found({"factory": "off.py:build"}, **ONE_CELL) == []
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()


def test_data_that_are_fetched_when_the_run_starts_are_made_up():
    assert found({"activation": "phi.py:phi"}, {"source": "mnist", "side": 4}) == []


ONE_CELL = {"depth": [1], "width": [4], "init_scale": [1.0]}


def test_layers_that_are_off_are_named():
    (text,) = notices("normed", **ONE_CELL)
    assert text.startswith(
        "network factory 'nets.py:normed': BatchNorm1d '0', Dropout '1' run in evaluation mode, in training"
    )
    assert text.endswith("use GroupNorm or LayerNorm")
    (text,) = notices("noisy", **ONE_CELL)
    assert "gives other outputs in training mode" in text


def test_files_that_are_imported_and_cannot_be_watched_are_named(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (folder / "far").mkdir()
    (folder / "far" / "remote_module.py").write_text("import torch\n")
    (folder / "near.py").write_text("import torch\n")
    lines = ["import sys, near", f"sys.path.append({str(folder / 'far')!r})", "import remote_module, torch"]
    (folder / "phi.py").write_text("\n".join([*lines, "def phi(u): return torch.sin(u)"]))
    ((kind, _, text),) = found({"activation": "phi.py:phi"}, **ONE_CELL)
    assert kind == "notice" and text.startswith(
        f"phi.py:phi: {folder / 'far' / 'remote_module.py'} is imported by way of"
    )


def test_keys_that_a_factory_ignores_are_named_and_no_others():
    depth, width, scale = notices("ignores")
    assert depth.startswith("network factory 'nets.py:ignores' ignores depth: the cells of 1, 2 are one architecture")
    assert "ignores width: the cells of 4, 8" in width
    assert "ignores init_scale: the cells of 2, 3 are the same networks" in scale
    assert notices("ignores", **ONE_CELL | {"init_scale": [1.0, 2.0]}) == []
    assert notices("forward_scale", **ONE_CELL | {"init_scale": [1.0, 2.0]}) == []


def study(**networks):
    plain = {name: experiment(network).model_dump(mode="json") for name, network in networks.items()}
    return {"experiments": plain}


def checks(folder, seconds=60.0):
    said = []
    return StartChecks(folder / "kept" / "start.json", "source", said.append, seconds), said


def test_all_problems_come_in_one_message_and_what_is_right_is_remembered(folder):
    config = study(
        good={"factory": "nets.py:normed"}, asks={"factory": "nets.py:wants_a_key"},
        wrong={"activation": "phi.py:mean"}, plain={},
    )  # fmt: skip
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    start, said = checks(folder)
    with pytest.raises(ConfigError) as error:
        read_study([folder / "my.yaml"], start=start)
    text = str(error.value)
    assert "The config has 2 problems; nothing was run:" in text
    assert "experiments.asks.network.factory: network factory 'nets.py:wants_a_key' failed: EOFError" in text
    assert "experiments.wrong.network.activation: activation 'phi.py:mean'" in text
    assert len(start.notices("good")) == 1 and len(start.costs("good")) == 2
    assert len(said) == 1 and "nets.py:normed" in said[0] and "plain" not in start.tried

    again, said = checks(folder)
    load_study(study(good={"factory": "nets.py:normed"}, plain={}), again)
    assert said == [] and again.tried["good"] == start.tried["good"]
    long = study(good={"factory": "nets.py:normed"})
    long["experiments"]["good"]["training"] |= {"max_epochs": 10**9}
    (years,) = again(StudySettings.model_validate(long))
    assert said == [] and years.key == ("experiments", "good")
    assert "years of one core, as measured on its network of" in years.message
    (folder / "kept" / "start.json").write_text(json.dumps({"x": 3}))
    assert again._remembered() == {}


@pytest.mark.slow
def test_code_that_ends_or_holds_up_its_process(folder):
    settings = StudySettings.model_validate(
        study(
            before={"factory": "nets.py:writes"}, stops={"factory": "nets.py:stops"}, good={"factory": "nets.py:build"}
        )
    )
    start, _ = checks(folder)
    ((key, message),) = [(problem.key, problem.message) for problem in start(settings)]
    assert key == ("experiments", "stops", "network", "factory")
    assert message.startswith(
        "network factory 'nets.py:stops': building and evaluating its network of depth 1, width 4"
    )
    assert "ended the process that tried it (exit status 0)" in message
    assert len(start.costs("good")) == 2
    assert "last words" not in message
    start, _ = checks(folder, seconds=0.2)
    assert start(StudySettings.model_validate(study(hangs={"factory": "nets.py:hangs"}))) == []
    assert "takes longer than 0.2 s" in start.notices("hangs")[0]
    again, said = checks(folder)
    assert again(StudySettings.model_validate(study(hangs={"factory": "nets.py:hangs"}))) == [] and said == []


def test_a_kernel_that_ends_its_process_is_a_problem_of_the_predictors(folder):
    (folder / "data_k.py").write_text(
        "import os, sys\ndef k(x1, x2):\n    sys.stderr.write('my last words\\n')\n    os._exit(3)\n"
    )
    settings = study(one={})
    settings["experiments"]["one"]["regression"]["predictors"] = ["data_k.py:k"]
    start, _ = checks(folder)
    ((key, message),) = [(p.key, p.message) for p in start(StudySettings.model_validate(settings))]
    assert key == ("experiments", "one", "regression", "predictors")
    assert message.endswith("your code must not end its process; its last words: my last words")


def test_experiments_with_problems_in_what_is_tried_are_not_tried(folder):
    start, said = checks(folder)
    wrong = [Problem(("experiments", "one", "network", "factory"), "no file"), Problem(("experiments",), "")]
    settings = StudySettings.model_validate(study(one={"factory": "nets.py:hangs"}))
    assert start(settings, wrong) == [] and said == []


def test_another_content_of_data_or_code_is_tried_again(folder):
    np.savez(folder / "mine.npz", X=np.ones((4, 2)), y=np.arange(4))
    data = {"source": "file", "path": "mine.npz"}
    digests = [trial_digest(experiment({"factory": "nets.py:build"}, data), "source")]
    assert trial_digest(experiment({"factory": "nets.py:build"}, data), "source") == digests[0]
    (folder / "nets.py").write_text(NETS + "\nchanged = 1")
    digests.append(trial_digest(experiment({"factory": "nets.py:build"}, data), "source"))
    np.savez(folder / "mine.npz", X=np.zeros((4, 2)), y=np.arange(4))
    digests.append(trial_digest(experiment({"factory": "nets.py:build"}, data), "source"))
    digests.append(trial_digest(experiment({"factory": "nets.py:build"}, data, width=[4]), "source"))
    digests.append(trial_digest(experiment({"factory": "nets.py:build"}, data, width=[4]), "other"))
    assert len(set(digests)) == 5


def test_estimates_of_a_network_of_ones_own_go_by_its_measured_costs():
    costs = (OwnCost(1, 4, 100, 1e-4, 1e-3), OwnCost(4, 8, 1600, 1.6e-3, 4e-3))
    assert cost_at(costs, 1, 4) == costs[0]
    assert cost_at(costs, 4, 8) == costs[1]
    assert cost_at(costs, 2, 4 * 2**0.5).parameters == 400
    assert cost_at(costs[:1], 2, 8).step_seconds == pytest.approx(8e-4)
    settings = experiment({"factory": "nets.py:build"}, depth=[1], width=[4], init_scale=[1.0])
    work = experiment_work(settings, costs)
    assert work.training_flops == pytest.approx(
        settings.training.max_epochs * 8 * settings.grid.draws * settings.grid.seeds * 1e-4 * 2e10
    )
    assert "of CPU time" in time_estimate(settings, costs=costs)
    assert "unknown" not in disk_estimate(settings, costs)
    assert Path("nets.py").is_file()
