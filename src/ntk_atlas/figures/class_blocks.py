"""Whether the kernel's blocks of one class stand out more as training goes on."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Mean entries of the kernel between samples of one class and of different classes, over the mean diagonal, "
        "along training. Blocks form where the two part."
    ),
    possible=lambda shown: shown.has_classes,
)

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.arrays import Status
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import scaling_settings
from ntk_atlas.figures.parts.curves import at_last_checkpoint, draw_curve, replicate_interval, set_epoch_scale
from ntk_atlas.figures.parts.look import (
    EPOCH_LABEL,
    INK,
    LONGER,
    MARKERS,
    decimals,
    finish,
    hold_to_lines,
    label_outer_axes,
    letter_scale,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    probe_note,
    readable_subset,
    scale_label,
    scale_names,
    select,
    sequential_colors,
    themed,
)

RATIOS = {
    "within_class_ratio": ("within classes", "-", True),
    "between_class_ratio": ("between classes", (0, (4, 1.6)), False),
}
"""Variable: its label, dash, and whether its markers are filled."""


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """Mean kernel entry within and between classes over the mean diagonal, against the epoch.

    A column is a depth, a row a width, a colour an init scale; n_train is the largest. Solid lines are entries between
    samples of one class (with the diagonal), dashed lines of different classes (Seleznova & Kutyniok 2022, figure 4).

    Args:
        cube: a cube.
        style: the look.

    Returns:
        The figure.

    Raises:
        ValueError: on regression data, which have no classes.
    """
    if "probe_class" in cube and (cube["probe_class"] < 0).all():
        raise ValueError(
            "class_blocks is drawn for classification data, and the samples of this cube have no classes (a regression "
            "task): take class_blocks out of `show`; kernel_heat_maps orders them by target"
        )
    selection = readable_subset(cube.isel(n_train=-1), {"depth": 3, "width": 2, "init_scale": 4})
    shown = selection.cube
    confidence = scaling_settings(cube).confidence
    intervals = {}
    for name in RATIOS:
        intervals[name], over = replicate_interval(shown[name], logarithmic=False, confidence=confidence)
    colors = sequential_colors(shown.sizes["init_scale"], style)
    with themed(style):
        figure, axes = panel_grid(shown.sizes["width"], shown.sizes["depth"], panel=(4.4, 3.4 * letter_scale()))
        for i, width in enumerate(shown["width"].values):
            for j, depth in enumerate(shown["depth"].values):
                axes[i, j].set_title(f"depth {depth}, width {width}")
                for k, init_scale in enumerate(shown["init_scale"].values):
                    place = {"width": width, "depth": depth, "init_scale": init_scale}
                    for name, (_, dash, filled) in RATIOS.items():
                        draw_curve(
                            axes[i, j], [select(part, place) for part in intervals[name]], color=colors[k],
                            marker=MARKERS[k], dash=dash, gid=f"{name} {init_scale:g}",
                            markeredgecolor=colors[k], markerfacecolor=colors[k] if filled else "white",
                        )  # fmt: skip
        set_epoch_scale(axes, shown["epoch"].values, logarithmic=False)
        cut = hold_to_lines(axes)
        mark_empty_panels(axes)
        label_outer_axes(axes, x=EPOCH_LABEL, y="mean entry / mean diagonal\n(pure number)")
        outside_legend(figure, *_handles(shown, colors))
        return finish(
            figure,
            _finding(shown),
            f"n = {shown['n_train'].item()}. Lines: mean over networks; bands: "
            f"{confidence:.0%} t interval over {over}. A network that diverged is in them until then.",
            probe_note(cube),
            LONGER if cut else "",
            selection.note,
        )


def contrast(cube: xr.Dataset) -> xr.DataArray:
    """Returns the mean entry within classes less that between them, over the mean diagonal."""
    return cube["within_class_ratio"] - cube["between_class_ratio"]


def _finding(shown: xr.Dataset) -> str:
    """Contrast of the blocks before and after training, at the greatest depth and the smallest width shown."""
    place = {"depth": shown["depth"].values[-1], "width": shown["width"].values[0]}
    difference = select(contrast(shown), place)
    ends = [difference.isel(epoch=0), at_last_checkpoint(difference)]
    survived = select(shown["status"], place) != int(Status.DIVERGED)
    first, last = (end.where(survived).mean(("draw", "seed")).values for end in ends)
    parts = [
        f"{name}: {decimals(a)} → {decimals(b)}" if np.isfinite(b) else f"{name}: –"
        for name, a, b in zip(scale_names(shown), first, last, strict=True)
    ]
    return f"Within − between classes over training, depth {place['depth']}, width {place['width']}: {', '.join(parts)}"


def _handles(shown: xr.Dataset, colors: list[str]) -> tuple[list[Line2D], list[Line2D]]:
    scales = [
        Line2D([], [], color=color, marker=marker, label=scale_label(shown, init_scale))
        for init_scale, color, marker in zip(shown["init_scale"].values, colors, MARKERS, strict=False)
    ]
    ratios = [
        Line2D([], [], color=INK, linestyle=dash, marker="o", markerfacecolor=INK if filled else "white", label=label)
        for label, dash, filled in RATIOS.values()
    ]
    return scales, ratios
