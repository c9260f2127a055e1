"""The tables of `config/README.md` held to the workflow: a key of each row or the code of each rule is changed.

A dry run says what runs.
"""

import copy
import re
import shutil

import pytest
import yaml
from conftest import REPOSITORY, copy_repository
from study_changes import BASE, PREDICTORS, changed_config

from ntk_atlas.datasets import SOURCES, FetchedSource
from ntk_atlas.jobs import JOBS
from ntk_atlas.jobs.parts import all_jobs, rules_after, rules_of
from ntk_atlas.study import all_keys, direct_rules, note_of

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

STUDY = copy.deepcopy(BASE) | {"claims": "config/claims/equivalence.yaml"}
STUDY["experiments"]["one"]["dataset"] |= {"n_validation": 32, "n_test": 48, "seed": 100}
STUDY["experiments"]["one"]["training"] |= {
    "max_epochs": 4, "seeds_per_unit": 8, "seed": 100, "learning_rate": {"relative": 0.5, "of": "infinite_ntk"},
    "checkpoints": {"epochs": "log", "n_log": 4, "weights": "scheduled"},
}  # fmt: skip
STUDY["experiments"]["one"]["dispersion"] |= {"n_networks": 100, "n_exact": 1000, "seed": 100}
STUDY["experiments"]["one"]["kernel_variants"] |= {"n_networks": 4, "n_samples": 6, "seed": 100}
STUDY["experiments"]["one"]["show"] = ["error_map", "scaling_exponents", "dispersion", "output_variance"]
STUDY["figures"] = {"dpi": 50}


def joined(figures: int, **jobs: int) -> dict[str, int]:
    """These jobs, and those that follow as soon as the cube is joined anew."""
    once = (
        "assemble_cube", "assemble_functions", "map_regimes", "assemble_output_variance", "fit_scaling_laws",
        "summarize_cube",
        "judge_claims", "plot_claims", "join_claims", "write_page", "compare_layer_changes", "tabulate_costs", "all",
    )  # fmt: skip
    return dict.fromkeys(once, 1) | {"plot_figure": figures} | jobs


def without_variance(jobs: dict[str, int]) -> dict[str, int]:
    """These jobs without the file of output variances, which no job before it changes."""
    return jobs | {"assemble_output_variance": 0}


NETWORKS = {"train_networks": 8, "linearize_networks": 8, "regress_empirical": 8}
HALF_OF_THEM = dict.fromkeys(NETWORKS, 4)
KERNELS = {"regress_infinite": 2, "regress_rivals": 2, "predict_output_variance": 2}
WITHOUT_CUBE = dict.fromkeys(("judge_claims", "plot_claims", "join_claims", "write_page", "tabulate_costs", "all"), 1)
EVERYTHING = joined(
    4, prepare_dataset=1, sample_initial_kernels=1, assemble_dispersion=1, compare_variants=1, **NETWORKS, **KERNELS
)
CHANGES = {
    "experiments": ({"one": STUDY["experiments"]["one"], "two": STUDY["experiments"]["one"]}, EVERYTHING),
    "dataset.n_test": (50, {rule: n for rule, n in EVERYTHING.items() if rule != "sample_initial_kernels"}),
    "grid.n_train": ([8, 16, 24, 32], joined(4, assemble_dispersion=1, **NETWORKS, **KERNELS)),
    "grid.draws": (4, joined(4, assemble_dispersion=1, **NETWORKS, **KERNELS)),
    "grid.seeds": (9, joined(4, assemble_dispersion=1, **NETWORKS)),
    "grid.depth": (
        [1, 2, 3],
        joined(4, assemble_dispersion=1, regress_infinite=2, predict_output_variance=2, **HALF_OF_THEM),
    ),
    "grid.width": (
        [4, 8, 16],
        joined(4, assemble_dispersion=1, regress_infinite=2, predict_output_variance=2, **HALF_OF_THEM),
    ),
    "grid.init_scale": (
        [1.0, 2.0, 3.0],
        joined(
            4,
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
            4,
            sample_initial_kernels=1,
            assemble_dispersion=1,
            compare_variants=1,
            regress_infinite=2,
            predict_output_variance=2,
            **NETWORKS,
        ),
    ),
    "training.learning_rate.relative": (0.4, joined(3, predict_output_variance=2, **NETWORKS)),
    "training.selection": ("best_validation", joined(3, **NETWORKS)),
    "training.seeds_per_unit": (4, joined(3, **NETWORKS)),
    "regression.ridge_grid": ([0.01, 1.0], joined(3, regress_empirical=8, regress_infinite=2, regress_rivals=2)),
    "regression.length_scales": ([1.0, 4.0], joined(3, regress_rivals=2)),
    "regression.predictors": (
        [*PREDICTORS, "ntk_pretrained_8", "nngp", "matern_3_2"],
        joined(4, linearize_networks=0, regress_empirical=8, regress_infinite=2, regress_rivals=1),
    ),
    "regression.kernel_dtype": ("float32", joined(3, regress_empirical=8)),
    "regression.solver_memory_mb": (3000, joined(3)),
    "scaling.confidence": (0.9, joined(3)),
    "movement.equal_loss": (0.4, joined(3)),
    "dispersion.n_networks": (
        200,
        {"sample_initial_kernels": 1, "assemble_dispersion": 1, "plot_figure": 1, **WITHOUT_CUBE},
    ),
    "output_variance.n_bootstrap": (200, {"assemble_output_variance": 1, "plot_figure": 1, **WITHOUT_CUBE}),
    "kernel_variants.n_networks": (5, {"compare_variants": 1, **WITHOUT_CUBE}),
    "kernel_variants.n_samples": (7, {"compare_variants": 1, **WITHOUT_CUBE}),
    "show": ([*STUDY["experiments"]["one"]["show"], "kernel_drift"], {"plot_figure": 1, "all": 1}),
    "figures.dpi": (60, {"plot_figure": 4, "plot_claims": 1, "compare_layer_changes": 1, "write_page": 1, "all": 1}),
    "jobs.init_scales_per_job": (2, joined(3, **HALF_OF_THEM)),
    "jobs.rivals_per_job": (2, without_variance(joined(2, regress_rivals=1))),
    "jobs.memory_limit_mb": (900, {}),
    "claims": ("others.yaml", without_variance(joined(2, assemble_functions=0))),
    "regimes": (
        "my_regimes.yaml",
        {"map_regimes": 1, "plot_figure": 0, "write_page": 1, "tabulate_costs": 1, "all": 1},
    ),
    "presets": ({"small": {}}, {}),
}
"""Key → another value of it, and the jobs that a dry run then plans."""

