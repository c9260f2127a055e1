"""Points, whiskers and curves along training or widths: seeds are averaged first, an interval is over draws.

A curve along training shows a measure of the probe kernel: colour is the init scale, dash the width, a column the
depth. A coordinate check shows whether layers keep their size, and what they learn, as networks get wider.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.look import (
    FAINT,
    MARKERS,
    finish,
    label_outer_axes,
    log_ticks,
    log_y_axis,
    number_label,
    outside_legend,
    panel_grid,
    sequential_colors,
    themed,
)
from ntk_atlas.statistics.intervals import finite_mean, t_interval

if TYPE_CHECKING:
    from ntk_atlas.training.coordinate_check import CoordinateCheck


def draw_interval(
    values: xr.DataArray, *, logarithmic: bool, confidence: float = 0.95
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Mean over networks with its t interval over draws.

    A draw has its own data and networks, so it brings one number: the mean of its seeds. Where an axis is
    logarithmic, both the mean and the interval are of the logarithms, m = exp(mean log v); that is the mean which
    a power law fitted to log errors goes through.

    Args:
        values: any dimensions, among them `draw` and perhaps `seed`.
        logarithmic: geometric instead of arithmetic means; values that are not above zero are left out.
        confidence: coverage that the interval promises.

    Returns:
        Mean, low and high end without `draw` and `seed`; values that are not finite are left out, low and high are
        NaN where fewer than two draws are left.
    """
    array = values.astype(np.float64)
    usable = np.isfinite(array) & ((array > 0.0) | (not logarithmic))
    array = array.where(usable)
    if logarithmic:
        array = np.log(array)
    kept = [dim for dim in array.dims if dim not in {"draw", "seed"}]
    array = array.transpose(*kept, "draw", *(["seed"] if "seed" in array.dims else []))
    by_draw = finite_mean(array.values) if "seed" in array.dims else array.values
    interval = t_interval(by_draw, confidence)
    template = array.isel({dim: 0 for dim in array.dims if dim not in kept}, drop=True)
    ends = (interval.value, interval.low, interval.high)
    mean, low, high = (template.copy(data=np.exp(end) if logarithmic else end) for end in ends)
    return mean, low, high


def replicate_interval(
    values: xr.DataArray, *, logarithmic: bool, confidence: float = 0.95
) -> tuple[tuple[xr.DataArray, xr.DataArray, xr.DataArray], str]:
    """Like `draw_interval`, over the seeds if there is one draw only.

    Args:
        values: see `draw_interval`.
        logarithmic: see `draw_interval`.
        confidence: see `draw_interval`.

    Returns:
        Mean, low and high end; and what they are over, `draws` or `seeds`. An interval over seeds is about networks on
        the one data set of that draw.
    """
    over_seeds = values.sizes["draw"] == 1 and values.sizes.get("seed", 1) > 1
    if over_seeds:
        values = values.isel(draw=0, drop=True).rename(seed="draw")
    return draw_interval(values, logarithmic=logarithmic, confidence=confidence), "seeds" if over_seeds else "draws"


def zeros_note(values: xr.DataArray) -> str:
    """Says how many values are zero to the last bit, which a geometric mean leaves out; empty if none is."""
    finite, zeros = int(np.isfinite(values).sum()), int((values == 0.0).sum())
    return f"{zeros:,} of {finite:,} values are exactly 0, and are left out." if zeros else ""


def interval_words(value: float, low: float, high: float) -> str:
    """A mean and its interval, `1.20 [0.90, 1.60]`; the mean alone where one draw gives no interval."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else f"{value:.2f}"


def at_last_checkpoint(values: xr.DataArray) -> xr.DataArray:
    """Returns the last finite value along `epoch` of each network: units may differ in their last checkpoint."""
    there = np.isfinite(values)
    last = there.cumsum("epoch").argmax("epoch")
    return values.isel(epoch=last).drop_vars("epoch", errors="ignore")


def ranges_at_widths(values: xr.DataArray, widths: Sequence[int] | np.ndarray, how: str, unit: str) -> list[str]:
    """The range of finite values at each width, `0.27 to 1.4 of its norm at width 16`; widths without any have none."""
    said = []
    for width in widths:
        there = values.sel(width=width).values
        there = there[np.isfinite(there)]
        if there.size:
            low, high = how.format(there.min()), how.format(there.max())
            said.append(f"{low if low == high else f'{low} to {high}'} {unit} at width {width}")
    return said


def networks_left_out(values: xr.DataArray) -> xr.DataArray:
    """Returns how many networks (or solves) of each cell have no finite value."""
    dims = [dim for dim in ("draw", "seed") if dim in values.dims]
    return (~np.isfinite(values)).sum(dims)


def draw_curve(
    ax: Axes, interval: Sequence[xr.DataArray], *, color: str, marker: str, dash: object, gid: str, **look: object
) -> None:
    """Draws a mean over epochs with its band; what is not finite is left out."""
    mean, low, high = (part.values for part in interval)
    epoch = interval[0]["epoch"].values
    there = np.isfinite(mean)
    ax.plot(
        epoch[there], mean[there], color=color, marker=marker, linestyle=dash, gid=gid,
        **{"markeredgecolor": "white", "markeredgewidth": 0.5} | look,
    )  # fmt: skip
    there = np.isfinite(low) & np.isfinite(high)
    if there.any():
        ax.fill_between(epoch[there], low[there], high[there], color=color, alpha=0.13, linewidth=0)


def set_epoch_scale(axes: np.ndarray, epochs: np.ndarray, *, logarithmic: bool) -> None:
    """Makes the shared epoch axis logarithmic; unless epoch 0 is left out, it stands at the left on a linear part."""
    ax = axes[0, 0]
    later = epochs[epochs > 0]
    first, last = (later[0], later[-1]) if len(later) else (1, 1)
    decades = 10.0 ** np.arange(np.ceil(np.log10(first)), np.floor(np.log10(last)) + 1)
    if logarithmic:
        ax.set_xscale("log")
        ax.set_xlim(first / 1.3, last * 1.3)
        log_ticks(ax.xaxis, ax.get_xlim())
    else:
        ax.set_xscale("symlog", linthresh=first, linscale=0.5)
        ax.set_xlim(-0.2 * first, last * 1.3)
        ticks = np.unique([0.0, *(decades if len(decades) > 1 else (first, last))])
        ax.set_xticks(ticks, [number_label(tick) for tick in ticks])
        ax.set_xticks([], minor=True)


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
