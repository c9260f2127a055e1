"""Results of another config beside those of this one: whoever opens the folder takes them for results of this one."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from ntk_atlas.arrays import read_labelled
from ntk_atlas.config.base import Settings
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.study.cells import Row
from ntk_atlas.study.dispersion_inputs import dispersion_assembly_spec
from ntk_atlas.study.jobs import infinite_spec, rival_spec
from ntk_atlas.study.made_with import ROWS
from ntk_atlas.study.output_variance_specs import output_variance_spec, variance_theory_spec
from ntk_atlas.study.outputs import cube_spec, cubes_of, figures_of, file_name, tables_of
from ntk_atlas.study.prepare_spec import prepare_spec

_CONFIGS = {
    "cube": cube_spec,
    "functions": cube_spec,
    "output_variance": output_variance_spec,
    "dispersion": dispersion_assembly_spec,
}
"""Files that carry the settings they were made with as `config`, and which settings these are."""
_OF_ROWS = {"networks": "networks", "linearized": "linearized", "predictions/empirical": "empirical"}
_OF_SCALES = {"predictions/infinite": infinite_spec, "predictions/output_variance": variance_theory_spec}
"""Folders of files that carry the spec of their job as `spec`: their kind in `ROWS`, or what makes that spec; a file
is named by its row, or by `init_scale-…`."""
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
            if wanted is not None and read_labelled(path, ()).attributes.get(wanted[0]) != wanted[1].canonical_json():
                yield path


def _made_with(experiment: ExperimentSettings, place: Path) -> tuple[str, Settings] | None:
    """The attribute in which a file says what it was made with, and what that must be; None if nothing needs the file.

    Args:
        experiment: the settings of the experiment.
        place: the file, relative to the experiment's folder.
    """
    folder, name, grid = place.parent.as_posix(), place.stem, experiment.grid
    if folder == ".":
        if name in set(cubes_of(experiment)) & _CONFIGS.keys():
            return "config", _CONFIGS[name](experiment)
        return ("spec", prepare_spec(experiment)) if name == "dataset" else None
    try:
        if folder in _OF_ROWS:
            row = Row.parse(name)
            here = row.depth in grid.depth and row.width in grid.width and set(row.init_scale) <= set(grid.init_scale)
            return ("spec", ROWS[_OF_ROWS[folder]][1](experiment, row)) if here else None
        if folder in _OF_SCALES:
            scale = float(name.removeprefix("init_scale-"))
            return ("spec", _OF_SCALES[folder](experiment, scale)) if scale in grid.init_scale else None
    except ValueError:  # no name of ours
        return None
    kernels = tuple(name.split("+"))
    if folder == "predictions/rivals" and set(kernels) <= set(experiment.regression.predictors):
        return "spec", rival_spec(experiment, kernels)
    return None


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
