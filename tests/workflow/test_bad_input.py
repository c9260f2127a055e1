"""Wrong input ends in one clear message before any job: of the config, of the data, of code of the user's own."""

import copy

import numpy as np
import pytest
from workflow_micro import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]  # they share a finished study


def with_file(project, arrays, **settings):
    np.savez(project.folder / "mine.npz", **arrays)
    config = copy.deepcopy(MICRO)
    del config["experiments"]["two"]
    dataset = {"source": "file", "path": "mine.npz", "n_validation": 10, "n_test": 10, **settings}
    config["experiments"]["one"]["dataset"] = dataset
    project.config = config


def data(n=80, classes=2):
    x = np.random.default_rng(0).normal(size=(n, 3))
    return {"X": x, "y": np.arange(n) % classes}


def test_all_config_problems_come_before_any_job(fresh):
    config = copy.deepcopy(MICRO)
    config["experiments"]["one"]["grid"]["depth"] = []
    config["experiments"]["one"]["training"]["max_epoch"] = 3
    config["experiments"]["two"]["training"]["max_epochs"] = "many"
    fresh.config = config
    text = fresh.snakemake("--cores", "1", check=False)
    assert "The config has 3 problems; nothing was run:" in text
    assert "config/config.yaml, line" in text
    assert "did you mean `max_epochs`?" in text
    assert "experiments.one.grid.depth: is empty" in text
    assert "Traceback" not in text
    assert not (fresh.folder / "results").exists()


def test_a_template_in_the_default_config_is_refused_before_it_runs(fresh):
    code = "?__import__('pathlib').Path('ran').touch()"
    path = fresh.folder / "config/config.yaml"
    path.write_text(f"__use_yte__: true\n{path.read_text()}\nfigures:\n  dpi: {code}\n  dpi: 60\n")
    text = fresh.snakemake("-n", check=False)
    assert "config/config.yaml, line 1: `__use_yte__` makes a template of the file, which runs code" in text
    assert "figures: stands here twice" in text
    assert "Traceback" not in text
    assert not (fresh.folder / "ran").exists()


def test_more_training_samples_than_there_are(fresh):
    with_file(fresh, data(40))
    text = fresh.snakemake("--cores", "1", check=False)
    assert "grid.n_train: 32 is larger than the training pool" in text
    assert not (fresh.folder / "results").exists()


def test_a_missing_file(fresh):
    with_file(fresh, data())
    (fresh.folder / "mine.npz").unlink()
    text = fresh.snakemake("--cores", "1", check=False)
    assert "mine.npz" in text
    assert "nothing was run" in text


NET = """
from mylab.models import Net

def build(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return Net(input_shape[0], width, n_outputs)
"""
MODELS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, n_inputs, width, n_outputs):
        super().__init__(nn.Linear(n_inputs, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, n_outputs))
"""


def test_data_and_code_of_ones_own_are_tried_before_any_job_and_watched(fresh):
    """In one project: what is wrong is said at once, what is right runs, an edit of an imported module trains again."""
    arrays = data()
    arrays["X"][3, 1] = np.nan
    with_file(fresh, arrays)
    for name, text in {
        "my_net.py": NET,
        "mylab/models.py": MODELS,
        "mylab/__init__.py": "",
        "phi.py": "phi = 3\n",
    }.items():
        file = fresh.folder / "nets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    config, two = fresh.config, copy.deepcopy(MICRO["experiments"]["two"])
    config["experiments"]["one"] |= {"network": {"factory": "nets/my_net.py:build"}}
    config["experiments"]["one"]["regression"]["predictors"] = ["ntk_init"]
    config["experiments"]["two"] = two | {"network": {"activation": "nets/phi.py:phi"}}
    fresh.config = config
    text = fresh.snakemake("-n", check=False)
    assert "The config has 2 problems; nothing was run:" in text
    assert "experiments.one.dataset: " in text and "mine.npz" in text and "NaN" in text
    assert "experiments.two.network.activation: activation 'nets/phi.py:phi' is int" in text
    assert "Traceback" not in text

    with_file(fresh, data())
    config["experiments"].pop("two")
    config["experiments"]["one"]["grid"] |= {"width": [4], "init_scale": [1.0, 2.0], "n_train": [8], "draws": 1}
    fresh.config = config
    text = fresh.snakemake("--cores", "2", "--", "results/one/networks/depth-1_width-4_init_scale-1.0.nc")
    assert text.count("trying data and code of your own, once: nets/my_net.py:build with mine.npz") == 1
    assert "one: network factory 'nets/my_net.py:build': BatchNorm1d '1' run in evaluation mode" in text
    assert "ignores init_scale: the cells of 1, 2 are the same networks" in text
    log = next((fresh.folder / "logs/one/train_networks").glob("*.log")).read_text()
    assert "BatchNorm1d '1' run in evaluation mode" in log
    fresh.edit("nets/mylab/models.py", "class Net", "# A comment runs nothing.\nclass Net")
    row = ["results/one/networks/depth-1_width-4_init_scale-1.0.nc"]
    assert fresh.plan(targets=row) == {}
    fresh.edit("nets/mylab/models.py", "nn.Tanh()", "nn.ReLU()")
    assert fresh.plan(targets=row) == {"train_networks": 1}
