"""Regression with the kernel at epoch t, beside the network's own errors and the kernel's movement."""

from ntk_atlas.config.predictors import EPOCHS
from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Test error of kernel regression with the empirical NTK of every checkpoint against the epoch, beside the "
        "network at the same epoch, and how far the kernel has moved. Where the kernel's curve falls, training "
        "improves the kernel itself."
    ),
    possible=lambda shown: shown.has(EPOCHS),
)

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import predictor_values, scaling_settings
from ntk_atlas.figures.parts.curves import draw_curve, draw_interval, set_epoch_scale
from ntk_atlas.figures.parts.look import (
    EPOCH_LABEL,
    FAINT,
    INK,
    PredictorStyle,
    finish,
    log_ticks,
    outside_legend,
    panel_grid,
    predictor_styles,
    probe_note,
    scale_label,
    themed,
)

MOVEMENT = {
    "kernel_drift": (r"drift $\Vert\Theta_t-\Theta_0\Vert\,/\,\Vert\Theta_0\Vert$", True),
    "kernel_velocity": ("velocity (1/epoch)", True),
    "kernel_alignment": ("alignment with targets", False),
}
"""What is drawn of the kernel itself: label, and whether on a log axis."""


def plot_kernel_evolution(
    cube: xr.Dataset, style: FigureSettings, *, ridge: str = "tuned", confidence: float = 0.95
) -> Figure:
    """Errors and movement along training, at the largest n whose checkpoints are all regressed with.

    Left: test MSE of regression with Θ_t around zero, test and training MSE of the network at the same epoch, on log
    axes: a kernel that "stabilizes after a few epochs" has a flat line after them. Right: what the kernel on probe
    samples does meanwhile. Lines are means over draws (geometric on log axes), bands t intervals over draws. One cell
    of the grid is shown: the first depth and init scale, the largest width.

    Args:
        cube: a cube with `test_mse_ntk_epochs`.
        style: look.
        ridge: `tuned` or `zero`.
        confidence: coverage of the bands.

    Returns:
        The figure.
    """
    along = predictor_values(cube, EPOCHS, ridge=ridge)
    n = max(n for n in cube["n_train"].values if bool(np.isfinite(along.sel(n_train=n)).any()))
    place = {"depth": 0, "width": cube.sizes["width"] - 1, "init_scale": 0}
    here = cube.isel(place).sel(n_train=n)
    here = here.isel(epoch=np.flatnonzero(np.isfinite(here["train_mse"]).any(["draw", "seed"])))
    errors = {
        "network, test": here["test_mse"],
        "network, training": here["train_mse"],
        "kernel": predictor_values(here, EPOCHS, ridge=ridge),
    }
    looks = _looks(style)
    with themed(style):
        figure, axes = panel_grid(2, 2, panel=(5.2, 2.9), sharey=False)
        for name, values in errors.items():
            _draw(axes[0, 0], values, looks[name], name, logarithmic=True, confidence=confidence)
        axes[0, 0].set_ylabel("MSE (target²)")
        axes[0, 0].set_title("errors")
        panels = (axes[0, 1], axes[1, 0], axes[1, 1])
        for ax, (name, (label, logarithmic)) in zip(panels, MOVEMENT.items(), strict=True):
            _draw(ax, here[name], looks["kernel"], name, logarithmic=logarithmic, confidence=confidence)
            ax.set_title(label)
            ax.set_ylabel("(pure number)" if "(" not in label else label)
        set_epoch_scale(axes, here["epoch"].values, logarithmic=True)
        for ax in axes[-1]:
            ax.set_xlabel(EPOCH_LABEL)
        outside_legend(figure, [_handle(looks[name], label) for name, label in _LABELS.items()])
        depth, width = cube["depth"].values[place["depth"]], cube["width"].values[place["width"]]
        return finish(
            figure,
            f"Regression with the kernel at epoch t, n = {n}",
            f"Depth {depth}, width {width}, {scale_label(cube, cube['init_scale'].values[0])}. Kernels around zero, "
            f"{ridge} ridge. Lines: mean over draws; bands: {confidence:.0%} t intervals over draws of this data set.",
            probe_note(cube),
        )


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the ridge and the confidence that the experiment's laws are about."""
    scaling = scaling_settings(cube)
    return plot_kernel_evolution(cube, style, ridge=scaling.ridge, confidence=scaling.confidence)


_LABELS = {
    "kernel": "regression with the kernel at epoch t",
    "network, test": "network, test",
    "network, training": "network, training",
}


def _looks(style: FigureSettings) -> dict[str, PredictorStyle]:
    known = predictor_styles(["network", EPOCHS], style)
    return {
        "network, test": known["network"],
        "network, training": PredictorStyle(FAINT, "x", (0, (1.2, 1.4)), 1.3),
        "kernel": known[EPOCHS],
    }


def _draw(
    ax: Axes, values: xr.DataArray, look: PredictorStyle, gid: str, *, logarithmic: bool, confidence: float
) -> None:
    values = values.sel(epoch=values["epoch"].values > 0)
    interval: Sequence[xr.DataArray] = draw_interval(values, logarithmic=logarithmic, confidence=confidence)
    draw_curve(ax, interval, color=look.color, marker=look.marker, dash=look.dash, gid=gid, linewidth=look.line_width)
    if logarithmic and np.isfinite(interval[0]).any():
        ax.set_yscale("log")
        log_ticks(ax.yaxis, ax.get_ylim())


def _handle(look: PredictorStyle, label: str) -> Line2D:
    return Line2D(
        [], [], color=look.color or INK, marker=look.marker, linestyle=look.dash, linewidth=look.line_width, label=label
    )
