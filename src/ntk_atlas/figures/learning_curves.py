"""Test error against training samples, networks beside kernels, with the fitted power laws."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Test error against the number of training samples for the network and all kernels, at the largest width. "
        "Kernels are moved left and right of the networks, in the order of the legend, each with its law, so that no "
        "line hides another; all are at the same n. Points are geometric means over draws and seeds, bars t intervals "
        "over draws; lines are the fitted power laws over the sizes they were fitted to, the band the interval of the "
        "network's law."
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

    Points are geometric means over draws and seeds, whiskers t intervals over draws, lines the fitted law A n^−α over
    the sizes that were fitted, the band the network law's t interval over draws (one law a draw). Predictors stand
    side by side: points and law of a predictor are drawn at n times one factor of its own, see `side_by_side`.

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
    factors = side_by_side(list(styles), shown["n_train"].values)
    with themed(style):
        figure, axes = panel_grid(shown.sizes["depth"], shown.sizes["init_scale"], panel=(4.4, 3.3))
        for ax, place in cell_panels(shown, axes):
            for name, look in styles.items():
                missed = above_target(select(shown, place)) if name == "network" else None
                interval = [select(values, place) for values in averages[name]]
                _draw_points(ax, interval, look, name, factors[name], missed)
                if name in laws["predictor"].values:
                    law = select(laws, {"predictor": name, "width": width} | place)
                    _draw_law(ax, law, look, name, factors[name])
            missing = [name for name in styles if not np.isfinite(select(averages[name][0], place)).any()]
            _name_missing(ax, missing, cube)
        _set_scales(axes, cube)
        label_outer_axes(axes, x=N_TRAIN_LABEL, y=METRIC_LABELS[metric])
        outside_legend(figure, [_handle(name, look, cube) for name, look in styles.items()])
        return finish(
            figure,
            _finding(cube, list(styles), title, field=f"test_{metric}", ridge=ridge),
            f"Points: geometric mean over draws; whiskers: {confidence:.0%} t interval over draws of this data set; "
            "lines: fitted power laws; band: interval of the network's law over draws. Kernels with "
            f"{'tuned ridge' if ridge == 'tuned' else 'ridge → 0'}. Kernels stand left and right of the networks, "
            "in the order of the legend, all at the same n."
            + (" Hollow: some networks ended above the training error asked." if above_target(shown).any() else ""),
            _unfitted_note(shown["n_train"].values, laws),
            selection.note,
        )


def side_by_side(names: Sequence[str], n_train: np.ndarray) -> dict[str, float]:
    """Factor on n of each predictor: networks stand at n, kernels left and right of them in their order.

    Together they fill somewhat more than half of the smallest step between sizes. A line moved to the right looks
    higher; with kernels on both sides none of that is in favour of networks.
    """
    step = float(np.min(np.diff(np.log(n_train)))) if len(n_train) > 1 else 0.5
    kernels = [name for name in names if name != "network"]
    left = len(kernels) // 2
    places = {name: place - left + (place >= left) for place, name in enumerate(kernels)} | {"network": 0}
    most = max(1, *(abs(place) for place in places.values()))
    return {name: float(np.exp(0.28 * step * places[name] / most)) for name in names}


def _unfitted_note(n_train: np.ndarray, laws: xr.Dataset) -> str:
    """Why a point has no line."""
    start = laws.attrs.get("n_train_min", 0)
    before = [str(n) for n in n_train if n < start]
    return f"Laws are fitted from n = {start} on: points at {', '.join(before)} have no line." if before else ""


def _finding(cube: xr.Dataset, names: Sequence[str], title: str, *, field: str, ridge: str) -> str:
    """The networks' error at the largest width and n_train over that of the kernel nearest to them."""
    width, n_train = cube["width"].values[-1], cube["n_train"].values[-1]
    kernel = kernel_compared([name for name in names if name != "network"])
    if "network" not in names or not kernel:
        return f"{title} at width {width}"
    here = cube.isel(width=-1, n_train=-1)
    ratio = predictor_values(here, "network", field) / predictor_values(here, kernel, field, ridge=ridge)
    mean = draw_interval(ratio, logarithmic=True)[0].values
    mean = mean[np.isfinite(mean)]
    if not mean.size:
        return f"{title} at width {width}: no error of both networks and {kernel_words(kernel, cube)} at n = {n_train}"
    low, high = f"{mean.min():.2f}", f"{mean.max():.2f}"
    times = low if low == high else f"{low} to {high}"
    return (
        f"{title} at width {width}: at n = {n_train} networks err {times} times as much as {kernel_words(kernel, cube)}"
    )


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure as experiments have it: what the laws were fitted to is what is drawn."""
    return plot_learning_curves(cube, laws, style)


def present_predictors(cube: xr.Dataset, field: str) -> list[str]:
    """Returns the predictors of the cube that have `field`, in the cube's order."""
    names = [str(name) for name in cube["predictor"].values]
    return [name for name in names if f"{field}_{name}" in cube.data_vars]


_COMPARED = {"ntk_init": "their own initial NTK", "infinite_ntk": "the infinite NTK"}
"""Kernels that networks are compared with first, in the words of a sentence about networks."""


def kernel_compared(kernels: Sequence[str]) -> str:
    """The kernel of a figure that is nearest to the networks: their own, the infinite one, else the first."""
    return next((name for name in (*_COMPARED, *kernels) if name in kernels), "")


def kernel_words(kernel: str, cube: xr.Dataset) -> str:
    """A kernel in a sentence about networks."""
    return _COMPARED.get(kernel) or predictor_label(kernel, stand_ins_of(cube))


def above_target(cube: xr.Dataset) -> np.ndarray:
    """Whether any network of each n_train ended above the training error that it should reach, or diverged."""
    missed = cube["status"].isin([int(Status.BUDGET_SPENT), int(Status.DIVERGED)])
    return missed.any([dim for dim in missed.dims if dim != "n_train"]).values


def _draw_points(
    ax: Axes,
    interval: list[xr.DataArray],
    look: PredictorStyle,
    name: str,
    factor: float,
    missed: np.ndarray | None = None,
) -> None:
    mean, low, high = (values.values for values in interval)
    n_train = factor * interval[0]["n_train"].values
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


def _draw_law(ax: Axes, law: xr.Dataset, look: PredictorStyle, name: str, factor: float) -> None:
    """The line through the mean of the logarithms, and the interval over draws around the network's."""
    law = law[list(LAW_ERRORS)].dropna("n_train", subset=["law_error"])
    if law.sizes["n_train"] > 1:
        n_train = factor * law["n_train"].values
        ax.plot(
            n_train, law["law_error"].values, color=look.color, linestyle=look.dash, gid=f"law {name}",
            linewidth=look.line_width, alpha=0.9,
        )  # fmt: skip
        if name == "network":  # bands of all predictors lie on each other and say nothing
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
    ax.set_xlim(n_train[0] / 1.3, n_train[-1] * 1.3)
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
