"""Functions of one variable: what networks and every kernel make of the same few samples."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "What networks and every kernel make of the same few samples of a function of one variable. Lines are the "
        "first draw, dark bands the range of its seeds, light bands the 10–90 % range over draws of the data. The "
        "wiggles of a function are where two predictors with the same error differ."
    ),
    files=("functions",),
    possible=lambda shown: shown.one_feature,
)

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_family, predictor_label
from ntk_atlas.cubes.files import compared_ridge, experiment_settings
from ntk_atlas.figures.parts.look import (
    FAINT,
    INK,
    QUIET,
    PredictorStyle,
    finish,
    outside_legend,
    panel_grid,
    predictor_styles,
    scale_label,
    themed,
)

N_GRID = 200
_MAX_COLUMNS = 4
_RIDGES = {"zero": "ridge → 0", "tuned": "tuned ridge"}
_SPREAD = (0.1, 0.9)
"""Quantiles over draws that the light band is between."""


def plot_function_fits(functions: xr.Dataset, style: FigureSettings, *, ridge: str) -> Figure:
    """Predictions against the one feature, a panel a predictor, at the largest depth, width, n_train and init scale.

    The line is the prediction of the first draw (mean over its seeds) beside that draw's training samples; the dark
    band is the range of its seeds, where there are several, the light one the 10–90 % range over all draws. Dotted is
    the first draw's prediction at the other ridge.

    Args:
        functions: the file of predictions, of data with one feature.
        style: look.
        ridge: of the kernels, `zero` or `tuned`.

    Returns:
        The figure.
    """
    other = "tuned" if ridge == "zero" else "zero"
    here = functions.isel({dim: -1 for dim in ("depth", "width", "init_scale", "n_train")})
    names = [name for name in _names(functions) if f"test_predictions_{name}" in functions]
    styles = predictor_styles(names, style)
    grid = common_grid(here)
    curves = {name: curves_on(here, name, grid, ridge=ridge) for name in names}
    with themed(style):
        n_columns = -(-len(names) // -(-len(names) // _MAX_COLUMNS))
        figure, axes = panel_grid(-(-len(names) // n_columns), n_columns, panel=(3.4, 2.7))
        for ax, name in zip(axes.ravel(), names, strict=False):
            _draw_samples(ax, here)
            _draw_curve(ax, grid, curves[name], styles[name])
            if "ridge" in here[f"test_predictions_{name}"].dims:
                dotted = curves_on(here.isel(draw=[0]), name, grid, ridge=other)[0].mean(0)
                ax.plot(grid, dotted, ":", color=INK, linewidth=1.3, zorder=3.5, gid="other ridge")
            ax.set_title(predictor_label(name))
        for ax in axes.ravel()[len(names) :]:
            ax.remove()
        _limit(axes.ravel()[0], here)
        for ax in axes.ravel()[: len(names)]:
            ax.set_xlabel("normalized input $x$" if ax.get_subplotspec().is_last_row() else "")
        for row in axes:
            row[0].set_ylabel("output (target)")
        outside_legend(figure, _handles(here, _RIDGES[ridge], _RIDGES[other]))
        return finish(
            figure,
            f"One function, {len(names)} predictors: n = {here['n_train'].item()}, {here['depth'].item()} hidden "
            f"layers, width {here['width'].item()}",
            _finding(curves),
            f"{scale_label(functions, here['init_scale'].item())}. Lines: the first draw of "
            "the data and its training samples; dark band: range over its seeds; light band: 10–90 % range over "
            f"{functions.sizes['draw']} draws.",
        )


def draw(functions: xr.Dataset, style: FigureSettings) -> Figure:
    """The figure with the ridge at which kernels are compared with these networks."""
    return plot_function_fits(functions, style, ridge=compared_ridge(experiment_settings(functions)))


def common_grid(functions: xr.Dataset) -> np.ndarray:
    """Inputs `(N_GRID,)` at which the test samples of every draw can be interpolated."""
    x = functions["x_test"].isel(feature=0).values
    return np.linspace(x.min(axis=1).max(), x.max(axis=1).min(), N_GRID)


def curves_on(functions: xr.Dataset, predictor: str, grid: np.ndarray, *, ridge: str) -> np.ndarray:
    """First output of a predictor at the grid, `(n_draws, n_seeds, N_GRID)`, between neighbouring test samples."""
    values = functions[f"test_predictions_{predictor}"].isel(output=0)
    values = values.sel(ridge=ridge) if "ridge" in values.dims else values
    values = values if "seed" in values.dims else values.expand_dims("seed")
    values = values.transpose("draw", "seed", "test_sample").values
    x = functions["x_test"].isel(feature=0).transpose("draw", "test_sample").values
    order = np.argsort(x, axis=1)
    return np.array(
        [[np.interp(grid, x[d][order[d]], member[order[d]]) for member in values[d]] for d in range(values.shape[0])]
    )


def _names(functions: xr.Dataset) -> list[str]:
    """The network first, then kinds of predictors in the order in which theory leads away from it."""
    kinds = ("linearized", "empirical", "infinite", "rival")
    rest = [str(name) for name in functions["predictor"].values if name != "network"]
    return ["network", *sorted(rest, key=lambda name: kinds.index(predictor_family(name).kind))]


def _draw_samples(ax: Axes, here: xr.Dataset) -> None:
    first = here.isel(draw=0)
    ax.plot(
        first["x_test"].isel(feature=0), first["y_test"].isel(output=0), ".", color=FAINT, markersize=2.0, alpha=0.6,
        gid="test samples", zorder=1,
    )  # fmt: skip
    ax.plot(
        first["x_train"].isel(feature=0), first["y_train"].isel(output=0), "o", color=INK, markersize=3.6,
        markerfacecolor="white", gid="training samples", zorder=4,
    )  # fmt: skip


def _draw_curve(ax: Axes, grid: np.ndarray, curves: np.ndarray, look: PredictorStyle) -> None:
    if not np.isfinite(curves[0]).any():
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, color=QUIET, ha="center", va="center")
        return
    low, high = np.nanquantile(curves.mean(axis=1), _SPREAD, axis=0)
    ax.fill_between(grid, low, high, color=look.color, alpha=0.18, linewidth=0, zorder=2)
    if curves.shape[1] > 1:
        ax.fill_between(grid, curves[0].min(0), curves[0].max(0), color=look.color, alpha=0.45, linewidth=0, zorder=2.5)
    ax.plot(grid, curves[0].mean(0), color=look.color, linewidth=1.8, zorder=3, gid="curve")


def _limit(ax: Axes, here: xr.Dataset) -> None:
    """Limits of the shared axes: what the samples fill and a third more, so that no wild curve flattens the others."""
    y = here["y_test"].values
    room = 0.35 * np.ptp(y)
    ax.set_ylim(y.min() - room, y.max() + room)


def _handles(here: xr.Dataset, ridge: str, other: str) -> Sequence[Line2D | Patch]:
    handles = [
        Line2D([], [], color=INK, marker="o", linestyle="", markerfacecolor="white", label="training samples"),
        Line2D([], [], color=FAINT, marker=".", linestyle="", label="test samples"),
        Line2D([], [], color=QUIET, linewidth=1.8, label=f"prediction ({ridge})"),
        Line2D([], [], color=INK, linewidth=1.3, linestyle=":", label=other),
    ]
    if here.sizes.get("seed", 1) > 1:
        handles.append(Patch(color=QUIET, alpha=0.55, linewidth=0, label="seeds"))
    return [*handles, Patch(color=QUIET, alpha=0.18, linewidth=0, label="draws")]


def _finding(curves: dict[str, np.ndarray]) -> str:
    """Which predictor is nearest to the network as a function, and which furthest, over the draws."""
    network = curves["network"].mean(axis=1)
    distance = {
        predictor_label(name): float(np.sqrt(np.nanmean((values.mean(axis=1) - network) ** 2)))
        for name, values in curves.items()
        if name != "network" and np.isfinite(values).any()
    }
    if not distance:
        return ""
    near, far = min(distance, key=distance.get), max(distance, key=distance.get)
    return (
        f"Nearest to the network, in root mean square over draws: {near} ({distance[near]:.2f}); furthest: {far} "
        f"({distance[far]:,.2f})."
    )
