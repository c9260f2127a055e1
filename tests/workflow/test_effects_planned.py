"""The table of `config/README.md` held to the workflow: a key of each row is changed, a dry run says what runs."""

import copy
import shutil

import pytest
import yaml
from conftest import copy_repository
from study_changes import BASE, PREDICTORS, changed_config

from ntk_atlas.study.effects import EFFECTS, MADE_OF, effect_of, rules_after

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

STUDY = copy.deepcopy(BASE) | {"claims": "config/claims/equivalence.yaml"}
STUDY["experiments"]["one"]["dataset"] |= {"n_validation": 32, "n_test": 48, "seed": 100}
STUDY["experiments"]["one"]["training"] |= {
    "max_epochs": 4, "seeds_per_unit": 8, "seed": 100, "learning_rate": {"relative": 0.5, "of": "infinite_ntk"},
    "checkpoints": {"epochs": "log", "n_log": 4, "weights": "scheduled"},
}  # fmt: skip
STUDY["experiments"]["one"]["dispersion"] |= {"n_networks": 100, "n_exact": 1000, "seed": 100}
STUDY["experiments"]["one"]["kernel_variants"] |= {"n_networks": 4, "n_samples": 6, "seed": 100}
STUDY["experiments"]["one"]["show"] = ["error_map", "dispersion", "output_variance"]
STUDY["figures"] = {"dpi": 50}


def joined(figures: int, **jobs: int) -> dict[str, int]:
    """These jobs, and those that follow as soon as the cube is joined anew."""
    once = (
        "assemble_cube", "assemble_functions", "assemble_output_variance", "fit_scaling_laws", "summarize_cube",
        "judge_claims", "plot_claims", "join_claims", "compare_layer_changes", "tabulate_costs", "all",
    )  # fmt: skip
    return dict.fromkeys(once, 1) | {"plot_figure": figures} | jobs


def without_variance(jobs: dict[str, int]) -> dict[str, int]:
    """These jobs without the file of output variances, which no job before it changes."""
    return jobs | {"assemble_output_variance": 0}


NETWORKS = {"train_networks": 8, "linearize_networks": 8, "regress_empirical": 8}
HALF_OF_THEM = dict.fromkeys(NETWORKS, 4)
KERNELS = {"regress_infinite": 2, "regress_rivals": 2, "predict_output_variance": 2}
WITHOUT_CUBE = {"judge_claims": 1, "plot_claims": 1, "join_claims": 1, "tabulate_costs": 1, "all": 1}
EVERYTHING = joined(
    3, prepare_dataset=1, sample_initial_kernels=1, assemble_dispersion=1, compare_variants=1, **NETWORKS, **KERNELS
)
CHANGES = {
    "experiments": ({"one": STUDY["experiments"]["one"], "two": STUDY["experiments"]["one"]}, EVERYTHING),
    "dataset.n_test": (50, {rule: n for rule, n in EVERYTHING.items() if rule != "sample_initial_kernels"}),
    "grid.n_train": ([8, 16, 24, 32], joined(3, assemble_dispersion=1, **NETWORKS, **KERNELS)),
    "grid.seeds": (9, joined(3, assemble_dispersion=1, **NETWORKS)),
    "grid.width": (
        [4, 8, 16],
        joined(3, assemble_dispersion=1, regress_infinite=2, predict_output_variance=2, **HALF_OF_THEM),
    ),
    "grid.init_scale": (
        [1.0, 2.0, 3.0],
        joined(
            3,
            sample_initial_kernels=1,
            assemble_dispersion=1,
            compare_variants=1,
            regress_infinite=1,
            predict_output_variance=1,
            **HALF_OF_THEM,
        ),
    ),
    "network.bias_variance": (
        0.2,
        joined(
            3,
            sample_initial_kernels=1,
            assemble_dispersion=1,
            compare_variants=1,
            regress_infinite=2,
            predict_output_variance=2,
            **NETWORKS,
        ),
    ),
    "training.learning_rate.relative": (0.4, joined(2, predict_output_variance=2, **NETWORKS)),
    "training.selection": ("best_validation", joined(2, **NETWORKS)),
    "training.seeds_per_unit": (4, joined(2, **NETWORKS)),
    "regression.ridge_grid": ([0.01, 1.0], joined(2, regress_empirical=8, regress_infinite=2, regress_rivals=2)),
    "regression.length_scales": ([1.0, 4.0], joined(2, regress_rivals=2)),
    "regression.predictors": (
        [*PREDICTORS, "linearized", "ntk_pretrained_8", "nngp", "matern_3_2"],
        joined(2, linearize_networks=8, regress_empirical=8, regress_infinite=2, regress_rivals=1),
    ),
    "regression.kernel_dtype": ("float32", joined(2, regress_empirical=8)),
    "scaling.confidence": (0.9, joined(2)),
    "movement.equal_loss": (0.4, joined(2)),
    "dispersion.n_networks": (
        200,
        {"sample_initial_kernels": 1, "assemble_dispersion": 1, "plot_figure": 1, **WITHOUT_CUBE},
    ),
    "output_variance.n_bootstrap": (200, {"assemble_output_variance": 1, "plot_figure": 1, **WITHOUT_CUBE}),
    "kernel_variants.n_networks": (5, {"compare_variants": 1, **WITHOUT_CUBE}),
    "show": (["error_map", "dispersion", "output_variance", "kernel_drift"], {"plot_figure": 1, "all": 1}),
    "figures.dpi": (60, {"plot_figure": 3, "plot_claims": 1, "compare_layer_changes": 1, "all": 1}),
    "jobs.init_scales_per_job": (2, joined(2, **HALF_OF_THEM)),
    "jobs.rivals_per_job": (2, without_variance(joined(1, regress_rivals=1))),
    "jobs.memory_limit_mb": (900, {}),
    "claims": ("others.yaml", without_variance(joined(1, assemble_functions=0))),
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
    assert planned == {rule: n for rule, n in jobs.items() if n}
    assert set(planned) - {"all"} == rules_after(effect_of(key).rules)
