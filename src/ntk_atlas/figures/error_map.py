"""Heat maps over depth, width and init scale: the networks' error, and its ratio to each kernel's."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Networks beside kernels at the largest n_train: the networks' test error over depth, width and init scale, "
        "and its ratio to the error of each kernel, paired by draw. Below 1 networks err less. Bold: the interval of "
        "the ratio over draws excludes 1. Colours of ratios end where they say; the number in the cell does not. A "
        "star marks cells in which at least half of the networks ended above the training error asked; hatched cells "
        "are missing or diverged. A kernel that errs more than ten times as much in every cell is named, not drawn."
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
from matplotlib.patches import Patch

from ntk_atlas.arrays import Status
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import predictor_values, scaling_settings, stand_ins_of
from ntk_atlas.figures.learning_curves import kernel_compared, kernel_words, present_predictors
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

_NAMES = {"mse": "Test MSE", "error": "Share of test samples classified wrongly"}
AXES = ("depth", "width", "init_scale")
MAX_COLUMNS = 4
RATIO_COLORS = "PuOr"
"""Orange where networks err less, as features learned are in the map of regimes; purple where they err more. The two
differ for readers who see no red or green; without colours the number in the cell says the side."""
MOST_RATIO = 4.0
"""Ratios beyond have the last colour: one kernel that explodes must not take the colours of the others."""
HOPELESS = 0.1
"""A kernel has no panel where the ratio is below this everywhere."""


def plot_error_map(
    cube: xr.Dataset, style: FigureSettings, *, metric: str = "mse", ridge: str = "tuned", confidence: float = 0.95
) -> Figure:
    """The networks' test error at the largest n_train, and its ratio to that of each kernel, a panel a kernel.

    Rows are depth × width, columns init scales. Numbers are geometric means over draws and seeds; ratios are
    paired by draw, and by seed where the kernel is of the network.

    Args:
        cube: a cube.
        style: look.
        metric: `mse` or `error`.
        ridge: `tuned` or `zero`.
        confidence: coverage of the intervals that say whether a ratio is bold.

    Returns:
        The figure; its title says in how many cells networks do better than the kernel nearest to them.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"depth": 3, "width": 4, "init_scale": 5})
    shown, field = selection.cube, f"test_{metric}"
    error = predictor_values(shown, "network", field)
    kernels = [name for name in present_predictors(shown, field) if name != "network"]
    ratios = {name: error_ratio(shown, name, field=field, ridge=ridge) for name in kernels}
    found = {name: draw_interval(ratio, logarithmic=True, confidence=confidence) for name, ratio in ratios.items()}
    hopeless = [name for name, (mean, _, _) in found.items() if mean.notnull().any() and float(mean.max()) < HOPELESS]
    drawn = [name for name in kernels if name not in hopeless]
    mean = draw_interval(error, logarithmic=True)[0]
    unfinished = mostly_unfinished(shown)
    n_columns = _column_count(1 + len(drawn), style)
    n_rows = -(-(1 + len(drawn)) // n_columns)
    height = 0.3 * shown.sizes["depth"] * shown.sizes["width"] + 1.1
    norms = _error_norm(mean), _ratio_norm([found[name][0] for name in drawn])
    with themed(style):
        figure, grid = panel_grid(
            n_rows, n_columns, panel=(_title_width(), max(height, 1.9)), sharex=False, sharey=False
        )
        used = grid.ravel()[: 1 + len(drawn)]
        never = xr.zeros_like(mean, dtype=bool)
        _draw_map(used[0], mean, networks_left_out(error), never, unfinished, norms[0], color_map(style))
        used[0].set_title(textwrap.fill(f"network: {METRIC_LABELS[metric]}", 27))
        for ax, name in zip(used[1:], drawn, strict=True):
            ratio, low, high = found[name]
            _draw_map(
                ax, ratio, networks_left_out(ratios[name]), (low > 1.0) | (high < 1.0), unfinished, norms[1],
                RATIO_COLORS,
            )  # fmt: skip
            label = predictor_label(name, stand_ins_of(shown))
            ax.set_title(textwrap.fill(f"network / {label}", 27, break_on_hyphens=False))
        for ax in grid.ravel()[1 + len(drawn) :]:
            ax.remove()
        _label_axes(used, n_columns, shown)
        if drawn:
            _color_bar(figure, used, norms[1])
        outside_legend(
            figure, _handles([mean, *[found[name][0] for name in drawn]], [error, *ratios.values()], unfinished)
        )
        return finish(
            figure,
            _finding(cube, field=field, ridge=ridge, confidence=confidence),
            f"{_NAMES[metric]} at n = {shown['n_train'].item()}: geometric means over draws and seeds; kernels with "
            f"{'tuned ridge' if ridge == 'tuned' else 'ridge → 0'}. Ratios are paired by draw: below 1 networks err "
            f"less. Bold: the {confidence:.0%} t interval over draws excludes 1.",
            _hopeless_note(hopeless, found, shown),
            selection.note,
        )


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the metric, the ridge and the confidence that the experiment's laws are about."""
    scaling = scaling_settings(cube)
    return plot_error_map(cube, style, metric=scaling.metric, ridge=scaling.ridge, confidence=scaling.confidence)


def error_ratio(cube: xr.Dataset, kernel: str, *, field: str, ridge: str) -> xr.DataArray:
    """Error of each network over that of a kernel in the same draw; NaN where either is missing or zero."""
    ratio = predictor_values(cube, "network", field) / predictor_values(cube, kernel, field, ridge=ridge)
    return ratio.where(np.isfinite(ratio) & (ratio > 0.0))


def mostly_unfinished(cube: xr.Dataset) -> xr.DataArray:
    """Whether at least half of the networks of a cell ended their budget above the training error asked."""
    return (cube["status"] == int(Status.BUDGET_SPENT)).mean(["draw", "seed"]) >= 0.5


def _finding(cube: xr.Dataset, *, field: str, ridge: str, confidence: float) -> str:
    """In how many cells of the largest n_train networks do better and worse than the kernel nearest to them."""
    cube = cube.isel(n_train=-1)
    kernel = kernel_compared([name for name in present_predictors(cube, field) if name != "network"])
    if not kernel:
        return f"Test error of networks at n = {cube['n_train'].item()}"
    ratio = error_ratio(cube, kernel, field=field, ridge=ridge)
    mean, low, high = (end.values.ravel() for end in draw_interval(ratio, logarithmic=True, confidence=confidence))
    told, name = np.isfinite(mean), kernel_words(kernel, cube)
    if not told.any():
        return f"No cell has errors of both networks and {name} at n = {cube['n_train'].item()}"
    sure = np.isfinite(low) & np.isfinite(high)
    high, low = np.where(sure, high, mean), np.where(sure, low, mean)
    better, worse = mean[high < 1.0], mean[low > 1.0]
    less = f" (by up to {short_number(1.0 / better.min())} times)" if len(better) else ""
    more = f" (by up to {short_number(worse.max())} times)" if len(worse) else ""
    alone = "" if sure.any() else "; one draw gives no interval"
    return (
        f"Networks err less than {name} in {len(better)} of {told.sum()} cells{less}, more in {len(worse)}{more}{alone}"
    )


def _hopeless_note(names: list[str], found: dict[str, tuple], cube: xr.Dataset) -> str:
    if not names:
        return ""
    most = {predictor_label(name, stand_ins_of(cube)): float(found[name][0].max()) for name in names}
    said = ", ".join(f"{label} (network / kernel at most {short_number(value)})" for label, value in most.items())
    return f"Without a panel, as they err more than ten times as much in every cell: {said}."


def _column_count(n_panels: int, style: FigureSettings) -> int:
    """As many columns as titles fit beside each other, in rows as full as can be."""
    fitting = int(72.0 * MAX_WIDTH / (19 * theme(style)["font.size"]))
    most = min(max(fitting, 1), MAX_COLUMNS, max(n_panels, 1))
    return -(-n_panels // -(-n_panels // most)) if n_panels else 1


def _title_width() -> float:
    """Inches that a panel needs for the longest title."""
    return max(3.6, 28 * 0.55 * rcParams["axes.titlesize"] / 72.0 + 0.7)


def _error_norm(mean: xr.DataArray) -> LogNorm:
    values = mean.values[np.isfinite(mean.values)]
    low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
    return LogNorm(low, high) if high > low else LogNorm(low / 1.1, high * 1.1)


def _ratio_norm(means: list[xr.DataArray]) -> LogNorm:
    """Logarithmic and even around 1."""
    logs = np.abs(np.log(np.concatenate([mean.values.ravel() for mean in means] or [np.array([])])))
    most = np.exp(np.max(logs, initial=0.0, where=np.isfinite(logs)))
    most = min(max(most, 1.25), MOST_RATIO)
    return LogNorm(1.0 / most, most)


def _color_bar(figure: Figure, used: np.ndarray, norm: LogNorm) -> None:
    bar = figure.colorbar(
        used[1].collections[0], ax=list(used), shrink=0.9, aspect=40, fraction=0.03, pad=0.015, extend="both"
    )
    bar.set_label("network / kernel")
    bar.outline.set_visible(False)
    log_ticks(bar.ax.yaxis, (norm.vmin, norm.vmax))


def _table(values: xr.DataArray) -> np.ndarray:
    """Values over depth × width and init_scale, `(n_depths · n_widths, n_init_scales)`."""
    return values.transpose(*AXES).values.reshape(-1, values.sizes["init_scale"])


def _draw_map(
    ax: Axes, mean: xr.DataArray, left_out: xr.DataArray, bold: xr.DataArray, unfinished: xr.DataArray,
    norm: LogNorm, cmap: str,
) -> None:  # fmt: skip
    table, lost, sure, starred = (_table(values) for values in (mean, left_out, bold, unfinished))
    ax.grid(False)
    ax.patch.set(facecolor="#f4f4f4", hatch="////", edgecolor=FAINT)
    seaborn.heatmap(
        table, mask=~np.isfinite(table), norm=norm, vmin=norm.vmin, vmax=norm.vmax, cmap=cmap, cbar=False,
        ax=ax, xticklabels=False, yticklabels=False, linewidths=1.2, linecolor="white",
    )  # fmt: skip
    for (row, column), value in np.ndenumerate(table):
        if not np.isfinite(value):
            continue
        ink = contrasting_ink(colormaps[cmap](norm(value)))
        ax.text(
            column + 0.5, row + 0.5, short_number(value) + ("*" if starred[row, column] else ""), color=ink,
            ha="center", va="center", fontsize=rcParams["xtick.labelsize"] * 0.88,
            fontweight="bold" if sure[row, column] else "normal",
        )  # fmt: skip
        if lost[row, column]:
            corner = [(column + 1, row), (column + 0.84, row), (column + 1, row + 0.34)]
            ax.fill(*zip(*corner, strict=True), color=ink, linewidth=0)
    for boundary in range(mean.sizes["width"], table.shape[0], mean.sizes["width"]):
        ax.axhline(boundary, color="white", linewidth=3.5)


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


def _handles(means: list[xr.DataArray], fields: list[xr.DataArray], unfinished: xr.DataArray) -> list[Artist]:
    """Explains hatches, corners and stars, if the figure has any."""
    handles: list[Artist] = []
    if bool(unfinished.any()):
        label = "at least half of the networks ended above the training error asked"
        handles.append(Line2D([], [], marker="$*$", color=INK, linestyle="", label=label))
    if any(not np.isfinite(mean).all() for mean in means):
        label = "no value: all diverged, failed or missing"
        handles.append(Patch(facecolor="#f4f4f4", hatch="////", edgecolor=FAINT, label=label))
    if any((networks_left_out(values) > 0).any() and np.isfinite(values).any() for values in fields):
        label = "corner: some diverged, failed or missing; mean of the others"
        handles.append(Line2D([], [], marker=[(-1, 1), (1, 1), (1, -1)], color=INK, linestyle="", label=label))
    return handles
