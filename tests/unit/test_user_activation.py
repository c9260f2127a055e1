"""An activation of the user's own, from its file through network, kernels, phase, config checks and specs."""

import pytest
import torch

from ntk_atlas.activations import ActivationError, activation
from ntk_atlas.config import ExperimentSettings, NetworkSettings, StudySettings
from ntk_atlas.families import build_networks
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import Row
from ntk_atlas.kernels import empirical_ntk, infinite_kernels
from ntk_atlas.phases import phase_of
from ntk_atlas.streams import torch_stream
from ntk_atlas.study import ConfigError, consistency_problems, load_study

PHI = """
import torch
from torch import nn

def phi(u):
    return torch.tanh(u)

def bent(u):
    return torch.sin(u) + 0.3 * u

module = nn.Softplus(beta=2.0)
trained = nn.PReLU()
Scaled = nn.Tanh
number = 7

def jump(u):
    return torch.sign(u)

def mixes(u):
    return u - u.mean()

def inplace(u):
    return u.relu_()

def first_entry(u):
    u[..., 0] = 0.0
    return torch.tanh(u)

def noisy(u):
    return u + torch.randn_like(u)

class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, u):
        self.calls += 1
        return torch.tanh(u)

counts = Counts()
noise = nn.RReLU()

def rows(u):
    return u - u.mean(dim=-1, keepdim=True) if u.dim() > 1 else torch.tanh(u)

def double(u):
    return torch.tanh(u.double())

def logical(u):
    return u > 0

def turned(u):
    return torch.complex(u, u)

def detached(u):
    return torch.tanh(u).detach()

def logarithm(u):
    return torch.log(u)

def flat(u):
    return torch.ones_like(u)

def ends(u):
    raise SystemExit(0)

def errs(u):
    return undefined(u)

async def waits(u):
    return u

def two(u, v):
    return u

def on_numpy(u):
    import numpy as np
    return np.tanh(u.detach().numpy())
"""


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_phi.py"
    path.write_text(PHI)
    return path


def networks(name, dtype=torch.float64, width=64, seeds=1):
    return build_networks(
        NetworkSettings(activation=name, parameterization="ntk", bias_variance=0.1),
        depth=2,
        width=width,
        init_scale=1.7,
        input_shape=(5,),
        n_outputs=1,
        generators=[torch_stream("weights", seed) for seed in range(seeds)],
        dtype=dtype,
    )


def experiment(name, **network):
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits"},
            "grid": {"depth": [1], "width": [8], "init_scale": [1.0], "n_train": [8]},
            "network": {"activation": name, **network},
        }
    )


