"""A family of networks is one file: the page's own trains, has the kernel of its Jacobian, and is known to the plan."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from recipes import REPOSITORY, recipe, run_study, write_recipe
from torch.func import functional_call, jacrev

from ntk_atlas.config import ExperimentSettings, NetworkSettings
from ntk_atlas.families import FamilyError, build_networks
from ntk_atlas.kernels import KernelInputError, empirical_ntk
from ntk_atlas.study import ConfigError, load_study
from ntk_atlas.study.trial import trial

EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 8, "n_test": 16},
    "network": {"architecture": "my_family.py:residual", "activation": "tanh"},
    "grid": {"depth": [1, 3], "width": [8], "init_scale": [2.0], "n_train": [8], "draws": 1, "seeds": 2},
    "training": {"max_epochs": 60, "checkpoints": {"epochs": [0, 60], "n_probe": 4}},
    "regression": {"predictors": ["ntk_init", "ntk_final", "laplace"]},
    "show": [],
}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The recipe's file, in a folder in which the test works."""
    monkeypatch.chdir(tmp_path)
    return write_recipe("my_family.py", tmp_path)


def stack(depth=3, seeds=(0, 1, 2), **settings):
    return build_networks(
        NetworkSettings(**EXPERIMENT["network"] | settings), depth=depth, width=6, init_scale=1.5, input_shape=(2, 4),
        n_outputs=2, generators=[torch.Generator().manual_seed(seed) for seed in seeds], dtype=torch.float64,
    )  # fmt: skip


