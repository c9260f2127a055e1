"""Results of another config beside those of this one: whoever opens the folder takes them for results of this one."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from ntk_atlas.arrays import read_labelled
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.jobs import JOBS, Job
from ntk_atlas.jobs.parts.results import made_in_the_end
from ntk_atlas.study.outputs import cubes_of, figures_of, file_name, tables_of

_WITH_CONFIG = ("assemble_cube", "assemble_functions", "assemble_output_variance", "assemble_dispersion")
"""Rules whose files carry the settings they were made with as `config`."""
_KINDS = ("*.nc", "*.csv", "figures/*.svg", "figures/*.png")


def final_results(experiment: ExperimentSettings, *, claims: bool) -> tuple[str, ...]:
    """What is made of an experiment in the end.

    Args:
        experiment: its settings.
        claims: whether the study judges claims.

    Returns:
        Paths of its cubes, tables and figures, relative to its folder.
    """
    data = inspect_dataset(experiment.dataset)
    shown = figures_of(experiment, has_classes=data.task != "regression", one_feature=data.input_shape == (1,))
    judged = ("claims",) if claims else ()
    return (
        *(f"{cube}.nc" for cube in cubes_of(experiment)),
        *(f"{table}.csv" for table in (*tables_of(experiment), *judged)),
        *(f"figures/{figure}.{kind}" for figure in (*map(file_name, shown), *judged) for kind in ("svg", "png")),
    )


def missing_results(study: StudySettings, results: Path) -> tuple[Path, ...]:
    """Cubes, tables and figures of a study's experiments that are not there.

    Args:
        study: the study.
        results: the folder of all results.

    Returns:
        Their paths.
    """
    claims = study.claims is not None
    wanted = [
        results / name / place
        for name, experiment in study.active().items()
        for place in final_results(experiment, claims=claims)
    ]
    return tuple(path for path in wanted if not path.is_file())


def earlier_results(study: StudySettings, results: Path) -> tuple[Path, ...]:
    """Cubes, tables and figures in the folders of a study's experiments that its config does not make.

    Args:
        study: the study.
        results: the folder of results.

    Returns:
        The files; intermediate ones, which nobody opens by chance, are not among them.
    """
    # Where earlier versions had what all experiments of a study have together.
    found = sorted((*results.glob("*.csv"), *results.glob("figures/*.*")))
    for name, experiment in study.active().items():
        folder = results / name
        there = {path for kind in _KINDS for path in folder.glob(kind)}
        made = {folder / file for file in (*final_results(experiment, claims=study.claims is not None), "dataset.nc")}
        found += sorted(there - made)
    return tuple(found)


def foreign_results(study: StudySettings, results: Path, records: Path) -> Iterator[Path]:
    """Results that were put here from a study with other settings, and that Snakemake believes.

    A result that Snakemake has no record of counts as right whatever the config says: it has to say itself what it was
    made with. One that has a record is made anew by Snakemake if its settings have changed.

    Args:
        study: the study.
        results: the folder of results.
        records: the folder of Snakemake's records, named by the path of each result.

    Yields:
        The NetCDF files.
    """
    for name, experiment in study.active().items():
        folder = results / name
        for path in sorted(folder.glob("**/*.nc")):
            place = path.relative_to(folder)
            record = urlsafe_b64encode(f"results/{name}/{place.as_posix()}".encode()).decode()
            if (records / record).is_file():
                continue
            wanted = _made_with(experiment, place)
            if wanted is not None and read_labelled(path, ()).attributes.get(wanted[0]) != wanted[1]:
                yield path


def _made_with(experiment: ExperimentSettings, place: Path) -> tuple[str, str] | None:
    """The attribute in which a file says what it was made with, and what that must be; None if nothing needs the file.

    Args:
        experiment: the settings of the experiment.
        place: the file, relative to the experiment's folder.
    """
    file = place.as_posix()
    cubes = {job.file: job for name, job in made_in_the_end().items() if name in _WITH_CONFIG}
    if file in cubes:
        wanted = cubes[file].wanted(experiment)
        return ("config", cubes[file].slice(experiment).canonical_json()) if wanted else None
    for job in map(JOBS.head, JOBS.names()):
        if (name := job.name_of(file)) is not None and job.wanted(experiment):
            try:
                return ("spec", job.slice(experiment, name).canonical_json()) if _is_of(experiment, job, name) else None
            except (ValueError, KeyError):  # no name of ours
                return None
    return None


def _is_of(experiment: ExperimentSettings, job: Job, name: str) -> bool:
    """Whether the job of a name is one of the experiment's, however its work is cut into jobs."""
    for path, values in job.per.narrowed(experiment, name).items():
        section, _, key = path.rpartition(".")
        here = getattr(getattr(experiment, section), key)
        if not set(values) <= set(here):  # type: ignore[call-overload]
            return False
    return True


def earlier_results_told(study: StudySettings, results: Path) -> str:
    """A sentence on `earlier_results`; empty if there are none."""
    found = earlier_results(study, results)
    if not found:
        return ""
    number = "1 result is" if len(found) == 1 else f"{len(found)} results are"
    return (
        f"{number} not of this config but of an earlier one, for example {found[0]}: "
        "`make clean-orphans` lists and removes what no config needs"
    )
