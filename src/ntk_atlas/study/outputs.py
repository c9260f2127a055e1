"""What an experiment ends in: which figures and tables its settings give, and the files each is made of."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ntk_atlas.config.figures import FIGURES, FigureError, Shown
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.jobs.parts.results import has_scaling_laws, made_in_the_end
from ntk_atlas.registry import is_own

_SCALING = ("scaling_laws", "exponent_differences")


def figures_of(experiment: ExperimentSettings, *, has_classes: bool, one_feature: bool = False) -> tuple[str, ...]:
    """Names of the figures of an experiment, as `show` has them, built-in ones first.

    Args:
        experiment: its settings.
        has_classes: whether its data have classes.
        one_feature: whether its inputs are single numbers, so that functions of them can be drawn.

    Returns:
        Those asked for (`show`) whose files there are; by default those that show more than a single point.
    """
    shown, made, found = Shown(experiment, has_classes, one_feature), cubes_of(experiment), []
    for name in FIGURES.names() if experiment.show is None else sorted(set(experiment.show), key=_own_last):
        figure = FIGURES.head(name)
        wanted = experiment.show is not None or figure.by_default(shown)
        if wanted and set(figure.files) <= set(made) and figure.possible(shown):
            found.append(name)
    return tuple(found)


def _own_last(name: str) -> tuple[bool, str]:
    return is_own(name), name


def file_name(figure: str) -> str:
    """The name of a figure's files: its own, or `x` for `my_figure.py:x`."""
    return figure.rpartition(":")[2]


def figure_problems(experiment: ExperimentSettings) -> Iterator[str]:
    """What is wrong with the figures of the user's that an experiment shows; nothing below their heads is run."""
    taken = {*FIGURES.names(), "claims"}
    for name in dict.fromkeys(experiment.show or ()):
        if not is_own(name):
            continue
        if file_name(name) in taken:
            yield f"{name}: there is another figure {file_name(name)!r} already: take another name"
        taken.add(file_name(name))
        try:
            FIGURES.head(name)
        except FigureError as error:
            yield str(error)


def tables_of(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of its tables (CSV)."""
    return ("summary", *(_SCALING if has_scaling_laws(experiment) else ()))


def cubes_of(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of its NetCDF files, the cube first."""
    return tuple(job.folder for job in made_in_the_end().values() if job.wanted(experiment))


def study_folder(files: Sequence[Path]) -> str:
    """Where the tables over all experiments of a study lie: studies share a folder of results, and each has its own.

    Args:
        files: the config files of the call, later ones over earlier ones; none is the default config.

    Returns:
        `results/studies/<name>`, the name of the last file, of which letters of other kinds become `-`.
    """
    name = Path(files[-1]).stem if files else "config"
    return f"results/studies/{re.sub('[^A-Za-z0-9_-]+', '-', name)}"
