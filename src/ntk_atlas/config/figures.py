"""Settings of the figures; they change what is drawn, never what is computed."""

from typing import Annotated, Literal

from pydantic import Field

from ntk_atlas.config.base import Settings

FigureName = Literal[
    "learning_curves",
    "classification_curves",
    "scaling_exponents",
    "exponent_forest",
    "pretrained_kernels",
    "kernel_evolution",
    "width_dependence",
    "error_map",
    "layer_errors",
    "gap_waterfall",
    "width_limit",
    "nngp_against_ntk",
    "function_fits",
    "phase_diagram",
    "dispersion",
    "kernel_drift",
    "kernel_movement",
    "kernel_alignment",
    "kernel_spectra",
    "kernel_heat_maps",
    "class_blocks",
    "trainability",
    "output_variance",
]
"""A figure `x` is drawn by `plotting/x.py`."""


class FigureSettings(Settings):
    """How figures look."""

    palette: Literal["colorblind", "deep", "viridis", "cividis"] = "colorblind"
    """Seaborn palette of the predictors."""
    dpi: Annotated[int, Field(ge=50, le=600)] = 150
    """Resolution of the PNG twins of the SVG figures."""
    context: Literal["paper", "notebook", "talk"] = "notebook"
    """Seaborn context: the size of letters and lines."""
