"""What an experiment ends in: which figures and tables its settings give, and the files each is made of."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ntk_atlas.config.figures import FigureName
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.config.study import ExperimentSettings

FIGURES: dict[FigureName, tuple[str, ...]] = {
    "learning_curves": ("cube", "scaling_laws"),
    "classification_curves": ("cube", "scaling_laws"),
    "scaling_exponents": ("cube", "scaling_laws"),
    "exponent_forest": ("scaling_laws",),
    "pretrained_kernels": ("cube", "scaling_laws"),
    "kernel_evolution": ("cube",),
    "width_dependence": ("cube", "scaling_laws"),
    "error_map": ("cube",),
    "layer_errors": ("cube",),
    "gap_waterfall": ("cube", "functions"),
    "width_limit": ("cube", "functions"),
    "nngp_against_ntk": ("cube",),
    "function_fits": ("functions",),
    "phase_diagram": ("cube",),
    "dispersion": ("dispersion",),
    "kernel_drift": ("cube",),
    "kernel_movement": ("cube",),
    "kernel_alignment": ("cube",),
    "kernel_spectra": ("cube",),
    "kernel_heat_maps": ("cube",),
    "class_blocks": ("cube",),
    "trainability": ("cube",),
    "output_variance": ("output_variance",),
}
"""Figures by name, and the files of the experiment that each is drawn from, as far as the experiment makes them."""
_MIN_SIZES = 3
_MIN_WIDTHS = 3
"""The law of the distance in the width has three constants."""
_SCALING = ("scaling_laws", "exponent_differences")


def has_scaling_laws(experiment: ExperimentSettings) -> bool:
    """Whether there are enough training sizes in the fit range for a law."""
    return sum(n >= experiment.scaling.n_train_min for n in experiment.grid.n_train) >= _MIN_SIZES


def figures_of(experiment: ExperimentSettings, *, has_classes: bool, one_feature: bool = False) -> tuple[str, ...]:
    """Names of the figures of an experiment, in the order of `FIGURES`.

    Args:
        experiment: its settings.
        has_classes: whether its data have classes.
        one_feature: whether its inputs are single numbers, so that functions of them can be drawn.

    Returns:
        Those asked for (`show`) whose files there are; by default those that show more than a single point.
    """
    left_out = set(_without_files(experiment, has_classes)) | set(_without_predictors(experiment))
    if not experiment.regression.keep_predictions:
        left_out.add("width_limit")
    if not (one_feature and experiment.regression.keep_predictions):
        left_out.add("function_fits")
    if experiment.show is None:
        left_out |= set(_of_single_points(experiment))
    chosen = FIGURES if experiment.show is None else experiment.show
    return tuple(name for name in FIGURES if name in chosen and name not in left_out)


def _without_files(experiment: ExperimentSettings, has_classes: bool) -> Iterator[FigureName]:
    if not has_scaling_laws(experiment):
        yield from (name for name, files in FIGURES.items() if "scaling_laws" in files)
    if experiment.network.factory is not None:
        yield from ("phase_diagram", "trainability")
    if not has_classes:
        yield from ("class_blocks", "classification_curves")
    if experiment.dispersion is None:
        yield "dispersion"
    if experiment.output_variance is None:
        yield "output_variance"


def _without_predictors(experiment: ExperimentSettings) -> Iterator[FigureName]:
    predictors = experiment.regression.predictors
    if not predictors:
        yield from ("error_map", "layer_errors")
    if not any(name.startswith(PRETRAINED) for name in predictors):
        yield "pretrained_kernels"
    if EPOCHS not in predictors:
        yield "kernel_evolution"
    if not {"ntk_init", "infinite_ntk"} <= set(predictors):
        yield "gap_waterfall"
    if "infinite_ntk" not in predictors or len(experiment.grid.width) < _MIN_WIDTHS:
        yield "width_limit"
    if not {"nngp", "infinite_ntk"} <= set(predictors):
        yield "nngp_against_ntk"


def _of_single_points(experiment: ExperimentSettings) -> Iterator[FigureName]:
    grid = experiment.grid
    if len(grid.depth) < 2 or len(grid.init_scale) < 2:
        yield "trainability"
    if len(grid.depth) < 2 and len(grid.width) < 2:
        yield "kernel_movement"
    if len(grid.width) < 2:
        yield from ("width_dependence", "exponent_forest")
    if len(grid.depth) < 2:
        yield "layer_errors"


def tables_of(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of its tables (CSV)."""
    return ("summary", *(_SCALING if has_scaling_laws(experiment) else ()))


def cubes_of(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of its NetCDF files, the cube first."""
    return (
        "cube",
        *(("scaling_laws",) if has_scaling_laws(experiment) else ()),
        *(("functions",) if experiment.regression.keep_predictions else ()),
        *(("dispersion",) if experiment.dispersion is not None else ()),
        *(("output_variance",) if experiment.output_variance is not None else ()),
        *(("kernel_variants",) if experiment.kernel_variants is not None else ()),
    )


def cube_spec(experiment: ExperimentSettings) -> ExperimentSettings:
    """Spec of `assemble_cube`: the settings without what other files are made of."""
    return experiment.model_copy(
        update={"show": None, "dispersion": None, "output_variance": None, "kernel_variants": None}
    )


def study_folder(files: Sequence[Path]) -> str:
    """Where the tables over all experiments of a study lie: studies share a folder of results, and each has its own.

    Args:
        files: the config files of the call, later ones over earlier ones; none is the default config.

    Returns:
        `results/studies/<name>`, the name of the last file, of which letters of other kinds become `-`.
    """
    name = Path(files[-1]).stem if files else "config"
    return f"results/studies/{re.sub('[^A-Za-z0-9_-]+', '-', name)}"
