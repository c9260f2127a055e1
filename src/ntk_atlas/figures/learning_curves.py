"""Test error against training samples, networks beside kernels, with the fitted power laws."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Test error against the number of training samples for the network and all kernels, at the largest width. "
        "Points are means over seeds and draws, bars t intervals over draws; lines are the fitted power laws over "
        "their fit range."
    ),
    files=("cube", "scaling_laws"),
)

import textwrap
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.arrays import Status
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import predictor_values, stand_ins_of
from ntk_atlas.cubes.scaling import LAW_ERRORS, laws_of
from ntk_atlas.figures.parts.curves import draw_interval
from ntk_atlas.figures.parts.look import (
    METRIC_LABELS,
    N_TRAIN_LABEL,
    QUIET,
    PredictorStyle,
    cell_panels,
    finish,
    label_outer_axes,
    log_y_axis,
    outside_legend,
    panel_grid,
    predictor_styles,
    readable_subset,
    select,
    themed,
    value_ticks,
)


def plot_learning_curves(
    cube: xr.Dataset,
    laws: xr.Dataset,
    style: FigureSettings,
    *,
    metric: str | None = None,
    confidence: float | None = None,
    predictors: Sequence[str] | None = None,
    title: str = "Learning curves",
) -> Figure:
    """Test error of every predictor against n, at the largest width; panels are depth × init_scale.

    Points are geometric means over draws of the mean over seeds, whiskers t intervals over draws, lines the
    fitted law A n^−α over the sizes that were fitted, bands its t interval over draws (one law a draw).

    Args:
        cube: a cube.
        laws: scaling laws of that cube; its attributes name the metric, the ridge, the fit range and the confidence.
        style: look.
        metric: `mse` or `error`; by default that of the laws' attributes.
        confidence: coverage of the whiskers; by default that of the laws.
        predictors: which are drawn; all by default.
        title: what the title begins with.

    Returns:
        The figure.
    """
    laws = laws_of(laws, metric)
    metric, ridge = laws.attrs.get("metric", "mse"), laws.attrs.get("ridge", "tuned")
    confidence = confidence or laws.attrs.get("confidence", 0.95)
    there = present_predictors(cube, f"test_{metric}")
    styles = predictor_styles([name for name in there if predictors is None or name in predictors], style)
    selection = readable_subset(cube.isel(width=[-1]), {"depth": 3, "init_scale": 3})
    shown = selection.cube.squeeze("width")
    width = shown["width"].item()
    averages = {
        name: draw_interval(
            predictor_values(shown, name, f"test_{metric}", ridge=ridge), logarithmic=True, confidence=confidence
        )
        for name in styles
    }
    with themed(style):
        figure, axes = panel_grid(shown.sizes["depth"], shown.sizes["init_scale"], panel=(4.4, 3.3))
        for ax, place in cell_panels(shown, axes):
            for name, look in styles.items():
                missed = above_target(select(shown, place)) if name == "network" else None
                _draw_points(ax, [select(values, place) for values in averages[name]], look, name, missed)
                if name in laws["predictor"].values:
                    _draw_law(ax, select(laws, {"predictor": name, "width": width} | place), look, name)
            missing = [name for name in styles if not np.isfinite(select(averages[name][0], place)).any()]
            _name_missing(ax, missing, cube)
        _set_scales(axes, cube)
        label_outer_axes(axes, x=N_TRAIN_LABEL, y=METRIC_LABELS[metric])
        outside_legend(figure, [_handle(name, look, cube) for name, look in styles.items()])
        return finish(
            figure,
            f"{title} at width {width}",
            f"Points: geometric mean over draws; whiskers: {confidence:.0%} t interval over draws "
            "of this data set; lines and bands: "
            f"fitted power law with its interval over draws. Kernels with {ridge} ridge."
            + (" Hollow: some networks ended above the training error asked." if above_target(shown).any() else ""),
            selection.note,
        )


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure as experiments have it: what the laws were fitted to is what is drawn."""
    return plot_learning_curves(cube, laws, style)


def present_predictors(cube: xr.Dataset, field: str) -> list[str]:
    """Returns the predictors of the cube that have `field`, in the cube's order."""
    names = [str(name) for name in cube["predictor"].values]
    return [name for name in names if f"{field}_{name}" in cube.data_vars]


def above_target(cube: xr.Dataset) -> np.ndarray:
    """Whether any network of each n_train ended above the training error that it should reach, or diverged."""
    missed = cube["status"].isin([int(Status.BUDGET_SPENT), int(Status.DIVERGED)])
    return missed.any([dim for dim in missed.dims if dim != "n_train"]).values


def _draw_points(
    ax: Axes, interval: list[xr.DataArray], look: PredictorStyle, name: str, missed: np.ndarray | None = None
) -> None:
    mean, low, high = (values.values for values in interval)
    n_train = interval[0]["n_train"].values
    there = np.isfinite(mean)
    ax.plot(
        n_train[there], mean[there], look.marker, color=look.color, gid=f"points {name}",
        markersize=rcParams["lines.markersize"] * look.marker_scale,
        markeredgecolor="white", markeredgewidth=0.5, zorder=4 if name == "network" else 3,
    )  # fmt: skip
    if missed is not None and (missed & np.isfinite(mean)).any():
        ax.plot(
            n_train[missed], mean[missed], look.marker, color="white", gid="above target", zorder=5,
            markersize=rcParams["lines.markersize"] * look.marker_scale * 0.5,
        )  # fmt: skip
    there = np.isfinite(low) & np.isfinite(high)
    ax.vlines(n_train[there], low[there], high[there], color=look.color, linewidth=1.1, alpha=0.75, zorder=2.5)


def _draw_law(ax: Axes, law: xr.Dataset, look: PredictorStyle, name: str) -> None:
    """The line through the mean of the logarithms, and the interval over draws around it."""
    law = law[list(LAW_ERRORS)].dropna("n_train", subset=["law_error"])
    if law.sizes["n_train"] > 1:
        n_train = law["n_train"].values
        ax.plot(
            n_train, law["law_error"].values, color=look.color, linestyle=look.dash, gid=f"law {name}",
            linewidth=look.line_width, alpha=0.9,
        )  # fmt: skip
        ax.fill_between(
            n_train, law["law_error_low"].values, law["law_error_high"].values, color=look.color, alpha=0.09,
            linewidth=0.0, gid=f"band {name}", zorder=1,
        )  # fmt: skip


def _name_missing(ax: Axes, names: list[str], cube: xr.Dataset) -> None:
    """Names the predictors without one finite value, in the corner that falling curves leave free."""
    if names:
        text = textwrap.fill("no value: " + "; ".join(predictor_label(name, stand_ins_of(cube)) for name in names), 30)
        size = rcParams["xtick.labelsize"] * 0.8
        ax.text(0.03, 0.04, text, transform=ax.transAxes, color=QUIET, fontsize=size, va="bottom")


def _set_scales(axes: np.ndarray, cube: xr.Dataset) -> None:
    ax = axes[0, 0]
    ax.set_xscale("log")
    n_train = cube["n_train"].values
    ax.set_xlim(n_train[0] / 1.25, n_train[-1] * 1.25)
    value_ticks(ax.xaxis, n_train)
    log_y_axis(axes)


def _handle(name: str, look: PredictorStyle, cube: xr.Dataset) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.color,
        marker=look.marker,
        markersize=rcParams["lines.markersize"] * look.marker_scale,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linestyle=look.dash,
        linewidth=look.line_width,
        label=predictor_label(name, stand_ins_of(cube)),
    )
