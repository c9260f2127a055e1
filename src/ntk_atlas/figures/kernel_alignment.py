"""Whether the empirical NTK turns towards the targets in training."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Alignment of the empirical NTK with the targets of the probe samples against the epoch, relative to its value "
        "at initialization, at the smallest and the largest width and the largest n_train. A kernel that learns turns "
        "towards the targets: the curve rises above 1. Whiskers are t intervals over draws, or over seeds where there "
        "is one draw. Which samples the probe has stands under the title."
    ),
)

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import scaling_settings
from ntk_atlas.figures.parts.curves import (
    at_last_checkpoint,
    draw_interval,
    ranges_at_widths,
    replicate_interval,
    set_epoch_scale,
)
from ntk_atlas.figures.parts.look import (
    EPOCH_LABEL,
    FAINT,
    LONGER,
    cell_panels,
    finish,
    hold_to_lines,
    label_outer_axes,
    log_y_axis,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    probe_note,
    readable_subset,
    select,
    sequential_colors,
    themed,
)

LABEL = "alignment / initial alignment\n(pure number)"
LOOKS = (("o", "-"), ("s", (0, (5, 1.6))))
"""Marker and dash of the smallest and the largest width."""


def plot_kernel_alignment(cube: xr.Dataset, style: FigureSettings, *, confidence: float = 0.95) -> Figure:
    """Alignment Σ_c y_cᵀΘ_t y_c / (‖y‖² Tr Θ_t) of the probe kernel over that at epoch 0, against the epoch.

    The ratio is taken network by network: alignments of different draws differ by their probe samples, which says
    nothing about training. Panels are depth × init_scale, lines the smallest and the largest width; n_train is the
    largest. A kernel that does not learn stays at 1; feature learning raises it.

    Args:
        cube: a cube.
        style: look.
        confidence: coverage of the whiskers.

    Returns:
        The figure; its title has the largest ratio at the end of training, of each of the two widths.
    """
    alignment = cube["kernel_alignment"].isel(n_train=-1)
    relative = cube.isel(n_train=-1).assign(kernel_alignment=alignment / alignment.sel(epoch=0, drop=True))
    selection = readable_subset(relative, {"depth": 3, "init_scale": 3})
    shown = selection.cube
    widths = np.unique(shown["width"].values[[0, -1]])
    interval, over = replicate_interval(shown["kernel_alignment"], logarithmic=True, confidence=confidence)
    colors = sequential_colors(2, style)
    with themed(style):
        figure, axes = panel_grid(shown.sizes["depth"], shown.sizes["init_scale"], panel=(4.4, 2.9))
        axes[0, 0].set_yscale("log")
        for ax, place in cell_panels(shown, axes):
            ax.axhline(1.0, color=FAINT, linewidth=1.1, zorder=1)
            for width, color, (marker, dash) in zip(widths, colors, LOOKS, strict=False):
                curve = [select(end, place | {"width": width}) for end in interval]
                _draw_line(ax, curve, color=color, marker=marker, dash=dash, gid=f"width {width}")
        set_epoch_scale(axes, shown["epoch"].values, logarithmic=False)
        cut = hold_to_lines(axes)
        log_y_axis(axes)
        mark_empty_panels(axes)
        label_outer_axes(axes, x=EPOCH_LABEL, y=LABEL)
        handles = [
            Line2D([], [], color=color, marker=marker, linestyle=dash, label=f"width {width}")
            for width, color, (marker, dash) in zip(widths, colors, LOOKS, strict=False)
        ]
        outside_legend(figure, handles)
        return finish(
            figure,
            _finding(relative, widths),
            f"Lines: geometric mean over {over}; whiskers: {confidence:.0%} t interval over {over}. "
            r"Alignment: $\Sigma_c\,y_c^\top\Theta_ty_c\,/\,(\Vert{}y\Vert^2\,\mathrm{tr}\,\Theta_t)$.",
            probe_note(cube),
            LONGER if cut else "",
            selection.note,
        )


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the confidence that the experiment asks for."""
    return plot_kernel_alignment(cube, style, confidence=scaling_settings(cube).confidence)


def _draw_line(ax: Axes, curve: list[xr.DataArray], *, color: str, marker: str, dash: object, gid: str) -> None:
    mean, low, high = (end.values for end in curve)
    epoch, there = curve[0]["epoch"].values, np.isfinite(mean)
    ax.plot(
        epoch[there], mean[there], color=color, marker=marker, linestyle=dash, gid=gid,
        markeredgecolor="white", markeredgewidth=0.5, zorder=3,
    )  # fmt: skip
    there = np.isfinite(low) & np.isfinite(high)
    ax.vlines(epoch[there], low[there], high[there], color=color, linewidth=1.0, alpha=0.8, zorder=2)


def _finding(relative: xr.Dataset, widths: np.ndarray) -> str:
    """The range over depths and init scales, at the end of training, of each of the widths."""
    at = f"n = {relative['n_train'].item()}"
    last = draw_interval(at_last_checkpoint(relative["kernel_alignment"]), logarithmic=True)[0]
    parts = ranges_at_widths(last, widths, "{:.2f}", "times")
    if not parts:
        return f"No network at {at} has an alignment of its kernel with the targets"
    return f"Training changes the kernel's alignment with the targets {', '.join(parts)} ({at})"