EDITS = {
    "prepare_dataset": (
        "src/ntk_atlas/datasets/read.py", joined(3, prepare_dataset=1, compare_variants=1, **NETWORKS, **KERNELS),
    ),
    "train_networks": ("src/ntk_atlas/training/train.py", joined(3, **NETWORKS)),
    "linearize_networks": ("src/ntk_atlas/jobs/linearize_networks.py", joined(3, linearize_networks=8)),
    "regress_empirical": (
        "src/ntk_atlas/jobs/regress_empirical.py", without_variance(joined(2, regress_empirical=8)),
    ),
    "regress_infinite": (
        "src/ntk_atlas/jobs/regress_infinite.py", without_variance(joined(2, regress_infinite=2)),
    ),
    "regress_rivals": ("src/ntk_atlas/jobs/regress_rivals.py", without_variance(joined(2, regress_rivals=2))),
    "compare_variants": ("src/ntk_atlas/jobs/compare_variants.py", {"compare_variants": 1, **WITHOUT_CUBE}),
    "predict_output_variance": (
        "src/ntk_atlas/jobs/predict_output_variance.py",
        {"predict_output_variance": 2, "assemble_output_variance": 1, "plot_figure": 1, **WITHOUT_CUBE},
    ),
    "sample_initial_kernels": (
        "src/ntk_atlas/dispersion/networks.py",
        {"sample_initial_kernels": 1, "assemble_dispersion": 1, "plot_figure": 1, **WITHOUT_CUBE},
    ),
    "assemble_cube": ("src/ntk_atlas/cubes/assemble.py", without_variance(joined(2, assemble_functions=0))),
    "assemble_functions": (
        "workflow/scripts/assemble_functions.py", {"assemble_functions": 1, **WITHOUT_CUBE},
    ),
    "map_regimes": (
        "src/ntk_atlas/regimes/regime.py", {"map_regimes": 1, "write_page": 1, "tabulate_costs": 1, "all": 1},
    ),
    "assemble_dispersion": (
        "workflow/scripts/assemble_dispersion.py", {"assemble_dispersion": 1, "plot_figure": 1, **WITHOUT_CUBE},
    ),
    "assemble_output_variance": (
        "workflow/scripts/assemble_output_variance.py",
        {"assemble_output_variance": 1, "plot_figure": 1, **WITHOUT_CUBE},
    ),
    "fit_scaling_laws": (  # error maps are drawn by code that knows laws, too
        "src/ntk_atlas/scaling_laws/fit.py",
        {"fit_scaling_laws": 1, "plot_figure": 2, "write_page": 1, "tabulate_costs": 1, "all": 1},
    ),
    "summarize_cube": ("workflow/scripts/summarize_cube.py", {"summarize_cube": 1, "all": 1}),
    "plot_figure": ("src/ntk_atlas/figures/error_map.py", {"plot_figure": 1, "all": 1}),
    "judge_claims": (
        "src/ntk_atlas/judging/verdicts.py",
        {"judge_claims": 1, "plot_claims": 1, "join_claims": 1, "write_page": 1, "all": 1},
    ),
    "plot_claims": ("workflow/scripts/plot_claims.py", {"plot_claims": 1, "all": 1}),
    "join_claims": ("workflow/scripts/join_claims.py", {"join_claims": 1, "write_page": 1, "all": 1}),
    "write_page": ("src/ntk_atlas/page/contents.py", {"write_page": 1, "all": 1}),
    "compare_layer_changes": ("workflow/scripts/compare_layer_changes.py", {"compare_layer_changes": 1, "all": 1}),
    "tabulate_costs": ("workflow/scripts/tabulate_costs.py", {"tabulate_costs": 1, "all": 1}),
}  # fmt: skip
"""Rule → a file that its script needs (or the script) and those before it do not, and the jobs that its edit plans."""
FETCHED = [source for source in SOURCES.values() if isinstance(source, FetchedSource)]
FETCHES = {f"fetch_{source.name}" for source in FETCHED}
"""The rules that fetch data; this study has no such data."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A finished study with a job of every rule; dry runs leave it as it is."""
    project = copy_repository(tmp_path_factory.mktemp("everything") / "project")
    shutil.copy(project.folder / "config/claims/equivalence.yaml", project.folder / "others.yaml")
    other = yaml.safe_load((project.folder / "others.yaml").read_text())
    other["confidence"] = 0.9
    (project.folder / "others.yaml").write_text(yaml.safe_dump(other))
    regimes = yaml.safe_load((project.folder / "config/regimes.yaml").read_text())
    (project.folder / "my_regimes.yaml").write_text(yaml.safe_dump(regimes | {"confidence": 0.9}))
    project.config = STUDY
    project.snakemake("--cores", "2", "--quiet", "all")
    yield project