def samples(n=5):
    return torch.randn(n, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def check_study(folder):
    with xr.open_dataset(folder / "results" / "mine" / "cube.nc") as cube:
        assert (cube["final_train_mse"] < 0.5 * cube["train_mse"].isel(epoch=0)).all()
        for name in EXPERIMENT["regression"]["predictors"]:
            assert np.isfinite(cube[f"test_mse_{name}"].sel(ridge="tuned")).all()
        assert cube.attrs["parameterization"] == "standard" and (cube["phase"] == "unknown").all()


@pytest.mark.slow
def test_a_study_of_a_family_in_a_file(tmp_path):
    write_recipe("my_family.py", tmp_path)
    run_study(tmp_path, {"experiments": {"mine": EXPERIMENT}}, "results/mine/cube.nc")
    check_study(tmp_path)


@pytest.mark.slow
def test_a_study_of_a_family_in_the_package(tmp_path):
    """One new file in a copy of the package: nothing else names it."""
    for part in ("src", "workflow", "config", "envs"):
        shutil.copytree(REPOSITORY / part, tmp_path / "atlas" / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "Snakefile", tmp_path / "atlas")
    (tmp_path / "atlas" / "src" / "ntk_atlas" / "families" / "residual.py").write_text(recipe("my_family.py"))
    experiment = EXPERIMENT | {"network": {"architecture": "residual", "activation": "tanh"}}
    run_study(
        tmp_path, {"experiments": {"mine": experiment}}, "results/mine/cube.nc", repository=tmp_path / "atlas"
    )  # fmt: skip
    check_study(tmp_path)


@pytest.mark.parametrize("parameterization", ["standard", "ntk", "mup"])
def test_its_empirical_kernel_is_that_of_the_jacobian(page, parameterization):
    networks, x = stack(parameterization=parameterization, bias_variance=0.3), samples()
    kernels = empirical_ntk(networks, x)
    for index, kernel in enumerate(kernels):
        member = networks.member(index)
        parameters = {name: p.detach() for name, p in member.named_parameters()}
        jacobian = jacrev(lambda p, member=member: functional_call(member, p, (x,)))(parameters)
        flat = torch.cat([part.flatten(2) for part in jacobian.values()], dim=2)
        torch.testing.assert_close(kernel, torch.einsum("ick,jck->ij", flat, flat) / 2, rtol=1e-9, atol=1e-12)


def test_its_networks_are_those_of_the_page(page):
    """By hand: x ← x + φ(W x + b)/2 from the second hidden layer on; a stack is its members, alone and selected."""
    networks, x = stack(), samples()
    z = x.flatten(1).expand(3, -1, -1)
    for number, layer in enumerate(networks.layers[:-1]):
        added = torch.tanh(z @ layer.weight + layer.bias.unsqueeze(1))
        z = z + 0.5 * added if number else added
    last = networks.layers[-1]
    torch.testing.assert_close(networks(x), z @ last.weight + last.bias.unsqueeze(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(networks.select([2, 0])(x), networks(x)[[2, 0]], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stack(seeds=(1,))(x), networks(x)[1:2], rtol=1e-12, atol=1e-12)
    assert stack(depth=0)(x).shape == (3, 5, 2)


def test_what_it_does_not_have_is_refused_before_any_work(page):
    def said(**changes):
        with pytest.raises(ConfigError) as raised:
            load_study({"experiments": {"mine": EXPERIMENT | changes}})
        return str(raised.value)

    load_study({"experiments": {"mine": EXPERIMENT}})
    reason = "kernels of infinite width are not written for residual networks"
    assert f"infinite_ntk, nngp: {reason}" in said(regression={"predictors": ["infinite_ntk", "nngp", "stand_in_ntk"]})
    assert reason in said(training=EXPERIMENT["training"] | {"learning_rate": {"relative": 0.1, "of": "infinite_ntk"}})
    assert reason in said(training=EXPERIMENT["training"] | {"target_scale": "initial_output"})
    assert reason in said(output_variance={})
    assert "and these are residual networks" in said(dispersion={"depth": [1], "width": [4]})
    assert "and these are residual networks" in said(kernel_variants={"depth": [1], "width": [4, 8]})
    assert "no function 'other'" in said(network={"architecture": "my_family.py:other"})
    assert "name an instance of Family" in said(network={"architecture": "my_family.py:Residual"})
    assert "did you mean `convolutional`" in said(network={"architecture": "convolutionals"})
    settings = NetworkSettings(**EXPERIMENT["network"])
    with pytest.raises(KernelInputError, match=reason):
        settings.family.infinite_kernels(samples(), depths=[1], settings=settings, init_scale=1.0)


def test_a_family_that_contradicts_itself_or_lacks_a_method_is_named(page):
    def problems():
        experiment = ExperimentSettings.model_validate_json(json.dumps(EXPERIMENT))
        return {finding.text for finding in trial(experiment) if finding.kind == "problem"}

    text = page.read_text()
    assert not problems()
    page.write_text(text.replace("added = phi(layer(x))", "added = phi(layer(x)).sum()"))
    (said,) = problems()
    assert "architecture 'my_family.py:residual'" in said
    page.write_text(text + _SMALLER)
    with pytest.raises(FamilyError, match=r"have 18 weights and biases at depth 1, width 6, and its `layers` say 68"):
        stack(depth=1, seeds=(0,))
    page.write_text(text.replace("    def layers", "    def others"))
    with pytest.raises(ValueError, match=r"cannot be imported: TypeError: .* abstract method '?layers"):
        stack()


_SMALLER = """

class Smaller(Residual):
    def build(self, settings, *, depth, **sizes):
        return super().build(settings, depth=depth - 1, **sizes)


residual = Smaller(0.5)
"""


def test_in_the_package_it_is_known_to_config_messages_and_documents(tmp_path):
    """One new file in the folder of families, with a section of its own: nothing else names it."""
    section = '''
from typing import Annotated
from pydantic import Field
from ntk_atlas.config.base import Settings

class ResidualSettings(Settings):
    """How residual networks add up."""

    branch: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of a layer in what it adds to."""

'''
    text = recipe("my_family.py").replace("class Residual(", f"{section}\nclass Residual(")
    (tmp_path / "residual.py").write_text(
        text.replace('    title = "residual networks"\n', '    title = "residual networks"\n    summary = "skips"\n'
                     "    section = ResidualSettings\n")
    )  # fmt: skip
    code = f"""
import sys
import ntk_atlas.families
ntk_atlas.families.__path__.append({str(tmp_path)!r})
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.registry import value_files
from ntk_atlas.study.load import load_study
from ntk_atlas.study.problems import ConfigError
from ntk_atlas.study.documents import json_schema, keys_markdown
experiment = {EXPERIMENT!r}

def network(**keys):
    return load_study({{"experiments": {{"mine": experiment | {{"network": keys}}}}}}).active()["mine"].network

assert "torch" not in sys.modules
found = network(architecture="residual", residual={{"branch": 0.25}})
assert found.residual.branch == 0.25 and network(architecture="residual").residual.branch == 0.5
assert NetworkSettings.model_validate_json(found.model_dump_json()) == found
assert "residual" not in network().model_dump()
assert [file.name for file in value_files(found)][0] != "fully_connected.py"
assert "residual.py" in [file.name for file in value_files(found)]
documents = keys_markdown()
assert "`residual`: skips" in documents and "### `experiments.<name>.network.residual`" in documents
assert "| `branch` | number > 0, ≤ 1 | `0.5` | Share of a layer in what it adds to. |" in documents
assert '"ResidualSettings"' in json_schema()
residual = {{"architecture": "residual"}}
for keys, words in (
    ({{"residual": {{}}}}, "residual does not apply to the architecture fully_connected"),
    (residual | {{"residual": {{"branches": 0.1}}}}, "residual.branches: unknown key; did you mean `branch`?"),
    (residual | {{"residual": {{"branch": 2.0}}}}, "network.residual.branch: input should be less than or equal to 1"),
    ({{"architecture": "residuals"}}, "did you mean `residual`?"),
):
    try:
        network(**keys)
    except ConfigError as error:
        assert words in str(error), error
    else:
        raise AssertionError(keys)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
