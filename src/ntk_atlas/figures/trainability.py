"""What trains within the budget: final training error over init scale and depth, with the depth scale ξ₁."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "What trains within the budget: final training error over init scale and depth, with the depth scale ξ₁ of the "
        "infinite network, and the condition number of the infinite NTK beside it. Networks that diverged are hatched "
        "and never count as untrainable."
    ),
    possible=lambda shown: not shown.settings.network.family.without_phases(),
    by_default=lambda shown: shown.several("depth") and shown.several("init_scale"),
)

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib import colormaps, rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from ntk_atlas.arrays import NOT_TRAINED, Status
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import experiment_settings
from ntk_atlas.figures.error_map import contrasting_ink, label_init_scales, short_number
from ntk_atlas.figures.parts.curves import at_last_checkpoint, draw_interval
from ntk_atlas.figures.parts.look import (
    DASHES,
    INK,
    QUIET,
    color_map,
    finish,
    letter_scale,
    log_ticks,
    outside_legend,
    panel_grid,
    readable_subset,
    select,
    themed,
)

UNTRAINED = 0.5
"""Share of the error of predicting zero above which the title calls a cell untrained."""
_EMPTY = "#f4f4f4"
_LINES = (DASHES[1], DASHES[0])
_FLOOR = 1e-30
"""Stands for an error of exactly zero, which has no logarithm."""


@dataclass(frozen=True)
class _Map:
    """What a column of panels shows: values over (depth, init_scale) and perhaps width."""

    title: str
    label: str
    values: xr.DataArray
    norm: Normalize
    of_networks: bool = True


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """Final training error at the largest n_train; rows of a panel are depths, columns init scales.

    Beside the training MSE (geometric mean over networks) stand the share of training samples classified wrongly, where
    there are classes, and the condition number of the infinite-width NTK, where it was computed. Networks that diverged
    are in no mean: their cells are hatched and say how many they are, a cell that has no others has no colour.

    The lines are depth = c ξ₁ with c = 1 and c = ln T, T the steps of the budget; neither is fitted. In the ordered
    phase the condition number grows like χ₁^−depth = exp(depth/ξ₁), and T steps at a learning rate near 1/λ_max learn
    modes down to λ_max/T: beyond depth = ξ₁ ln T all but the first are out of reach. Between cells log χ₁ is
    interpolated. The bound is no claim about the chaotic phase, where the condition number falls with depth.

    Args:
        cube: a cube.
        style: the look.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"width": 2, "depth": 8, "init_scale": 7})
    shown = selection.cube
    steps = budget_steps(cube)
    multiples = (1.0, math.log(steps)) if steps > math.e else (1.0,)
    maps = _maps(shown)
    lost = diverged_networks(shown)
    with themed(style):
        height = max(0.6 * shown.sizes["depth"] + 1.4, 3.6) * letter_scale()
        figure, axes = panel_grid(shown.sizes["width"], len(maps), panel=(4.6, height))
        for i, width in enumerate(shown["width"].values):
            for ax, column in zip(axes[i], maps, strict=True):
                values = select(column.values, {"width": width}).transpose("depth", "init_scale").values
                counts = select(lost, {"width": width}).values if column.of_networks else None
                _draw_map(ax, values, counts, column.norm, color_map(style))
                _draw_depth_scales(ax, shown, multiples)
                ax.set_title(column.title + (f", width {width}" if "width" in column.values.dims else ""))
                ax.set_xlabel(r"init scale $\sigma_w^2$" if i + 1 == len(axes) else "")
                label_init_scales(ax, shown)
            axes[i, 0].set_yticks(np.arange(shown.sizes["depth"]) + 0.5, [str(d) for d in shown["depth"].values])
            axes[i, 0].set_ylabel("depth (hidden layers)")
        axes[0, 0].invert_yaxis()  # shared
        for j, column in enumerate(maps):
            _color_bar(figure, axes[:, j], column, color_map(style))
        outside_legend(figure, _handles(shown, lost, multiples, steps))
        return finish(
            figure,
            _finding(shown, lost, multiples[-1], steps),
            f"n = {shown['n_train'].item()}. MSE: geometric, other errors: arithmetic means over the networks that did "
            f"not diverge. {_rates_note(cube)}".rstrip(),
            selection.note,
        )


