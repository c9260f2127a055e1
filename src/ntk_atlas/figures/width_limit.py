"""How far trained networks are from kernel regression with their infinite NTK, against the width, with its limit."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "How far trained networks are, as functions, from kernel regression with their infinite NTK, over the kernel's "
        "error, against the width. The theorem has the distance fall as the square root of the width; where the line "
        "levels off, there is a limit. Beside it the two parts of the way: from the network to regression with its own "
        "initial NTK, and from there to the infinite one."
    ),
    files=("cube", "functions"),
    possible=lambda shown: (
        shown.has("infinite_ntk") and shown.several("width", 3)
    ),  # the law of the distance in the width has three constants
)

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.dictionary import GAP_TERMS, OTHER_PAIRS, WHOLE_GAP, pair_name
from ntk_atlas.cubes.files import compared_ridge, experiment_settings
from ntk_atlas.figures.parts.curves import draw_interval
from ntk_atlas.figures.parts.look import (
    FAINT,
    INK,
    finish,
    log_ticks,
    outside_legend,
    panel_grid,
    predictor_styles,
    scale_label,
    themed,
    value_ticks,
)
from ntk_atlas.judging.equivalence import squared_share, width_exponent, width_law
from ntk_atlas.judging.evidence import at_largest_n, cell_estimate

_PARTS = {OTHER_PAIRS[0]: ("network to its own initial NTK", "s"), GAP_TERMS[-1]: ("initial to infinite NTK", "^")}
_BEYOND = 8.0
"""The law is drawn to so many times the largest width."""


def draw(cube: xr.Dataset, functions: xr.Dataset, style: FigureSettings) -> Figure:
    """Root mean square distance of predictions over the kernel's error against the width, a panel per depth.

    Beside the distance of networks from the infinite NTK stand its two parts, the fitted law d² = d²(∞) + A/M + B/M²
    and a line of theory's slope −1/2.

    Args:
        cube: a cube of several widths with networks and the infinite NTK.
        functions: predictions on the test samples.
        style: look.

    Returns:
        The figure, at the largest n_train and the last init scale.
    """
    settings = experiment_settings(cube)
    ridge, confidence = compared_ridge(settings), settings.scaling.confidence
    cube, functions = (at_largest_n(each).isel(init_scale=[-1]) for each in (cube, functions))
    widths, found = cube["width"].values, []
    with themed(style):
        color = predictor_styles(["network"], style)["network"].color
        pairs = {WHOLE_GAP: ("network to infinite NTK", "o", color)}
        pairs |= {pair: (*look, FAINT) for pair, look in _PARTS.items() if f"distance_{pair_name(*pair)}" in functions}
        figure, axes = panel_grid(1, cube.sizes["depth"], panel=(4.4, 3.8))
        for ax, depth in zip(axes[0], cube["depth"].values, strict=True):
            for pair, (_, marker, shade) in pairs.items():
                share = squared_share(cube, functions, pair, ridge).sel(depth=depth).isel(left_out=0, init_scale=0)
                _draw_points(ax, share, marker, shade, pair_name(*pair), confidence)
            share = squared_share(cube, functions, WHOLE_GAP, ridge).sel(depth=depth).isel(left_out=0, init_scale=0)
            _draw_law(ax, share, color)
            value, low, high = _interval(width_exponent(share), confidence)
            ax.text(
                0.03, 0.04, f"exponent {value:.2f} [{low:.2f}, {high:.2f}]", transform=ax.transAxes, fontsize="small"
            )
            ax.set_title(f"{depth} hidden layer{'s' if depth != 1 else ''}")
            ax.set_xlabel("width (units)")
            limit = _interval(width_law(share).isel(constant=0), confidence)
            found.append(f"at depth {depth} {limit[0]:.2g} [{limit[1]:.2g}, {limit[2]:.2g}]")
        axes[0, 0].set_xscale("log")
        axes[0, 0].set_yscale("log")
        axes[0, 0].set_ylabel("distance / √err of the NTK (1)")
        value_ticks(axes[0, 0].xaxis, widths)
        log_ticks(axes[0, 0].yaxis, axes[0, 0].get_ylim())
        handles = [
            Line2D([], [], color=shade, marker=marker, linestyle="", label=label)
            for label, marker, shade in pairs.values()
        ]
        handles += [
            Line2D([], [], color=color, label="fitted law"),
            Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="slope −1/2"),
        ]
        outside_legend(figure, handles)
        return finish(
            figure,
            f"Distance of trained networks from their kernel regression, n = {cube['n_train'].item()}",
            f"Squared distance over the NTK's error, extrapolated to infinite width: {'; '.join(found)}.",
            f"{scale_label(cube, cube['init_scale'].values[-1])}; kernels at ridge {ridge}. Points: root mean squares "
            f"over draws and seeds; whiskers: {confidence:.0%} t intervals of logarithms over draws of this data set. "
            f"Line: d² = d²(∞) + A/M + B/M², to {_BEYOND:g} times the largest width.",
        )


def _interval(values: xr.DataArray, confidence: float) -> tuple[float, float, float]:
    return cell_estimate(values.expand_dims("seed")).interval(confidence, new_data=False)


def _draw_points(ax: Axes, share: xr.DataArray, marker: str, color: str, gid: str, confidence: float) -> None:
    width = share["width"].values
    mean = np.sqrt(share.mean(["draw", "seed"]).values)
    centre, low, high = (np.sqrt(end.values) for end in draw_interval(share, logarithmic=True, confidence=confidence))
    ax.plot(width, mean, marker, color=color, markeredgecolor="white", markeredgewidth=0.5, gid=gid, zorder=3)
    ax.vlines(width, mean * low / centre, mean * high / centre, color=color, linewidth=1.1)


def _draw_law(ax: Axes, share: xr.DataArray, color: str) -> None:
    limit, first, second = width_law(share).mean("draw").values
    width = np.geomspace(share["width"].min(), _BEYOND * share["width"].max(), 100)
    squared = limit + first / width + second / width**2
    ax.plot(width, np.sqrt(np.where(squared > 0.0, squared, np.nan)), color=color, linewidth=1.4, gid="law")
    start = float(np.sqrt(share.mean(["draw", "seed"]).values[0]))
    ax.plot(width, start * (width / width[0]) ** -0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), gid="theory")
