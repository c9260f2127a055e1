"""The jobs of an experiment, a file each: what a job reads of the config, what it is made of, and how it computes."""

from typing import TYPE_CHECKING

from ntk_atlas.jobs.job import (
    ARCHITECTURE,
    EXPERIMENT,
    INIT_SCALE,
    ROW,
    Given,
    Job,
    Per,
    architecture_name,
    parse_architecture,
    planning,
)
from ntk_atlas.jobs.parts.slice import DROPPED, Slice, UndeclaredSettingError
from ntk_atlas.registry import HeadRegistry

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings

__all__ = [
    "ARCHITECTURE", "DROPPED", "EXPERIMENT", "Given", "INIT_SCALE", "JOBS", "Job", "Per", "ROW", "Slice",
    "UndeclaredSettingError", "architecture_name", "job_slice", "parse_architecture", "planning",
]  # fmt: skip

JOBS = HeadRegistry("ntk_atlas.jobs", Job, "job")


def job_slice(job: str, experiment: "ExperimentSettings", name: str = "") -> Slice:
    """What the job of a name depends on: `job_slice("train_networks", experiment, row.name)`."""
    return JOBS.head(job).slice(experiment, name)
