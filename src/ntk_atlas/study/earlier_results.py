"""Results of an earlier config beside those of this one: whoever opens the folder takes them for this one's."""

from pathlib import Path

from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.inspect import inspect_dataset
from ntk_atlas.study.outputs import cubes_of, figures_of, tables_of

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
        *(f"figures/{figure}.{kind}" for figure in (*shown, *judged) for kind in ("svg", "png")),
    )


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
