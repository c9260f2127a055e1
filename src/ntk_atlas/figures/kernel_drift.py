"""How far the empirical NTK moves from where it started."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "How far the empirical NTK moves in training: relative drift ‖Θ_t − Θ_0‖ / ‖Θ_0‖ on the probe samples against "
        "the epoch, at the largest n_train; which samples the probe has stands under the title. At the dashed line the "
        "kernel has moved as far as it was large; NTK theory asks for drifts far below it that shrink with the width. "
        "Bands are t intervals over draws, or over seeds where there is one draw."
    ),
)

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import scaling_settings
from ntk_atlas.figures.parts.curves import (
    at_last_checkpoint,
    draw_curve,
    draw_interval,
    ranges_at_widths,
    replicate_interval,
    set_epoch_scale,
    zeros_note,
)
from ntk_atlas.figures.parts.look import (
    DASHES,
    EPOCH_LABEL,
    FAINT,
    INK,
    MARKERS,
    finish,
    label_outer_axes,
    log_y_axis,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    probe_note,
    readable_subset,
    scale_label,
    select,
    sequential_colors,
    themed,
)

DRIFT_LABEL = r"$\Vert\Theta_t - \Theta_0\Vert_F\ /\ \Vert\Theta_0\Vert_F$" + "\n(pure number)"


def plot_kernel_drift(cube: xr.Dataset, style: FigureSettings, *, confidence: float = 0.95) -> Figure:
    """Relative drift ‖Θ_t − Θ_0‖_F / ‖Θ_0‖_F of the probe kernel against the epoch, from the first one on.

    Columns are depths, colours init scales, dashes widths; n_train is the largest. Both axes are logarithmic: in
    the kernel regime the drift falls as a power of the width, which shows as a constant gap between dashes. Seeds are
    the replicates of the bands where there is one draw only.

    Args:
        cube: a cube.
        style: look.
        confidence: coverage of the bands.

    Returns:
        The figure; its title has the drift at the end of training at the smallest and the largest width.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"depth": 3, "width": 3, "init_scale": 3})
    shown = selection.cube
    values = shown["kernel_drift"].sel(epoch=shown["epoch"].values > 0)
    interval, over = replicate_interval(values, logarithmic=True, confidence=confidence)
    colors = sequential_colors(shown.sizes["init_scale"], style)
    with themed(style):
        figure, axes = panel_grid(1, shown.sizes["depth"], panel=(4.4, 3.9))
        for ax, depth in zip(axes[0], shown["depth"].values, strict=True):
            ax.set_title(f"depth {depth}")
            for j, init_scale in enumerate(shown["init_scale"].values):
                for k, width in enumerate(shown["width"].values):
                    place = {"depth": depth, "init_scale": init_scale, "width": width}
                    curve = [select(part, place) for part in interval]
                    draw_curve(
                        ax, curve, color=colors[j], marker=MARKERS[j], dash=DASHES[k], gid=f"{init_scale} {width}"
                    )
        set_epoch_scale(axes, values["epoch"].values, logarithmic=True)
        log_y_axis(axes)
        mark_empty_panels(axes)
        near = axes[0, 0].get_ylim()[1] > 0.3
        for ax in axes[0] if near else ():
            ax.axhline(1.0, color=FAINT, linestyle=(0, (2, 2)), linewidth=1.1, zorder=1)
        label_outer_axes(axes, x=EPOCH_LABEL, y=DRIFT_LABEL)
        outside_legend(figure, *_handles(shown, colors))
        return finish(
            figure,
            _finding(cube.isel(n_train=-1)),
            f"Lines: geometric mean over {over}; bands: {confidence:.0%} t interval over {over}."
            + (" Dashed: the kernel has moved as far as it was large." if near else ""),
            probe_note(cube),
            zeros_note(values),
            selection.note,
        )


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the confidence that the experiment asks for."""
    return plot_kernel_drift(cube, style, confidence=scaling_settings(cube).confidence)


def _finding(cube: xr.Dataset) -> str:
    """The range over depths and init scales at the end of training, at the smallest and the largest width."""
    last = draw_interval(at_last_checkpoint(cube["kernel_drift"]), logarithmic=True)[0]
    at = f"n = {cube['n_train'].item()}"
    parts = ranges_at_widths(last, np.unique(cube["width"].values[[0, -1]]), "{:.2g}", "of its norm")
    if not parts:
        return f"The kernel of no network at {at} has moved"
    return f"Training moves the kernel by {', by '.join(parts)} ({at})"


def _handles(shown: xr.Dataset, colors: list[str]) -> tuple[list[Line2D], list[Line2D]]:
    scales = [
        Line2D([], [], color=color, marker=marker, linewidth=2.0, label=scale_label(shown, init_scale))
        for init_scale, color, marker in zip(shown["init_scale"].values, colors, MARKERS, strict=False)
    ]
    widths = [
        Line2D([], [], color=INK, linestyle=dash, label=f"width {width}")
        for width, dash in zip(shown["width"].values, DASHES, strict=False)
    ]
    return scales, widths
