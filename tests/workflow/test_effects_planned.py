"""The table of `config/README.md` held to the workflow: a key of each row is changed, a dry run says what runs."""

import copy
import shutil
from collections import Counter

import pytest
import yaml
from conftest import copy_repository
from study_changes import BASE, PREDICTORS, changed_config

from ntk_atlas.study.effects import EFFECTS, MADE_OF, effect_of, rules_after

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

STUDY = copy.deepcopy(BASE) | {"claims": "config/claims/equivalence.yaml"}
STUDY["experiments"]["one"]["dataset"] |= {"n_validation": 32, "n_test": 48}
STUDY["experiments"]["one"]["training"] |= {"max_epochs": 4, "seeds_per_unit": 8}
STUDY["experiments"]["one"]["dispersion"] |= {"n_networks": 100, "n_exact": 1000}
STUDY["experiments"]["one"]["kernel_variants"] |= {"n_networks": 4, "n_samples": 6}
STUDY["figures"] = {"dpi": 50}

CHANGES = {
    "experiments": ({"one": STUDY["experiments"]["one"], "two": STUDY["experiments"]["one"]}, {}),
    "dataset.n_test": (50, {}),
    "grid.n_train": ([8, 16, 24, 32], {}),
    "grid.seeds": (9, {}),
    "grid.width": ([4, 8, 16], {}),
    "grid.init_scale": ([1.0, 2.0, 3.0], {}),
    "network.bias_variance": (0.2, {}),
    "training.learning_rate.relative": (0.4, {}),
    "training.selection": ("best_validation", {}),
    "training.seeds_per_unit": (4, {}),
    "regression.ridge_grid": ([0.01, 1.0], {}),
    "regression.length_scales": ([1.0, 4.0], {}),
    "regression.predictors": ([*PREDICTORS, "matern_3_2"], {}),
    "regression.kernel_dtype": ("float32", {}),
    "scaling.confidence": (0.9, {}),
    "movement.equal_loss": (0.4, {}),
    "dispersion.n_networks": (200, {}),
    "output_variance.n_bootstrap": (200, {}),
    "kernel_variants.n_networks": (5, {}),
    "show": (["error_map", "kernel_drift"], {}),
    "figures.dpi": (60, {}),
    "jobs.init_scales_per_job": (1, {}),
    "jobs.rivals_per_job": (1, {}),
    "jobs.memory_limit_mb": (900, {}),
    "claims": ("others.yaml", {}),
    "presets": ({"small": {}}, {}),
}
"""Key → another value of it, and the jobs that a dry run then plans."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A finished study with a job of every rule; dry runs leave it as it is."""
    project = copy_repository(tmp_path_factory.mktemp("everything") / "project")
    shutil.copy(project.folder / "config/claims/equivalence.yaml", project.folder / "others.yaml")
    other = yaml.safe_load((project.folder / "others.yaml").read_text())
    other["confidence"] = 0.9
    (project.folder / "others.yaml").write_text(yaml.safe_dump(other))
    project.config = STUDY
    project.snakemake("--cores", "2", "--quiet", "all")
    yield project


def test_the_study_has_every_rule_and_each_row_a_key(everything):
    ran = {path.parent.name for path in everything.folder.glob("logs/*/*/*")}
    ran |= {path.stem for path in everything.folder.glob("logs/**/*.log")}
    assert set(MADE_OF) <= ran
    assert {effect_of(key) for key in CHANGES} == set(EFFECTS)
    assert everything.plan() == {}


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_plans_the_jobs_of_its_row(everything, key):
    value, jobs = CHANGES[key]
    everything.config = changed_config(STUDY, key, value)
    planned = everything.plan()
    everything.config = STUDY
    assert planned == Counter(jobs)
    assert set(planned) - {"all"} == rules_after(effect_of(key).rules)
