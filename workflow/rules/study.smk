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
from ntk_atlas.provenance import SourceMemory, source_digest
from ntk_atlas.jobs import ARCHITECTURE, JOBS, ROW
from ntk_atlas.jobs.parts.results import all_jobs
from ntk_atlas.study.load import load_study, read_study
from ntk_atlas.study.problems import ConfigError
from ntk_atlas.study.start_checks import StartChecks
from ntk_atlas.study.config_files import load_regime_thresholds, load_thresholds
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


# What each rule reads of the config and is made of (`ntk_atlas.jobs`).
RULES = all_jobs()


def source(script, name=None):
    """Digest of a rule's script and the package modules that it imports.

    With a name, the digest is that job's: its file, and the modules of the values (activation, optimizer,
    ...) that the job's settings name are part of it.
    """
    file = WORKFLOW / "workflow" / "scripts" / script
    if name is None:
        return digest_of(file)
    own = (JOBS.module_file(name),) if name in JOBS else ()
    return lambda wildcards: digest_of(
        file, (*own, *RULES[name].code(job_slice(name, wildcards)))
    )


def job_source(name):
    """Digest of the file of a job, and of all that it imports and its settings name: what finished units depend on."""
    return lambda wildcards: digest_of(
        JOBS.module_file(name), RULES[name].code(job_slice(name, wildcards))
    )


def module_source(module):
    """Digest of a package module."""
    return digest_of(PACKAGE / module)


# Data and code of the user's own are tried where a run is planned, not in its jobs, nor where nothing will run.
STARTS = workflow.is_main_process and not {"--unlock", "--report"} & set(sys.argv)
START = StartChecks(
    memory=SOURCES.path.with_name("start.json"),
    source=module_source("study/trial.py") if STARTS else "",
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
    architecture=r"depth-\d+_width-\d+",
    row=r"depth-\d+_width-\d+_init_scale-[^/]+",
    init_scale=r"[0-9.e+-]+",
    kernels=r"[A-Za-z][A-Za-z0-9_+]*",


def job_slice(name, wildcards):
    """What a job depends on in the config."""
    job = RULES[name]
    part = wildcards[job.per.wildcard] if job.per.wildcard else ""
    return job.slice(EXPERIMENTS[wildcards.experiment], part, STUDY)


def spec(name):
    """A params function: the canonical JSON of what a job of that name depends on in the config."""
    return lambda wildcards: job_slice(name, wildcards).canonical_json()


def job_threads(job):
    """A function that gives the threads of a job."""
    return lambda wildcards: job.threads(EXPERIMENTS[wildcards.experiment])


def job_message(job):
    """What a run says of a job, its wildcards as Snakemake has them."""
    wildcard = job.per.wildcard
    return (
        job.message.replace(f"{{{wildcard}}}", f"{{wildcards.{wildcard}}}")
        if wildcard
        else job.message
    )


def growing(amount):
    """Memory (MiB) or time (minutes) of a job: `amount`, and as much again each time it is tried again."""
    return lambda wildcards, attempt: amount * attempt


def thresholds_digest():
    """Digest of the file of thresholds that claims are judged by; cubes carry it."""
    return "" if STUDY.claims is None else load_thresholds(Path(STUDY.claims)).digest()
