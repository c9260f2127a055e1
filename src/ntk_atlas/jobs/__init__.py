"""The jobs of an experiment, a file each: what a job reads of the config, what it is made of, and how it computes.

The head of a job's file defines the `Job`, which is all that a plan needs: what the job reads, what its units depend
on, and where its result lies. Below it stands how the job computes: a function `compute(part, given)` that gives the
labelled arrays of its file. Snakemake's rules, their inputs, the table of what runs again after a change, `make why`
and the check of files that jobs exchange follow from the heads.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ntk_atlas.jobs.parts.slice import (
    DROPPED,
    Narrowing,
    Row,
    Slice,
    UndeclaredSettingError,
    canonical_text,
    declares,
    rows,
    slice_of,
)
from ntk_atlas.registry import HeadRegistry, value_files

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings, JobSettings, StudySettings
    from ntk_atlas.datasets.dataset import Dataset
    from ntk_atlas.jobs.parts.slice import Unit


@dataclass(frozen=True)
class Per:
    """How an experiment is cut into jobs of a kind, and what a job's name says.

    Attributes:
        wildcard: of the path of its file; empty for one job.
        file: the name of the file, without its ending.
        names: of all jobs of an experiment.
        narrowed: the settings of the job of a name.
        cut_by: keys of the config that say how it is cut.
    """

    wildcard: str
    file: str
    names: Callable[[ExperimentSettings, JobSettings], tuple[str, ...]]
    narrowed: Callable[[ExperimentSettings, str], Mapping[str, object]]
    cut_by: tuple[str, ...] = ()


def planning(module: str) -> ModuleType:
    """A module that the plan needs and the job does not: the digest of the job's code does not cover it."""
    return importlib.import_module(module)


def _of_row(_: ExperimentSettings, name: str) -> Mapping[str, object]:
    row = Row.parse(name)
    return {"grid.depth": (row.depth,), "grid.width": (row.width,), "grid.init_scale": row.init_scale}


def _of_architecture(_: ExperimentSettings, name: str) -> Mapping[str, object]:
    depth, width = parse_architecture(name)
    return {"dispersion.depth": (depth,), "dispersion.width": (width,)}


def architecture_name(depth: int, width: int) -> str:
    """Name in paths, `depth-3_width-64`."""
    return f"depth-{depth}_width-{width}"


def parse_architecture(name: str) -> tuple[int, int]:
    """Depth and width of the architecture that has this name.

    Raises:
        ValueError: if none has it.
    """
    match = re.fullmatch(r"depth-(\d+)_width-(\d+)", name)
    if match is None:
        raise ValueError(f"{name!r} is not the name of an architecture (depth-D_width-W)")
    return int(match[1]), int(match[2])


def _architectures(experiment: ExperimentSettings, _: JobSettings) -> tuple[str, ...]:
    settings = experiment.dispersion
    if settings is None:
        return ()
    return tuple(architecture_name(depth, width) for depth in settings.depth for width in settings.width)


EXPERIMENT = Per("", "", lambda experiment, jobs: ("",), lambda experiment, name: {})
"""One job for an experiment."""
ROW = Per(
    "row",
    "{row}",
    lambda experiment, jobs: tuple(row.name for row in rows(experiment.grid, jobs.init_scales_per_job)),
    _of_row,
    ("jobs.init_scales_per_job",),
)
"""A job for each (depth, width) and group of init scales."""
INIT_SCALE = Per(
    "init_scale",
    "init_scale-{init_scale}",
    lambda experiment, jobs: tuple(canonical_text(scale) for scale in experiment.grid.init_scale),
    lambda experiment, name: {"grid.init_scale": (float(name),)},
)
ARCHITECTURE = Per("architecture", "{architecture}", _architectures, _of_architecture)
"""A job for each (depth, width) of untrained networks."""


def _nothing(*_: object) -> Mapping[str, Any]:
    return {}


def _no_problems(_: ExperimentSettings) -> Iterator[tuple[str, str]]:
    return iter(())


