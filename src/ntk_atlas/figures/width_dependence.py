"""Error and exponent against width: where a network is its kernel, and from which width on."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Test error at the smallest and the largest number of training samples, and the scaling exponent, against the "
        "width. In the NTK limit the network meets its kernel as the width grows; predictors without a width repeat "
        "along it."
    ),
    files=("cube", "scaling_laws"),
    by_default=lambda shown: shown.several("width"),
)

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import predictor_values, stand_ins_of
from ntk_atlas.cubes.scaling import laws_of
from ntk_atlas.figures.learning_curves import present_predictors
from ntk_atlas.figures.parts.curves import draw_interval
from ntk_atlas.figures.parts.look import (
    METRIC_LABELS,
    PredictorStyle,
    finish,
    log_ticks,
    outside_legend,
    panel_grid,
    predictor_styles,
    scale_label,
    themed,
    value_ticks,
)

SHOWN = ("network", "ntk_init", "ntk_final", "infinite_ntk", "stand_in_ntk")


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """Test error at the smallest and the largest n, and the exponent of the law, against the width.

    The first depth and init scale are shown. A kernel that has no width is a level line. Points are geometric means
    over draws (left, middle) and exponents (right), whiskers intervals over draws.

    Args:
        cube: a cube of several widths.
        laws: its scaling laws.
        style: look.

    Returns:
        The figure.
    """
    laws = laws_of(laws)
    metric, ridge = laws.attrs.get("metric", "mse"), laws.attrs.get("ridge", "tuned")
    confidence = laws.attrs.get("confidence", 0.95)
    names = [name for name in SHOWN if name in present_predictors(cube, f"test_{metric}")]
    styles, stand = predictor_styles(names, style), stand_ins_of(cube)
    here, law = (data.isel(depth=0, init_scale=0) for data in (cube, laws))
    sizes = cube["n_train"].values[[0, -1]]
    with themed(style):
        figure, axes = panel_grid(1, 3, panel=(4.2, 3.6), sharey=False)
        for ax, n in zip(axes[0, :2], sizes, strict=True):
            for name, look in styles.items():
                values = predictor_values(here, name, f"test_{metric}", ridge=ridge).sel(n_train=n)
                values = values if "width" in values.dims else values.expand_dims(width=cube["width"].values)
                interval = draw_interval(values.transpose("width", ...), logarithmic=True, confidence=confidence)
                _draw(ax, cube["width"].values, [part.values for part in interval], look, name)
            ax.set_yscale("log")
            log_ticks(ax.yaxis, ax.get_ylim())
            ax.set_title(f"n = {n}")
            ax.set_ylabel(METRIC_LABELS[metric])
        for name, look in styles.items():
            one = law.sel(predictor=name)
            ends = [one[f"exponent{end}"].values for end in ("", "_low", "_high")]
            _draw(axes[0, 2], cube["width"].values, ends, look, name)
        axes[0, 2].set_title("exponent of the law")
        axes[0, 2].set_ylabel(r"$\alpha$ (pure number)")
        axes[0, 0].set_xscale("log")
        value_ticks(axes[0, 0].xaxis, cube["width"].values)
        for ax in axes[0]:
            ax.set_xlabel("width (units or channels)")
        outside_legend(figure, [_handle(look, predictor_label(name, stand)) for name, look in styles.items()])
        return finish(
            figure,
            "Networks and kernels against width",
            f"Depth {cube['depth'].values[0]}, {scale_label(cube, cube['init_scale'].values[0])}. Points: geometric "
            f"means over draws; whiskers: {confidence:.0%} t intervals over draws "
            "of this data set. Kernels with {ridge} ridge.",
        )


def _draw(ax: Axes, widths: np.ndarray, interval: list[np.ndarray], look: PredictorStyle, gid: str) -> None:
    mean, low, high = interval
    ax.plot(
        widths, mean, color=look.color, marker=look.marker, linestyle=look.dash, linewidth=look.line_width, gid=gid,
        markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip
    there = np.isfinite(low) & np.isfinite(high)
    ax.vlines(widths[there], low[there], high[there], color=look.color, linewidth=1.1, alpha=0.75)


def _handle(look: PredictorStyle, label: str) -> Line2D:
    return Line2D(
        [], [], color=look.color, marker=look.marker, linestyle=look.dash, linewidth=look.line_width, label=label
    )
