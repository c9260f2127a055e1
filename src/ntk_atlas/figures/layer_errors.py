"""Error against hidden layers for every predictor; those without layers stand beside them as single points."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Test error against hidden layers, for networks and every predictor beside them, at ridge → 0 and at the tuned "
        "ridge; errors too large for the axis are triangles at its edge, with their number. Rivals have no layers and "
        "stand at the right. Theory says that the network's line is the infinite NTK's at ridge → 0, at any depth. "
        "Whiskers are t intervals over draws."
    ),
    possible=lambda shown: bool(shown.predictors),
    by_default=lambda shown: shown.several("depth"),
)

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import predictor_values, scaling_settings, stand_ins_of
from ntk_atlas.figures.error_map import short_number
from ntk_atlas.figures.learning_curves import present_predictors
from ntk_atlas.figures.parts.curves import draw_interval, interval_words
from ntk_atlas.figures.parts.look import (
    METRIC_LABELS,
    PredictorStyle,
    finish,
    hold_to_lines,
    log_y_axis,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    predictor_styles,
    readable_subset,
    scale_label,
    scale_names,
    themed,
)
from ntk_atlas.kernels.infinite.variants import VARIANTS

_RIDGES = {"zero": "ridge → 0", "tuned": "tuned ridge"}
_MOST_ABOVE = 3.0
"""How many times the largest error at the tuned ridge the axis may reach."""
_DODGE = 0.5
"""Share of the step between depths over which predictors stand side by side."""


def plot_layer_errors(
    cube: xr.Dataset, style: FigureSettings, *, metric: str = "mse", confidence: float = 0.95
) -> Figure:
    """Test error against hidden layers at the largest width and n_train; a row an init scale.

    Columns: networks beside their kernels at ridge → 0 and at the tuned ridge, the variants of the NTK where there are
    any, and the rivals, which have no layers.

    Args:
        cube: a cube.
        style: look.
        metric: `mse` or `error`.
        confidence: coverage of the whiskers.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(n_train=-1, width=-1), {"init_scale": 3})
    shown = selection.cube
    there = present_predictors(shown, f"test_{metric}")
    rivals = [name for name in there if "depth" not in predictor_values(shown, name, f"test_{metric}").dims]
    variants = [name for name in there if name in VARIANTS]
    own = [name for name in there if name not in (*rivals, *variants)]
    columns = [(_RIDGES[ridge], own, ridge) for ridge in _RIDGES]
    if variants:
        columns.append(("variants, tuned ridge", ["network", *variants], "tuned"))
    styles = predictor_styles(there, style)
    with themed(style):
        n_columns, n_scales = len(columns) + bool(rivals), shown.sizes["init_scale"]
        ratios = [*[1.0] * len(columns), *[0.08 * len(rivals) + 0.15] * bool(rivals)]
        figure, axes = panel_grid(
            n_scales, n_columns, panel=(4.1, 4.0), sharex="col", width_ratios=ratios if n_columns > 1 else None
        )
        for row, scale in zip(axes, shown["init_scale"].values, strict=True):
            here = shown.sel(init_scale=scale)
            for ax, (title, names, ridge) in zip(row, columns, strict=False):
                fields = {name: predictor_values(here, name, f"test_{metric}", ridge=ridge) for name in names}
                _draw_depths(ax, fields, styles, confidence)
                ax.set_title(title + (f", {scale_label(shown, scale)}" if n_scales > 1 else ""))
            if rivals:
                fields = {name: predictor_values(here, name, f"test_{metric}") for name in rivals}
                _draw_rivals(row[-1], fields, styles, confidence, shown)
            row[0].set_ylabel(METRIC_LABELS[metric])
        for ax in axes[-1, : len(columns)]:
            ax.set_xlabel("hidden layers")
        axes[0, 0].set_yscale("log")
        longer = hold_to_lines(axes)
        above = _hold_to_tuned(axes, columns)
        log_y_axis(axes)
        mark_empty_panels(axes)
        handles = [_handle(styles[name], predictor_label(name, stand_ins_of(cube))) for name in (*own, *variants)]
        outside_legend(figure, handles)
        return finish(
            figure,
            _finding(cube.isel(n_train=-1, width=-1), own, metric, confidence),
            f"n = {shown['n_train'].item()}, width {shown['width'].item()}. Geometric means over draws and seeds; "
            f"whiskers: {confidence:.0%} t intervals over draws of this data set. "
            "Networks have no ridge." + (" Whiskers that leave a panel are longer than drawn." if longer else ""),
            above and f"Triangles at the upper edge, with their numbers, stand for larger errors: {above}.",
            selection.note,
        )