def budget_steps(cube: xr.Dataset) -> int:
    """Returns the optimizer steps up to the last checkpoint at the largest n_train; an epoch is one by default."""
    epochs = int(cube["epoch"].values[-1])
    batch = experiment_settings(cube).training.batch_size if "config" in cube.attrs else "full"
    return epochs if batch == "full" else epochs * -(-int(cube["n_train"].values[-1]) // batch)


def trained_mse(cube: xr.Dataset) -> xr.DataArray:
    """Returns the geometric mean of the final training MSE over networks that neither diverged nor are missing."""
    error = np.maximum(cube["final_train_mse"].where(_finished(cube)), _FLOOR)
    return draw_interval(error, logarithmic=True)[0]


def diverged_networks(cube: xr.Dataset) -> xr.DataArray:
    """Returns how many networks diverged and how many there are, `(width, depth, init_scale, 2)`."""
    status = cube["status"]
    counts = [(status == int(Status.DIVERGED)), ~status.isin(NOT_TRAINED)]
    joined = xr.concat([count.sum(("draw", "seed")) for count in counts], "count")
    return joined.transpose("width", "depth", "init_scale", "count")


def _finished(cube: xr.Dataset) -> xr.DataArray:
    return cube["status"].isin([int(Status.CONVERGED), int(Status.BUDGET_SPENT)])


def _maps(shown: xr.Dataset) -> list[_Map]:
    mse = trained_mse(shown)
    maps = [_Map("Final training MSE", "training MSE (target²)", mse, _log_norm(mse))]
    if np.isfinite(shown["train_error"]).any():
        error = at_last_checkpoint(shown["train_error"]).where(_finished(shown)).mean(("draw", "seed"))
        label = "share classified wrongly"
        highest = float(error.max()) if np.isfinite(error).any() else 0.0
        maps.append(_Map("Final training error", label, error, Normalize(0.0, max(0.5, highest))))
    if "condition_number_infinite_ntk" in shown:
        condition = shown["condition_number_infinite_ntk"].sel(ridge="zero")
        condition = draw_interval(condition, logarithmic=True)[0]
        maps.append(
            _Map("Infinite-width NTK", "condition number (pure number)", condition, _log_norm(condition), False)
        )
    return maps


def _log_norm(values: xr.DataArray) -> LogNorm:
    finite = values.values[np.isfinite(values.values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.1, 1.0)
    return LogNorm(low, high) if high > low else LogNorm(low / 1.1, high * 1.1)


def _draw_map(ax: Axes, values: np.ndarray, counts: np.ndarray | None, norm: Normalize, cmap: str) -> None:
    ax.grid(False)
    ax.patch.set_facecolor(_EMPTY)
    ax.pcolormesh(
        np.ma.masked_invalid(values), norm=norm, cmap=cmap, edgecolors="white", linewidth=1.2, rasterized=False
    )
    # The longest number, 0.0072, is 3.5 times as wide as its letters are high, and has to fit into a cell.
    cell = 72.0 * ax.figure.get_figwidth() * ax.get_position().width / values.shape[1]
    size = min(rcParams["xtick.labelsize"] * 0.85, cell / 3.8)
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        n_diverged, n_there = counts[row, column] if counts is not None else (0, 1)
        face = colormaps[cmap](norm(value)) if np.isfinite(value) else None
        ink = contrasting_ink(face) if face is not None else INK
        text = short_number(value) if np.isfinite(value) else ("–" if n_there else "missing")
        if n_diverged:
            ax.add_patch(
                Rectangle((column, row), 1, 1, fill=False, hatch="///", edgecolor=ink, alpha=0.45, linewidth=0)
            )
            text = f"{text}\n{n_diverged}/{n_there} div." if n_diverged < n_there else f"all {n_there}\ndiverged"
        halo = [withStroke(linewidth=2.5, foreground=face if face is not None else _EMPTY)]
        ax.text(
            column + 0.5, row + 0.5, text, color=ink, ha="center", va="center", fontsize=size, linespacing=1.1,
            path_effects=halo, zorder=4,
        )  # fmt: skip
    ax.set(xlim=(0, values.shape[1]), ylim=(0, values.shape[0]))


def depth_scale_line(shown: xr.Dataset, multiple: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the line depth = multiple · ξ₁ in coordinates of cells, whose middles are at 0.5, 1.5, …

    log χ₁ is linear between the middles of columns, depth between those of rows; NaN outside the map.
    """
    n_scales, depths = shown.sizes["init_scale"], shown["depth"].values.astype(np.float64)
    middles = np.arange(n_scales) + 0.5
    x = np.linspace(0.5, n_scales - 0.5, 100 * (n_scales - 1) + 1)
    with np.errstate(divide="ignore"):
        depth = multiple / np.abs(np.interp(x, middles, np.log(shown["chi_1"].values)))
    rows = np.arange(len(depths)) + 0.5
    # Half a cell beyond the first and the last row, in the steps of their neighbours.
    edges = [1.5 * depths[0] - 0.5 * depths[1], *depths, 1.5 * depths[-1] - 0.5 * depths[-2]]
    y = np.interp(depth, edges, [0.0, *rows, len(depths)], left=np.nan, right=np.nan)
    return x, y


def _draw_depth_scales(ax: Axes, shown: xr.Dataset, multiples: tuple[float, ...]) -> None:
    if not _has_depth_scale(shown):
        return
    halo = [withStroke(linewidth=4.5, foreground="white")]
    for multiple, dash in zip(multiples, _LINES, strict=False):
        x, y = depth_scale_line(shown, multiple)
        ax.plot(x, y, color=INK, linestyle=dash, linewidth=2.2, path_effects=halo, zorder=3, gid=f"xi {multiple:g}")


def _has_depth_scale(shown: xr.Dataset) -> bool:
    enough = shown.sizes["depth"] > 1 and shown.sizes["init_scale"] > 1
    return enough and bool(np.isfinite(shown["chi_1"]).all() and (shown["chi_1"] > 0).all())


def _color_bar(figure: Figure, axes: np.ndarray, column: _Map, cmap: str) -> None:
    bar = figure.colorbar(
        axes[0].collections[0], ax=list(axes), location="bottom", shrink=0.9, aspect=35, fraction=0.06, pad=0.02
    )
    bar.set_label(column.label)
    bar.outline.set_visible(False)
    if isinstance(column.norm, LogNorm):
        log_ticks(bar.ax.xaxis, (column.norm.vmin, column.norm.vmax), most=5)


def _handles(shown: xr.Dataset, lost: xr.DataArray, multiples: tuple[float, ...], steps: int) -> list[Artist]:
    handles: list[Artist] = []
    if _has_depth_scale(shown):
        labels = [r"depth = $\xi_1$", rf"depth = {multiples[-1]:.1f} $\xi_1$ (ln of {steps} steps)"]
        handles += [
            Line2D([], [], color=INK, linestyle=dash, linewidth=2.2, label=label)
            for label, dash, _ in zip(labels, _LINES, multiples, strict=False)
        ]
    if (lost.isel(count=0) > 0).any():
        label = "a/b div.: a of b networks diverged, the others are averaged"
        handles.append(Patch(facecolor=_EMPTY, hatch="///", edgecolor=QUIET, label=label))
    return handles


def _finding(shown: xr.Dataset, lost: xr.DataArray, multiple: float, steps: int) -> str:
    """How many cells do not train, among the ordered ones beyond the depth scale and among the others."""
    mse = trained_mse(shown)
    there = np.isfinite(mse)
    untrained = (mse > UNTRAINED * shown["zero_train_mse"].mean("draw")) & there
    n_diverged, n_networks = (int(lost.isel(count=i).sum()) for i in (0, 1))
    diverged = f"{n_diverged} of {n_networks} networks diverged"
    head = f"Untrained after {steps} steps (MSE > {UNTRAINED:g} × that of predicting zero):"
    if not _has_depth_scale(shown):
        return f"{head} {int(untrained.sum())} of {int(there.sum())} cells; {diverged}"
    beyond = (shown["chi_1"] < 1.0) & (shown["depth"] > multiple / np.abs(np.log(shown["chi_1"])))
    beyond = beyond & xr.ones_like(there)
    if not (there & beyond).any():
        counts = f"{int(untrained.sum())} of {int(there.sum())} cells"
        return f"{head} {counts}, none of them ordered and deeper than {multiple:.1f} ξ₁; {diverged}"
    parts = [f"{int((untrained & place).sum())} of {int((there & place).sum())}" for place in (beyond, ~beyond)]
    return f"{head} {parts[0]} ordered cells deeper than {multiple:.1f} ξ₁, {parts[1]} other cells; {diverged}"


def _rates_note(cube: xr.Dataset) -> str:
    if "config" not in cube.attrs:
        return ""
    relative = experiment_settings(cube).training.learning_rate.relative
    if not isinstance(relative, tuple) or len(relative) < 2:
        return ""
    rates = ", ".join(f"{rate:g}" for rate in relative)
    return f"Each network: the best of the learning rates {rates} × stability limit; diverged: at all of them."
