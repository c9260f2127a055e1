"""Coordinate checks: whether layers keep their size, and what they learn, as networks get wider."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.look import (
    FAINT,
    MARKERS,
    finish,
    label_outer_axes,
    log_ticks,
    log_y_axis,
    outside_legend,
    panel_grid,
    sequential_colors,
    themed,
)

if TYPE_CHECKING:
    from ntk_atlas.training.coordinate_check import CoordinateCheck


def plot_coordinate_check(checks: Mapping[str, "CoordinateCheck"], style: FigureSettings) -> Figure:
    """Size of each layer at initialization (top) and of its change in training (bottom) against the width.

    A column per check, a colour per layer, the output last; points are geometric means over networks, and the labels of
    the lines in a panel are their slopes in log-log.

    Args:
        checks: by name, all of one depth.
        style: look.

    Returns:
        The figure.
    """
    n_layers = next(iter(checks.values())).size.shape[2]
    colors = sequential_colors(n_layers, style)
    names = [*(f"hidden layer {layer}" for layer in range(1, n_layers)), "output"]
    with themed(style):
        figure, axes = panel_grid(2, len(checks), panel=(4.2, 3.2), sharey="row")
        handles = []
        for column, (name, check) in zip(axes.T, checks.items(), strict=True):
            column[0].set_title(name)
            for ax, sizes, slopes in zip(column, (check.size, check.change), check.slopes(), strict=True):
                for layer, color in enumerate(colors):
                    means = np.exp(np.log(sizes[:, :, layer]).mean(1))
                    (line,) = ax.loglog(check.width, means, color=color, marker=MARKERS[layer], label=names[layer])
                    ax.annotate(
                        f"{slopes[layer]:+.2f}", (check.width[-1], means[-1]), xytext=(6, 0), va="center",
                        textcoords="offset points", color=color, fontsize="small",
                    )  # fmt: skip
                    handles.append(line)
                ax.set_xlim(check.width[0] / 1.3, check.width[-1] * 2.2)  # room for the slopes
                ax.grid(color=FAINT, linewidth=0.5)
        log_ticks(axes[0, 0].xaxis, (min(check.width[0] for check in checks.values()), axes[0, 0].get_xlim()[1]))
        for row in axes:
            log_y_axis(row[None])
        label_outer_axes(axes, x="width", y="")
        for ax, what in zip(axes[:, 0], ("size at initialization", "size of the change"), strict=True):
            ax.set_ylabel(f"{what}\n(root mean square)")
        outside_legend(figure, handles[:n_layers])
        return finish(
            figure,
            "Coordinate check: layers against the width",
            "Geometric mean over networks; numbers are slopes in log-log. Features have a limit at infinite width if "
            "the changes of all layers are level.",
        )