@dataclass(frozen=True)
class Job:
    """A kind of job.

    Attributes:
        reads: paths of the config that it depends on: keys, or whole sections.
        folder: of its files, below the experiment's; of the one job of an experiment, the file.
        kind: what its result is called by the jobs that are made of it.
        made_of: the jobs whose results it reads.
        per: how an experiment is cut into jobs.
        wanted: whether an experiment has this kind of job.
        takes: whether it reads the results of one of `made_of` in an experiment.
        narrowed: values that some paths have for the job, beside those that its name says.
        found: what is looked up for it in the data when a run is planned.
        looked_up: paths of the config that `narrowed` and `found` are looked up from, beside `reads`.
        stores: folders of finished units that it keeps.
        problems: what the settings of an experiment lack for it: (key, message) of each problem, before any work.
        message: what a run says of it.
        memory_mb: MiB that it asks for; None for what jobs of kernels ask for.
        minutes: of a cluster that it asks for.
        code: the modules of the package that it loads by the names in its slice.
        users_code: whether it runs code of the user's that its settings name.
    """

    reads: tuple[str, ...]
    folder: str
    kind: str = ""
    made_of: tuple[str, ...] = ()
    per: Per = EXPERIMENT
    wanted: Callable[[ExperimentSettings], bool] = lambda experiment: True
    takes: Callable[[ExperimentSettings, str], bool] = lambda experiment, job: True
    narrowed: Narrowing = _nothing
    found: Callable[[ExperimentSettings], Mapping[str, Any]] = _nothing
    looked_up: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    problems: Callable[[ExperimentSettings], Iterator[tuple[str, str]]] = _no_problems
    message: str = ""
    memory_mb: int | None = None
    minutes: int = 120
    code: Callable[[Slice], tuple[Path, ...]] = value_files
    users_code: bool = True
    name: str = field(default="", compare=False)

    @property
    def file(self) -> str:
        """The path of its result below an experiment's folder, with its wildcard."""
        return f"{self.folder}/{self.per.file}.nc" if self.per.file else f"{self.folder}.nc"

    @property
    def log(self) -> str:
        """The path of its log below the experiment's logs, with its wildcard."""
        return f"{self.name}/{self.per.file}.log" if self.per.file else f"{self.name}.log"

    @property
    def record(self) -> str:
        """The path of Snakemake's record of its time and memory below the experiment's `costs`."""
        return f"{self.name}/{self.per.file or 'all'}.tsv"

    def names(self, experiment: ExperimentSettings, jobs: JobSettings | None = None) -> tuple[str, ...]:
        """The names of all jobs of this kind in an experiment; none if it wants none."""
        if jobs is None:
            jobs = planning("ntk_atlas.config.study").JobSettings()
        return self.per.names(experiment, jobs) if self.wanted(experiment) else ()

    def file_of(self, name: str) -> str:
        """The path of the result of one job, below an experiment's folder."""
        return self.file.format(**{self.per.wildcard: name}) if self.per.wildcard else self.file

    def name_of(self, file: str) -> str | None:
        """The name of the job whose result a path below an experiment's folder is; None if it is none of this kind."""
        before, wildcard, after = self.file.partition(f"{{{self.per.wildcard}}}") if self.per.wildcard else ("", "", "")
        if not wildcard:
            return "" if file == self.file else None
        inside = file.startswith(before) and file.endswith(after) and len(file) > len(before) + len(after)
        name = file[len(before) : len(file) - len(after)] if inside else "/"
        return None if "/" in name else name

    def slice(self, experiment: ExperimentSettings, name: str = "", study: StudySettings | None = None) -> Slice:
        """What the job of a name depends on.

        Args:
            experiment: settings.
            name: of the job, as in the path of its file; empty for the one job of an experiment.
            study: settings that experiments share, for jobs that read of them.

        Returns:
            The slice of the config.
        """
        narrowed = {**self.per.narrowed(experiment, name), **self.narrowed(experiment)}
        return slice_of(
            self.name, self.reads, experiment,
            narrowed=narrowed, found=self.found(experiment), study=study, users_code=self.users_code,
        )  # fmt: skip

    def threads(self, settings: ExperimentSettings | Slice) -> int:
        """Threads of a job: kernels and solves run on one, training on `training.threads`."""
        return settings.training.threads if self.kind == "networks" else 1

    def parse(self, text: str) -> Slice:
        """The slice of a job from its canonical JSON text."""
        return Slice.parse(self.name, self.reads, text)

    def declares(self, key: str) -> bool:
        """Whether a key of the config can change what this job depends on."""
        return declares((*self.reads, *self.looked_up, *self.per.cut_by), key)


@dataclass(frozen=True)
class Given:
    """What a job is given beside its slice.

    Attributes:
        dataset: the prepared data, for jobs that are made of them.
        data_digest: digest of their contents.
        units: the folder of finished units of all stages.
        source: digest of the code that the job's numbers depend on.
        save_every: seconds after which the state of a training under way is written.
        trained: digest of each unit's training at one init scale, for jobs that are made of networks.
    """

    dataset: Dataset
    data_digest: str = ""
    units: Path = Path()
    source: str = ""
    save_every: float = 60.0
    trained: dict[Unit, str] = field(default_factory=dict)


__all__ = [
    "ARCHITECTURE", "DROPPED", "EXPERIMENT", "Given", "INIT_SCALE", "JOBS", "Job", "Per", "ROW", "Slice",
    "UndeclaredSettingError", "architecture_name", "job_slice", "parse_architecture", "planning",
]  # fmt: skip

JOBS = HeadRegistry("ntk_atlas.jobs", Job, "job")


def job_slice(job: str, experiment: ExperimentSettings, name: str = "") -> Slice:
    """What the job of a name depends on: `job_slice("train_networks", experiment, row.name)`."""
    return JOBS.head(job).slice(experiment, name)
