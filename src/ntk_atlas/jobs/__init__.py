"""The jobs of an experiment, a file each: what a job reads of the config, what it is made of, and how it computes."""

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.heads import HeadRegistry
from ntk_atlas.jobs.job import (
    ARCHITECTURE,
    EXPERIMENT,
    INIT_SCALE,
    KERNELS,
    ROW,
    Given,
    Job,
    architecture_name,
    parse_architecture,
)
from ntk_atlas.jobs.parts.slice import DROPPED, Slice, UndeclaredSettingError

__all__ = [
    "ARCHITECTURE", "DROPPED", "EXPERIMENT", "Given", "INIT_SCALE", "JOBS", "Job", "KERNELS", "ROW", "Slice",
    "UndeclaredSettingError", "architecture_name", "job_slice", "parse_architecture",
]  # fmt: skip

JOBS = HeadRegistry("ntk_atlas.jobs", Job, "job")


def job_slice(job: str, experiment: ExperimentSettings, name: str = "") -> Slice:
    """What the job of a name depends on: `job_slice("train_networks", experiment, row.name)`."""
    return JOBS.head(job).slice(experiment, name)
