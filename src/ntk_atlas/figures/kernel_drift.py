"""How far the empirical NTK moves from where it started."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "How far the empirical NTK moves in training: relative drift ‖Θ_t − Θ_0‖ / ‖Θ_0‖ on the probe samples against "
        "the epoch, at the largest n_train. NTK theory holds where it stays near zero. Bands are t intervals over "
        "draws, or over seeds where there is one draw."
    ),
)

import xarray as xr
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import scaling_settings
from ntk_atlas.figures.parts.curves import Measure, plot_epoch_curves

DRIFT = Measure(
    variable="kernel_drift",
    title="Relative drift of the empirical NTK",
    label=r"$\Vert\Theta_t - \Theta_0\Vert_F\ /\ \Vert\Theta_0\Vert_F$" + "\n(pure number)",
    logarithmic=True,
)


def plot_kernel_drift(cube: xr.Dataset, style: FigureSettings, *, confidence: float = 0.95) -> Figure:
    """Relative drift ‖Θ_t − Θ_0‖_F / ‖Θ_0‖_F of the probe kernel against the epoch, from the first one on.

    Columns are depths, colours init scales, dashes widths; n_train is the largest. Both axes are logarithmic: in
    the kernel regime the drift falls as a power of the width, which shows as a constant gap between dashes.

    Args:
        cube: a cube.
        style: look.
        confidence: coverage of the bands.

    Returns:
        The figure.
    """
    return plot_epoch_curves(cube, DRIFT, style, confidence=confidence)


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the confidence that the experiment asks for."""
    return plot_kernel_drift(cube, style, confidence=scaling_settings(cube).confidence)
