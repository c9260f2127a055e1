"""Errors of the NNGP against those of the infinite NTK, a point a draw: does knowing of training change the error?"""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Errors of the NNGP, which knows nothing of training, against those of the NTK, a point a draw of the data. On "
        "the line the two err alike, below it ignoring training is better."
    ),
    possible=lambda shown: shown.has("nngp", "infinite_ntk"),
)

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import predictor_values, scaling_settings
from ntk_atlas.figures.parts.curves import draw_interval, interval_words
from ntk_atlas.figures.parts.look import (
    FAINT,
    MARKERS,
    finish,
    log_ticks,
    panel_grid,
    readable_subset,
    scale_label,
    sequential_colors,
    themed,
)

_RIDGES = {"zero": "ridge → 0", "tuned": "tuned ridge"}


def plot_nngp_against_ntk(
    cube: xr.Dataset, style: FigureSettings, *, metric: str = "mse", confidence: float = 0.95
) -> Figure:
    """Test error of the NNGP against that of the NTK on the same data, at both ridges, at the largest n_train.

    Colour and marker are the depth; the line is equality, below it the NNGP is better. The legend of a panel has the
    geometric mean of the ratios with its interval over draws.

    Args:
        cube: a cube with both kernels.
        style: look.
        metric: `mse` or `error`.
        confidence: coverage of the intervals.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"depth": 6, "init_scale": 3})
    shown = selection.cube
    shown = shown.isel(width=-1) if "width" in shown.dims else shown
    colors = sequential_colors(shown.sizes["depth"], style)
    with themed(style):
        n_scales = shown.sizes["init_scale"]
        figure, axes = panel_grid(n_scales, len(_RIDGES), panel=(4.8, 4.4), sharex="row", sharey="row")
        ratios = {}
        for row, scale in zip(axes, shown["init_scale"].values, strict=True):
            for ax, (ridge, words) in zip(row, _RIDGES.items(), strict=True):
                nngp, ntk = (
                    predictor_values(shown.sel(init_scale=scale), name, f"test_{metric}", ridge=ridge)
                    for name in ("nngp", "infinite_ntk")
                )
                ratio = draw_interval(nngp / ntk, logarithmic=True, confidence=confidence)
                ratios[ridge] = ratio
                _draw_pairs(ax, ntk, nngp, ratio, colors)
                ax.set_title(words + (f", {scale_label(shown, scale)}" if n_scales > 1 else ""))
                ax.set_xlabel(f"test {metric.upper() if metric == 'mse' else metric} of the infinite NTK")
            row[0].set_ylabel(f"test {metric.upper() if metric == 'mse' else metric} of the NNGP")
            _equal_scales(row)
        return finish(
            figure,
            f"NNGP against NTK, draw by draw, n = {shown['n_train'].item()}",
            _finding(ratios["tuned"], shown),
            f"A point is a draw; on the line the two err alike. Ratios: geometric mean, {confidence:.0%} t interval "
            "over draws.",
            selection.note,
        )


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the metric and the confidence that the experiment asks for."""
    scaling = scaling_settings(cube)
    return plot_nngp_against_ntk(cube, style, metric=scaling.metric, confidence=scaling.confidence)


def _draw_pairs(
    ax: Axes, ntk: xr.DataArray, nngp: xr.DataArray, ratio: tuple[xr.DataArray, ...], colors: list[str]
) -> None:
    for i, depth in enumerate(ntk["depth"].values):
        mean, low, high = (float(end.sel(depth=depth)) for end in ratio)
        word = "layer" if depth == 1 else "layers"
        x, y = (values.sel(depth=depth) for values in (ntk, nngp))
        ax.plot(
            x, y, MARKERS[i % len(MARKERS)], color=colors[i], gid=f"depth {depth}",
            label=f"{depth} {word}: ratio {interval_words(mean, low, high)}", markeredgecolor="white",
            markeredgewidth=0.6, markersize=7,
        )  # fmt: skip
    ax.legend(loc="upper left", handletextpad=0.3, borderaxespad=0.2)


def _equal_scales(row: list[Axes]) -> None:
    """The same log scale on both axes of a row, with room for the legends above the points."""
    values = np.array([line.get_xydata() for ax in row for line in ax.lines]).ravel()
    values = values[np.isfinite(values) & (values > 0.0)]
    low, high = (values.min() / 1.15, values.max() * 1.15) if values.size else (0.1, 1.0)
    for ax in row:
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(low, high)
        ax.set_ylim(low, high * (high / low) ** 0.35)
        ax.plot([low, high], [low, high], color=FAINT, linewidth=1.2, zorder=1, gid="equality")
        log_ticks(ax.xaxis, (low, high), most=5)
        log_ticks(ax.yaxis, ax.get_ylim(), most=6)


def _finding(ratio: tuple[xr.DataArray, ...], shown: xr.Dataset) -> str:
    """The largest and the smallest ratio at the tuned ridge, and how many intervals cover 1."""
    mean, low, high = (end for end in ratio)
    cover, there = int(((low <= 1.0) & (high >= 1.0)).sum()), int(np.isfinite(low).sum())
    covering = f"{cover} of {there} intervals cover equality." if there else "One draw gives no interval."
    return (
        f"With tuned ridge the NNGP errs {float(mean.min()):.2f} to {float(mean.max()):.2f} times as much as the NTK; "
        f"{covering}"
    )