def inputs(n):
    return torch.randn(n, 5, generator=torch_stream("inputs"), dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_that_says_tanh_is_tanh_in_network_and_kernels(dtype):
    x = inputs(6)
    own, named = networks("my_phi.py:phi", dtype), networks("tanh", dtype)
    assert torch.equal(own(x.to(dtype)), named(x.to(dtype)))
    torch.testing.assert_close(empirical_ntk(own.member(0), x.to(dtype)), empirical_ntk(named.member(0), x.to(dtype)))
    kernels = [
        infinite_kernels(x, depths=[1, 3], settings=NetworkSettings(activation=a), init_scale=1.7, width=64)
        for a in ("my_phi.py:phi", "tanh")
    ]
    torch.testing.assert_close(kernels[0].ntk, kernels[1].ntk, rtol=1e-8, atol=1e-10)
    assert phase_of(NetworkSettings(activation="my_phi.py:phi"), 1.3).chi_1 == pytest.approx(
        phase_of(NetworkSettings(activation="tanh"), 1.3).chi_1, rel=1e-10
    )


def test_wide_networks_of_an_activation_of_ones_own_approach_its_infinite_kernel():
    x, settings = inputs(4), NetworkSettings(activation="my_phi.py:bent", parameterization="ntk", bias_variance=0.1)
    theory = infinite_kernels(x, depths=[2], settings=settings, init_scale=1.7).ntk[0]
    gaps = []
    for width in (64, 1024):
        stack = networks("my_phi.py:bent", width=width, seeds=8)
        mean = torch.stack([empirical_ntk(stack.member(i), x) for i in range(8)]).mean(0)
        gaps.append(float(torch.linalg.norm(mean - theory) / torch.linalg.norm(theory)))
    assert gaps[1] < 0.03
    assert gaps[1] < 0.5 * gaps[0]


def test_a_module_without_parameters_is_a_function():
    u = torch.linspace(-2, 2, 9)
    assert torch.equal(activation("my_phi.py:module").phi(u), torch.nn.Softplus(beta=2.0)(u))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:phi", r"activation 'nowhere.py:phi': no file '.*nowhere.py'"),
        ("my_phi.py:psi", r"activation 'my_phi.py:psi': my_phi.py has no function 'psi'"),
        ("my_phi.py:number", "is int: it must be a function of a tensor"),
        (
            "my_phi.py:Scaled",
            r"is a class: define a function of a tensor, or name an instance of it, `phi = Scaled\(\)`",
        ),
        ("my_phi.py:trained", "has parameters, which would be trained"),
        ("my_phi.py:mixes", "'my_phi.py:mixes': activation mixes does not act on each entry alone"),
        ("my_phi.py:inplace", r"activation inplace changes its input: return a new tensor \(torch.relu\(u\)"),
        ("my_phi.py:first_entry", "activation first_entry changes its input"),
        ("my_phi.py:noisy", "activation noisy gives other values when it is called again: remove what draws random"),
        ("my_phi.py:noise", "activation RReLU gives other values when it is called again"),
        ("my_phi.py:counts", "activation Counts gives other values when it is called again: .* or keeps a state"),
        ("my_phi.py:rows", "activation rows does not act on each entry alone"),
        ("my_phi.py:double", "maps a tensor to one of its shape and dtype; .* torch.float32 became .* torch.float64"),
        ("my_phi.py:logical", "torch.float64 became .* torch.bool"),
        ("my_phi.py:turned", "torch.float64 became .* torch.complex128"),
        ("my_phi.py:detached", "has no derivative for automatic differentiation"),
        ("my_phi.py:logarithm", "activation logarithm or its derivative is not finite on"),
        ("my_phi.py:flat", "the activation has no derivative"),
        ("my_phi.py:jump", "'my_phi.py:jump' has the derivative 0 all over"),
        ("my_phi.py:ends", r"it ends the process by SystemExit \(my_phi.py, line \d+\)"),
        ("my_phi.py:errs", r"NameError: name 'undefined' is not defined \(my_phi.py, line \d+\)"),
        ("my_phi.py:waits", r"is an async function \(my_phi.py, line \d+\): define a function of a tensor"),
        ("my_phi.py:two", r"cannot be called with one tensor \(missing a required argument: 'v'\)"),
        ("my_phi.py:on_numpy", "maps a tensor to one of its shape and dtype"),
    ],
)
def test_what_is_no_activation_is_named(name, message):
    with pytest.raises(ActivationError, match=message):
        activation(name)


def test_a_file_that_does_not_run_is_named(file):
    file.write_text("import no_such_module\n")
    with pytest.raises(ActivationError, match=r"my_phi.py cannot be imported: ModuleNotFoundError: .*no_such_module"):
        activation("my_phi.py:phi")


def problems(settings):
    study = StudySettings.model_validate({"experiments": {"one": settings.model_dump()}})
    return [(".".join(problem.key), problem.message) for problem in consistency_problems(study)]


def test_config_checks_name_a_missing_file_or_function_without_running_it(file):
    assert problems(experiment("my_phi.py:bent")) == []
    ((key, message),) = problems(experiment("other.py:phi"))
    assert key == "experiments.one.network.activation"
    assert "there is no file other.py" in message
    ((_, message),) = problems(experiment("my_phi.py:psi"))
    assert message == "my_phi.py has no function psi: define it, or name the one that is there"
    file.write_text("def phi(u:\n")
    ((_, message),) = problems(experiment("my_phi.py:phi"))
    assert message.startswith("my_phi.py, line 1:")
    file.write_text("raise SystemExit\n\ndef phi(u):\n    return u\n")
    assert problems(experiment("my_phi.py:phi")) == []


def test_an_unknown_name_is_refused_with_the_names_there_are():
    settings = experiment("tanh").model_dump(mode="json")
    settings["network"]["activation"] = "tanhh"
    with pytest.raises(
        ConfigError, match=r"network\.activation: there is no activation 'tanhh'; did you mean `tanh`\?"
    ):
        load_study({"experiments": {"one": settings}})


def specs(settings):
    return (
        job_slice("train_networks", settings, Row(1, 8, (1.0,)).name).canonical_json(),
        job_slice("regress_infinite", settings, "1.0").canonical_json(),
        job_slice("predict_output_variance", settings, "1.0").canonical_json(),
    )


def test_another_content_of_the_file_is_another_job(file):
    before = specs(experiment("my_phi.py:phi"))
    assert specs(experiment("my_phi.py:phi")) == before
    file.write_text(PHI.replace("torch.tanh(u)", "torch.atan(u)"))
    after = specs(experiment("my_phi.py:phi"))
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert phase_of(NetworkSettings(activation="my_phi.py:phi"), 3.0).chi_1 != pytest.approx(
        phase_of(NetworkSettings(activation="tanh"), 3.0).chi_1, rel=1e-3
    )
    named = specs(experiment("tanh"))
    file.write_text(PHI)
    assert specs(experiment("tanh")) == named
