"""Whether the empirical NTK turns towards the targets in training."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Alignment of the empirical NTK with the targets of the probe samples against the epoch, relative to its value "
        "at initialization, at the largest n_train. A kernel that learns turns towards the targets: the curve rises "
        "above 1. Bands are t intervals over draws, or over seeds where there is one draw."
    ),
)

import xarray as xr
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import scaling_settings
from ntk_atlas.figures.parts.curves import Measure, plot_epoch_curves

ALIGNMENT = Measure(
    variable="kernel_alignment",
    title="Kernel-target alignment over its initial value",
    label="alignment / initial alignment\n(pure number)",
    logarithmic=False,
    note=r"Alignment: $\Sigma_c\,y_c^\top\Theta_ty_c\,/\,(\Vert{}y\Vert^2\,\mathrm{tr}\,\Theta_t)$.",
)


def plot_kernel_alignment(cube: xr.Dataset, style: FigureSettings, *, confidence: float = 0.95) -> Figure:
    """Alignment Σ_c y_cᵀΘ_t y_c / (‖y‖² Tr Θ_t) of the probe kernel over that at epoch 0, against the epoch.

    The ratio is taken network by network: alignments of different draws differ by their probe samples, which says
    nothing about training. Columns are depths, colours init scales, dashes widths; n_train is the largest. A
    kernel that does not learn stays at 1; feature learning raises it.

    Args:
        cube: a cube.
        style: look.
        confidence: coverage of the bands.

    Returns:
        The figure.
    """
    alignment = cube["kernel_alignment"]
    relative = cube.assign(kernel_alignment=alignment / alignment.sel(epoch=0, drop=True))
    return plot_epoch_curves(relative, ALIGNMENT, style, confidence=confidence)


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the confidence that the experiment asks for."""
    return plot_kernel_alignment(cube, style, confidence=scaling_settings(cube).confidence)
