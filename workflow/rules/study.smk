# The validated study, and the two parameters of every rule - spec and source.
import os
import sys
from functools import cache
from pathlib import Path

# The folder of this repository, also if another workflow uses this one as a module.
WORKFLOW = Path(str(workflow.current_basedir)).parents[1]
PACKAGE = WORKFLOW / "src" / "ntk_atlas"
# Jobs run the package beside this workflow, whose digest they carry, whatever else is installed.
sys.path[:0] = [str(PACKAGE.parent), str(WORKFLOW)]
os.environ.update(
    PYTHONPATH=os.pathsep.join([str(PACKAGE.parent), os.getenv("PYTHONPATH", "")])
)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A file is written once, under a name of its own: it needs no lock, which not every network file system has.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
# Where profiles find their scripts, whatever the working directory.
os.environ.update(NTK_ATLAS=str(WORKFLOW))


from ntk_atlas.registry import value_files
from ntk_atlas.source_digest import SourceMemory, source_digest
from ntk_atlas.study.cells import Row
from ntk_atlas.study.dispersion_spec import parse_architecture
from ntk_atlas.study.jobs import (
    empirical_spec,
    infinite_spec,
    rival_groups,
    rival_spec,
    train_spec,
)
from ntk_atlas.study.load import load_study, read_study
from ntk_atlas.study.prepare_spec import prepare_spec
from ntk_atlas.study.problems import ConfigError
from ntk_atlas.study.start_checks import StartChecks
from ntk_atlas.study.thresholds import load_regime_thresholds, load_thresholds
from workflow.study_of_call import as_written, config_files, default_config

CONDA = str(WORKFLOW / "envs" / "environment.yaml")


# Digests are asked for at every start, by each job on a cluster too: files are parsed when they are new.
SOURCES = SourceMemory(Path.cwd() / ".snakemake" / "ntk-atlas" / "sources.json")


@cache
def digest_of(file, values=()):
    """Digest of a Python file, of all package modules that it imports, and of the values' modules."""
    digest = source_digest(file, PACKAGE, SOURCES, values)
    SOURCES.keep()
    return digest


def source(script, build=None, *names):
    """Digest of a rule's script and the package modules that it imports.

    With the arguments of the rule's `spec`, the digest is a job's: the modules of the values (activation, optimizer,
    ...) that the job's settings name are part of it.
    """
    return module_source(WORKFLOW / "workflow" / "scripts" / script, build, *names)


def module_source(module, build=None, *names):
    """Digest of a package module, as `source`: what finished units depend on."""
    file = PACKAGE / module
    if build is None:
        return digest_of(file)
    return lambda wildcards: digest_of(
        file, value_files(built(build, names, wildcards))
    )


# Data and code of the user's own are tried where a run is planned, not in its jobs, nor where nothing will run.
STARTS = workflow.is_main_process and not {"--unlock", "--report"} & set(sys.argv)
START = StartChecks(
    memory=SOURCES.path.with_name("start.json"),
    source=module_source("stages/trial.py") if STARTS else "",
    say=logger.info,
)
START_CHECKS = START if STARTS else None


def validated_study():
    """The study, or an end of this run with one message that lists all problems of the config.

    Snakemake's own `config` is not asked, but by a workflow that gives this one a config as its module: files are read
    by the reader that `make run` has, in which a number is a number and nothing stands twice.
    """
    settings = workflow.config_settings
    try:
        if workflow.modifier.skip_configfile:
            given = settings.configfiles
            own = [
                Path(file)
                for file in workflow.configfiles
                if Path(file).absolute() not in given
            ]
            part = as_written(config, [*own, *given], settings.config)
            return load_study(part, START_CHECKS)
        files = config_files(Path.cwd(), settings.configfiles)
        if settings.replace_workflow_config:
            files = [Path(file) for file in settings.configfiles]
        return read_study(files, settings.config, START_CHECKS)
    except ConfigError as error:
        sys.exit(str(error))


STUDY = validated_study()
EXPERIMENTS = STUDY.active()
# Thresholds of regimes: the study's, or the project's own.
REGIMES = STUDY.regimes or str(WORKFLOW / "config" / "regimes.yaml")
# Of the jobs that hold kernels.
KERNEL_JOB_MB = STUDY.jobs.kernel_job_mb


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    row=r"depth-\d+_width-\d+_init_scale-[^/]+",
    init_scale=r"[0-9.e+-]+",
    kernels=r"[a-z][a-z0-9_+]*",


def built(build, names, wildcards):
    """What `build(experiment, ...)` gives for the wildcards called `names`."""
    parse = {
        "row": Row.parse,
        "init_scale": float,
        "kernels": lambda names: tuple(names.split("+")),
        "architecture": parse_architecture,
    }
    values = [parse[name](wildcards[name]) for name in names]
    return build(EXPERIMENTS[wildcards.experiment], *values)


def spec(build, *names):
    """A params function: the canonical JSON of `build(experiment, ...)` for the wildcards called `names`."""
    return lambda wildcards: built(build, names, wildcards).canonical_json()


def growing(amount):
    """Memory (MiB) or time (minutes) of a job: `amount`, and as much again each time it is tried again."""
    return lambda wildcards, attempt: amount * attempt


def thresholds_digest():
    """Digest of the file of thresholds that claims are judged by; cubes carry it."""
    return "" if STUDY.claims is None else load_thresholds(Path(STUDY.claims)).digest()