def test_the_study_has_every_rule_and_each_row_a_key(everything):
    ran = {path.parent.name for path in everything.folder.glob("logs/*/*/*")}
    ran |= {path.stem for path in everything.folder.glob("logs/**/*.log")}
    assert set(all_jobs()) <= ran
    sizes = row_of("dataset.side")  # of images and teachers; these data are digits
    assert {row_of(key) for key in CHANGES} == {row_of(key) for key in all_keys()} - {sizes}
    assert everything.plan() == {}


def row_of(key):
    """The row of a key in the table of the config's page."""
    return direct_rules(key), note_of(key)


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_plans_the_jobs_of_its_row(everything, key):
    value, jobs = CHANGES[key]
    everything.config = changed_config(STUDY, key, value)
    planned = everything.plan()
    everything.config = STUDY
    assert planned == {rule: n for rule, n in jobs.items() if n}
    unchanged = {rule for rule, n in jobs.items() if rule in (*NETWORKS, "plot_figure") and not n}
    declared = rules_of(key) or direct_rules(key)
    assert set(planned) - {"all"} == rules_after(declared) - unchanged


def test_comments_in_the_file_of_thresholds_run_nothing(everything):
    path = everything.folder / everything.config["claims"]
    text = path.read_text()
    path.write_text(f"# why these\n{text}")
    commented = everything.plan()
    values = yaml.safe_load(text)
    path.write_text(yaml.safe_dump({**values, "confidence": 0.93}))
    changed = everything.plan()
    path.write_text(text)
    assert commented == {}
    assert set(changed) - {"all"} == rules_after(["assemble_cube", "judge_claims", "compare_layer_changes"])


def rules_with_a_script():
    """The rules of the workflow that run code of ours, by what stands in its files."""
    files = [REPOSITORY / "Snakefile", *(REPOSITORY / "workflow" / "rules").glob("*.smk")]
    rules = [re.split(r"^ *rule (\w+):$", file.read_text(), flags=re.M)[1:] for file in files]
    written = {name for of in rules for name, body in zip(of[::2], of[1::2], strict=True) if "script:" in body}
    return written | set(JOBS.names())


def test_the_code_of_every_rule_is_edited():
    assert rules_with_a_script() == set(EDITS)  # beside those that fetch, which a loop makes
    assert set(all_jobs()) == set(EDITS)


def planned_after_an_edit(project, file, targets=()):
    """The jobs that a dry run plans as long as a file has a line of code more."""
    path = project.folder / file
    text = path.read_text()
    project.edit(file, "\nfrom ", "\nEXTRA = 1\nfrom ")
    planned = project.plan(targets=targets)
    path.write_text(text)
    return planned


@pytest.mark.parametrize("rule", EDITS)
def test_an_edit_plans_its_rule_and_what_is_made_of_it(everything, rule):
    file, jobs = EDITS[rule]
    planned = planned_after_an_edit(everything, file)
    assert planned == {name: n for name, n in jobs.items() if n}
    assert set(planned) - {"all"} <= rules_after([rule])


def test_an_edit_in_what_fetches_data_fetches_again_and_only_that(everything):
    files = [str(file) for source in FETCHED for file in source.official.cached()]
    for file in files:  # as if fetched: a download is nothing for a test
        (everything.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (everything.folder / file).write_text("")
    everything.snakemake("--touch", "--force", "--cores", "1", "--quiet", "all", "--", *files)
    assert everything.plan(targets=files) == {}
    planned = planned_after_an_edit(everything, "src/ntk_atlas/datasets/official_files.py", files)
    assert planned == dict.fromkeys(FETCHES, 1)
    assert everything.plan() == {}