def _hold_to_tuned(axes: np.ndarray, columns: Sequence[tuple[str, Sequence[str], str]]) -> str:
    """Cuts the shared axis above what is drawn at the tuned ridge: kernels at ridge → 0 may err without bound.

    Returns:
        The predictors whose points are cut off, with the largest error of each; empty if none is.
    """
    tuned = [i for i, (_, _, ridge) in enumerate(columns) if ridge == "tuned"]
    drawn = [line for ax in axes[:, tuned].ravel() for line in ax.lines]
    values = np.concatenate([line.get_ydata() for line in drawn] or [np.array([])])
    values = values[np.isfinite(values) & (values > 0)]
    low, high = axes[0, 0].get_ylim()
    if not values.size or high <= _MOST_ABOVE * values.max():
        return ""
    upper = _MOST_ABOVE * values.max()
    axes[0, 0].set_ylim(low, upper)
    largest: dict[str, float] = {}
    for ax in axes.ravel():
        for line in list(ax.lines):
            beyond = np.isfinite(line.get_ydata()) & (line.get_ydata() > upper)
            if beyond.any():
                name = line.get_gid()
                largest[name] = max(largest.get(name, 0.0), line.get_ydata()[beyond].max())
                x = np.asarray(line.get_xdata())[beyond]
                edge = np.full(len(x), upper / 1.1)
                ax.plot(x, edge, "^", color=line.get_color(), gid=f"beyond {name}")
                for at, top, value in zip(x, edge, line.get_ydata()[beyond], strict=True):
                    ax.annotate(
                        short_number(value), (at, top), xytext=(0, -6), textcoords="offset points", rotation=90,
                        color=line.get_color(), fontsize="x-small", ha="center", va="top",
                    )  # fmt: skip
    return ", ".join(f"{predictor_label(name)} up to {value:.2g}" for name, value in largest.items())


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the metric and the confidence that the experiment asks for."""
    scaling = scaling_settings(cube)
    return plot_layer_errors(cube, style, metric=scaling.metric, confidence=scaling.confidence)


def deepest_over_shallowest(
    cube: xr.Dataset, predictor: str, *, field: str, ridge: str, confidence: float
) -> tuple[float, float, float]:
    """Error at the last depth over that at the first, paired by draw: geometric mean and interval."""
    values = predictor_values(cube, predictor, field, ridge=ridge)
    if "seed" in values.dims:
        values = values.mean("seed")
    ratio = values.isel(depth=-1, drop=True) / values.isel(depth=0, drop=True)
    return tuple(float(end) for end in draw_interval(ratio, logarithmic=True, confidence=confidence))


def _finding(cube: xr.Dataset, names: Sequence[str], metric: str, confidence: float) -> str:
    told = [name for name in ("network", "infinite_ntk", "nngp") if name in names]
    here, depths, parts = cube.isel(init_scale=-1), cube["depth"].values, []
    for name in told if len(depths) > 1 else ():
        value, low, high = deepest_over_shallowest(
            here, name, field=f"test_{metric}", ridge="tuned", confidence=confidence
        )
        if np.isfinite(value):
            parts.append(f"{predictor_label(name)} {interval_words(value, low, high)}")
    if not parts:
        return f"Test error of networks with {' and '.join(map(str, depths))} layers"
    at = f" ({scale_names(cube)[-1]})" if cube.sizes["init_scale"] > 1 else ""
    return f"From {depths[0]} to {depths[-1]} layers errors{at} change by the factors: {', '.join(parts)} (tuned ridge)"


def _draw_depths(
    ax: Axes, fields: dict[str, xr.DataArray], styles: dict[str, PredictorStyle], confidence: float
) -> None:
    offsets = np.linspace(-0.5, 0.5, len(fields)) * _DODGE if len(fields) > 1 else [0.0]
    depths = np.array([])
    for (name, values), offset in zip(fields.items(), offsets, strict=True):
        depths = values["depth"].values
        x = np.arange(len(depths)) + offset
        mean, low, high = (
            end.values for end in draw_interval(values.transpose("depth", ...), logarithmic=True, confidence=confidence)
        )
        look = styles[name]
        ax.plot(
            x, mean, color=look.color, marker=look.marker, linestyle=look.dash, linewidth=look.line_width, gid=name,
            markersize=rcParams["lines.markersize"] * look.marker_scale,
        )  # fmt: skip
        there = np.isfinite(low) & np.isfinite(high)
        ax.vlines(x[there], low[there], high[there], color=look.color, linewidth=1.1, alpha=0.75)
    ax.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    ax.grid(visible=False, axis="x")


def _draw_rivals(
    ax: Axes, fields: dict[str, xr.DataArray], styles: dict[str, PredictorStyle], confidence: float, cube: xr.Dataset
) -> None:
    for x, (name, values) in enumerate(fields.items()):
        mean, low, high = (float(end) for end in draw_interval(values, logarithmic=True, confidence=confidence))
        look = styles[name]
        size = rcParams["lines.markersize"] * look.marker_scale
        ax.plot([x], [mean], look.marker, color=look.color, gid=name, markersize=size)
        if np.isfinite([low, high]).all():
            ax.vlines([x], low, high, color=look.color, linewidth=1.1)
    labels = [predictor_label(name, stand_ins_of(cube)) for name in fields]
    ax.set_xticks(range(len(fields)), labels, rotation=90, fontsize=rcParams["xtick.labelsize"] * 0.85)
    ax.set_xlim(-0.6, len(fields) - 0.4)
    ax.set_title("rivals, tuned ridge" if len(fields) > 5 else "rivals")
    ax.grid(visible=False, axis="x")


def _handle(look: PredictorStyle, label: str) -> Line2D:
    return Line2D(
        [], [], color=look.color, marker=look.marker, linestyle=look.dash, linewidth=look.line_width, label=label
    )
