"""Heat maps of the test error over depth, width and init scale, one panel a predictor."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "The atlas: test error of every predictor over depth, width and init scale at the largest n_train, on one "
        "colour scale. Hatched cells are missing or diverged. Predictors that do not depend on an axis repeat along "
        "it."
    ),
    possible=lambda shown: bool(shown.predictors),
)

import textwrap
from itertools import groupby

import numpy as np
import seaborn
import xarray as xr
from matplotlib import colormaps, rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import predictor_values, scaling_settings, stand_ins_of
from ntk_atlas.figures.learning_curves import present_predictors
from ntk_atlas.figures.parts.curves import draw_interval, networks_left_out
from ntk_atlas.figures.parts.look import (
    FAINT,
    INK,
    MAX_WIDTH,
    METRIC_LABELS,
    QUIET,
    color_map,
    finish,
    log_ticks,
    outside_legend,
    panel_grid,
    readable_subset,
    theme,
    themed,
)

AXES = ("depth", "width", "init_scale")
MAX_COLUMNS = 4
TITLES = {"mse": "Test MSE", "error": "Share of test samples classified wrongly"}
_NAMES = {"depth": "depth", "width": "width", "init_scale": "init scale"}


def plot_error_map(cube: xr.Dataset, style: FigureSettings, *, metric: str = "mse", ridge: str = "tuned") -> Figure:
    """Test error at the largest n_train; rows are depth × width, columns init scales, all panels share one scale.

    Numbers are geometric means over networks. A predictor that does not depend on an axis has one block, with one
    number, along it.

    Args:
        cube: a cube.
        style: look.
        metric: `mse` or `error`.
        ridge: `tuned` or `zero`.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"depth": 3, "width": 4, "init_scale": 5})
    shown = selection.cube
    fields = {
        name: predictor_values(shown, name, f"test_{metric}", ridge=ridge)
        for name in present_predictors(shown, f"test_{metric}")
    }
    means = {name: draw_interval(values, logarithmic=True)[0] for name, values in fields.items()}
    norm = _shared_norm(list(means.values()))
    n_columns = _column_count(len(fields), style)
    n_rows = -(-len(fields) // n_columns)
    height = 0.3 * shown.sizes["depth"] * shown.sizes["width"] + 1.1
    with themed(style):
        figure, grid = panel_grid(
            n_rows, n_columns, panel=(_title_width(), max(height, 1.9)), sharex=False, sharey=False
        )
        used = grid.ravel()[: len(fields)]
        for ax, name in zip(used, fields, strict=True):
            _draw_map(ax, means[name], networks_left_out(fields[name]), shown, norm, color_map(style))
            ax.set_title(_panel_title(name, fields[name], shown))
        for ax in grid.ravel()[len(fields) :]:
            ax.remove()
        _label_axes(used, n_columns, shown)
        bar = figure.colorbar(used[0].collections[0], ax=list(used), shrink=0.9, aspect=40, fraction=0.03, pad=0.015)
        bar.set_label(METRIC_LABELS[metric])
        bar.outline.set_visible(False)
        log_ticks(bar.ax.yaxis, (norm.vmin, norm.vmax))
        outside_legend(figure, _handles(means, fields))
        title = f"{TITLES[metric]} at n = {shown['n_train'].item()}"
        note = f"Geometric mean over draws and seeds; kernels with {ridge} ridge."
        if any("(any " in ax.get_title(loc="left") for ax in used):
            note += " “Any”: the predictor does not depend on it."
        return finish(figure, title, note, selection.note)


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the metric and the ridge that the experiment's laws are about."""
    scaling = scaling_settings(cube)
    return plot_error_map(cube, style, metric=scaling.metric, ridge=scaling.ridge)


def error_table(values: xr.DataArray, shown: xr.Dataset) -> np.ndarray:
    """Returns values over depth × width and init_scale, `(n_depths · n_widths, n_init_scales)`, repeated as needed."""
    full = values.broadcast_like(xr.Dataset(coords={dim: shown[dim] for dim in AXES})).transpose(*AXES)
    return full.values.reshape(-1, shown.sizes["init_scale"])


def _column_count(n_panels: int, style: FigureSettings) -> int:
    """As many columns as titles fit beside each other, in rows as full as can be."""
    fitting = int(72.0 * MAX_WIDTH / (19 * theme(style)["font.size"]))
    most = min(max(fitting, 1), MAX_COLUMNS, max(n_panels, 1))
    return -(-n_panels // -(-n_panels // most)) if n_panels else 1


def _title_width() -> float:
    """Inches that a panel needs for the longest title."""
    return max(3.6, 28 * 0.55 * rcParams["axes.titlesize"] / 72.0 + 0.7)


def _shared_norm(means: list[xr.DataArray]) -> LogNorm:
    values = np.concatenate([mean.values.ravel() for mean in means])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
    return LogNorm(low, high) if high > low else LogNorm(low / 1.1, high * 1.1)


def _draw_map(
    ax: Axes, mean: xr.DataArray, left_out: xr.DataArray, shown: xr.Dataset, norm: LogNorm, cmap: str
) -> None:
    table, lost = error_table(mean, shown), error_table(left_out, shown)
    ax.grid(False)
    ax.patch.set(facecolor="#f4f4f4", hatch="////", edgecolor=FAINT)
    seaborn.heatmap(
        table, mask=~np.isfinite(table), norm=norm, vmin=norm.vmin, vmax=norm.vmax, cmap=cmap, cbar=False,
        ax=ax, xticklabels=False, yticklabels=False,
    )  # fmt: skip
    ax.collections[0].set(edgecolor="face", linewidth=0.7)  # else vector viewers show seams within a block
    for row, column, n_rows, n_columns in _blocks(mean, shown):
        edge = Rectangle((column, row), n_columns, n_rows, fill=False, edgecolor="white", linewidth=1.2, clip_on=False)
        ax.add_patch(edge)
        value = table[row, column]
        if not np.isfinite(value):
            continue
        ink = contrasting_ink(colormaps[cmap](norm(value)))
        middle = (column + n_columns / 2, row + n_rows / 2)
        ax.text(
            *middle,
            short_number(value),
            color=ink,
            ha="center",
            va="center",
            fontsize=rcParams["xtick.labelsize"] * 0.88,
        )
        if lost[row, column]:
            corner = [(column + n_columns, row), (column + n_columns - 0.16, row), (column + n_columns, row + 0.34)]
            ax.fill(*zip(*corner, strict=True), color=ink, linewidth=0)
    for boundary in range(shown.sizes["width"], table.shape[0], shown.sizes["width"]):
        if "depth" in mean.dims:
            ax.axhline(boundary, color="white", linewidth=3.5)


def _blocks(mean: xr.DataArray, shown: xr.Dataset) -> list[tuple[int, int, int, int]]:
    """Row, column, height and width of each block that holds one value."""
    n_depths, n_widths, n_scales = (shown.sizes[dim] for dim in AXES)
    high = (1 if "width" in mean.dims else n_widths) if "depth" in mean.dims else n_depths * n_widths
    if "width" in mean.dims and "depth" not in mean.dims:
        high = 1
    wide = 1 if "init_scale" in mean.dims else n_scales
    return [
        (row, column, high, wide) for row in range(0, n_depths * n_widths, high) for column in range(0, n_scales, wide)
    ]


def _panel_title(name: str, values: xr.DataArray, shown: xr.Dataset) -> str:
    constant = [_NAMES[dim] for dim in AXES if dim not in values.dims and shown.sizes[dim] > 1]
    scope = "network" if len(constant) == len(AXES) else " or ".join(constant)
    return textwrap.fill(predictor_label(name, stand_ins_of(shown)) + (f" (any {scope})" if scope else ""), 28)


def _label_axes(used: np.ndarray, n_columns: int, shown: xr.Dataset) -> None:
    rows = [f"{depth} × {width}" for depth in shown["depth"].values for width in shown["width"].values]
    for i, ax in enumerate(used):
        label_init_scales(ax, shown)
        if i + n_columns >= len(used):
            ax.set_xlabel(r"init scale $\sigma_w^2$")
        if i % n_columns == 0:
            ax.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)
            ax.set_ylabel("depth × width\n(hidden layers × units)")


def label_init_scales(ax: Axes, shown: xr.Dataset) -> None:
    """Writes init scales under the columns of a map whose cells have sides of 1, and their phases under those."""
    scales = [f"{scale:g}" for scale in shown["init_scale"].values]
    phases = [str(phase) for phase in shown["phase"].values] if "phase" in shown.coords else []
    runs = [(phase, [i for i, _ in run]) for phase, run in groupby(enumerate(phases), key=lambda item: item[1])]
    named = [(phase, np.mean(places) + 0.5) for phase, places in runs if phase != "unknown"]
    ax.set_xticks(np.arange(len(scales)) + 0.5, scales)
    ax.xaxis.remove_overlapping_locs = False  # a phase may stand right under its scale
    ax.set_xticks([place for _, place in named], [f"\n{phase}" for phase, _ in named], minor=True)
    ax.tick_params(which="both", length=0)
    ax.tick_params(axis="x", which="minor", labelsize=rcParams["xtick.labelsize"] * 0.85, labelcolor=QUIET)


def short_number(value: float) -> str:
    """Returns two significant digits."""
    if value == 0.0:
        return "0"
    if 1e-3 <= value < 1e4:
        return f"{value:.0f}" if value >= 99.5 else f"{value:#.2g}".rstrip(".")
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def contrasting_ink(color: tuple[float, ...]) -> str:
    """Returns the colour of letters that can be read on `color`."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return INK if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.21 else "white"


def _handles(means: dict[str, xr.DataArray], fields: dict[str, xr.DataArray]) -> list[Artist]:
    """Explains hatches and corners, if the figure has any."""
    handles: list[Artist] = []
    if any(not np.isfinite(mean).all() for mean in means.values()):
        label = "no value: all diverged, failed or missing"
        handles.append(Patch(facecolor="#f4f4f4", hatch="////", edgecolor=FAINT, label=label))
    if any((np.isfinite(means[name]) & (networks_left_out(fields[name]) > 0)).any() for name in means):
        label = "corner: some diverged, failed or missing; mean of the others"
        handles.append(Line2D([], [], marker=[(-1, 1), (1, 1), (1, -1)], color=INK, linestyle="", label=label))
    return handles
