# The validated study, the names of its files, and the two parameters that every rule has: spec and source.
import os
import sys
from pathlib import Path

WORKFLOW = Path(workflow.basedir)
PACKAGE = WORKFLOW / "src" / "ntk_atlas"
# Jobs run the package beside this workflow, whose digest they carry, whatever else is installed.
sys.path.insert(0, str(PACKAGE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ntk_atlas.source_digest import source_digest
from ntk_atlas.study.cells import Row, canonical_text, rows
from ntk_atlas.study.disk import disk_estimate
from ntk_atlas.study.jobs import (
    empirical_spec,
    infinite_spec,
    predictors,
    prepare_spec,
    stationary_spec,
    train_spec,
)
from ntk_atlas.study.load import load_study
from ntk_atlas.study.problems import ConfigError

CONDA = str(WORKFLOW / "envs" / "environment.yaml")
RESULT = "results/{experiment}/"
LOGS = "logs/{experiment}/"
COSTS = "results/{experiment}/costs/"
ROW = "{row}"
FIGURES = (
    "learning_curves",
    "kernel_drift",
    "error_map",
    "kernel_alignment",
    "kernel_spectra",
    "scaling_exponents",
)


def validated_study():
    """The study, or an end of this run with one message that lists all problems of the config."""
    files = [Path(file) for file in workflow.configfiles]
    try:
        return load_study(config, files)
    except ConfigError as error:
        sys.exit(str(error))


STUDY = validated_study()
EXPERIMENTS = STUDY.active()


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    row=r"depth-\d+_width-\d+_init_scale-[^/]+",
    init_scale=r"[0-9.e+-]+",
    kernel=r"laplace|matern_3_2|matern_5_2|rbf",
    figure="|".join(FIGURES),


def spec(build, *names):
    """A params function: the canonical JSON of `build(experiment, ...)` for the wildcards called `names`."""
    parse = {"row": Row.parse, "init_scale": float, "kernel": str}

    def of_wildcards(wildcards):
        values = [parse[name](wildcards[name]) for name in names]
        return build(EXPERIMENTS[wildcards.experiment], *values).canonical_json()

    return of_wildcards


def source(script):
    """Digest of a rule's script and of all package modules that it imports."""
    return source_digest(WORKFLOW / "workflow" / "scripts" / script, PACKAGE)


def module_source(module):
    """Digest of a package module and of all package modules that it imports: what finished units depend on."""
    return source_digest(PACKAGE / module, PACKAGE)


def row_names(name):
    """Names of all rows of an experiment."""
    return [row.name for row in rows(EXPERIMENTS[name].grid)]


def experiment_targets(name):
    """Everything that is made of one experiment."""
    folder = f"results/{name}"
    tables = [
        f"{folder}/{table}.csv"
        for table in ("summary", "scaling_laws", "exponent_differences")
    ]
    return [
        f"{folder}/cube.nc",
        f"{folder}/scaling_laws.nc",
        *tables,
        *[
            f"{folder}/figures/{figure}.{kind}"
            for figure in FIGURES
            for kind in ("svg", "png")
        ],
    ]


def plan_of_the_study():
    """What is about to run, in words, disk space included."""
    for name, experiment in EXPERIMENTS.items():
        grid = experiment.grid
        cells = len(rows(grid)) * len(grid.n_train)
        yield (
            f"{name}: {cells} cells (depth × width × init_scale × n_train), {grid.draws} draws × {grid.seeds} seeds "
            f"= {cells * grid.draws * grid.seeds} networks; {disk_estimate(experiment)}"
        )


def hint_after_a_kill():
    """What to do when a killed run left its lock: Snakemake itself only says how to remove it."""
    import psutil

    locks = Path(".snakemake/locks")
    if (
        not workflow.is_main_process
        or not locks.is_dir()
        or not any(locks.iterdir())
        or "--unlock" in sys.argv
    ):
        return
    here, mine = str(Path.cwd()), {
        os.getpid(),
        *[parent.pid for parent in psutil.Process().parents()],
    }
    others = [
        process
        for process in psutil.process_iter(["pid", "cwd", "cmdline"])
        if process.info["cwd"] == here
        and process.info["pid"] not in mine
        and any(
            Path(word).name == "snakemake" for word in process.info["cmdline"] or []
        )
    ]
    if not others:
        logger.info(
            "A run before this one was killed and left its lock. `make run` ends workers it may have left, "
            "unlocks and goes on; `make unlock` does so without running anything (then run snakemake again)."
        )


hint_after_a_kill()
