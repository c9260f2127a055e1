"""The map: for which networks NTK theory holds, cell by cell, and the width from which on it does."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Where NTK theory holds: one cell per depth and width, a panel per init scale and number of training samples, "
        "coloured by regime. Each cell has its regime in letters and the distance of its networks from regression "
        "with the infinite NTK (or the nearest predictor that there is), in units of the kernel's own error. The "
        "diamond is the width from which on the infinite NTK predicts the networks, by the law of the distance in the "
        "width, with its interval. Undecided cells are hatched: more draws would decide them. The strip at the right "
        "of a cell says in a letter what breaks first there."
    ),
    files=("regimes",),
)

import numpy as np
import xarray as xr
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import DISTANCES
from ntk_atlas.config.thresholds import RegimeThresholds
from ntk_atlas.figures.parts.look import (
    INK,
    QUIET,
    finish,
    outside_legend,
    panel_grid,
    readable_subset,
    scale_label,
    themed,
)
from ntk_atlas.regimes.map_file import frontier_of, is_given, said_of
from ntk_atlas.regimes.regime import FirstBreak, Regime

LOOKS = {
    Regime.INFINITE_NTK: ("#0a4f86", "∞"),
    Regime.OWN_NTK: ("#4f97c9", "own"),
    Regime.OWN_NTK_AT_LEAST: ("#8fbfe0", "own?"),
    Regime.FINITE_TIME: ("#c9c2e6", "time"),
    Regime.FEATURES_BETTER: ("#d9730d", "F+"),
    Regime.FEATURES_NO_DIFFERENT: ("#efa95c", "F="),
    Regime.FEATURES_WORSE: ("#a8461a", "F−"),
    Regime.FEATURES_UNDECIDED: ("#f7d9b5", "F?"),
    Regime.FEATURES_UNFINISHED: ("#e8d9a0", "F…"),
    Regime.NOT_TRAINED: ("#d0d0d0", "untr."),
    Regime.DIVERGED: ("#6b6b6b", "div."),
    Regime.UNDECIDED: ("#ffffff", "?"),
    Regime.MISSING: ("#ffffff", ""),
}
"""Colour and letters of each regime. Where theory holds is blue and dark to light, features are orange: the two differ
for readers who see no red or green, and all differ by their letters in print without colours."""
STRIP = {
    FirstBreak.KERNEL_RANDOM: ("#f2f2f2", "R"),
    FirstBreak.KERNEL_MOVES: ("#2b2b2b", "M"),
    FirstBreak.NOT_TRAINED: ("#a6a6a6", "T"),
    FirstBreak.ERROR: ("#d5d5d5", "E"),
    FirstBreak.DIVERGED: ("#6b6b6b", "D"),
}
"""Grey and letter of what breaks first; where nothing does, or it is undecided, a cell has no strip."""
_STRIP_WIDTH = 0.13
"""Of a strip, in cells."""
_HATCHED = (Regime.UNDECIDED, Regime.FEATURES_UNDECIDED)
_DARK = 0.55
"""Luminance below which letters are white."""
_NEAREST = tuple(reversed(DISTANCES))


def draw(found: xr.Dataset, style: FigureSettings) -> Figure:
    """Regimes over depth × width; rows of panels are n_train, columns init scales.

    Args:
        found: `regimes.nc` of an experiment.
        style: look.

    Returns:
        The figure; its title is the finding.
    """
    selection = readable_subset(found, {"n_train": 4, "init_scale": 4})
    shown = selection.cube
    distance = next(name for name in _NEAREST if name in shown)
    with themed(style):
        n_rows, n_columns = shown.sizes["n_train"], shown.sizes["init_scale"]
        panel = (0.95 * shown.sizes["width"] + 0.9, 0.6 * shown.sizes["depth"] + 0.75)
        figure, axes = panel_grid(n_rows, n_columns, panel=panel)
        for i, n_train in enumerate(shown["n_train"].values):
            for j, init_scale in enumerate(shown["init_scale"].values):
                place = shown.sel(n_train=n_train, init_scale=init_scale)
                _draw_cells(axes[i, j], place, distance)
                _draw_frontier(axes[i, j], place)
                axes[i, j].set_title(f"{scale_label(shown, init_scale)}, $n$ = {n_train}")
        for ax in axes[-1]:
            ax.set_xlabel("width (units)")
        for ax in axes[:, 0]:
            ax.set_ylabel("depth")
        outside_legend(figure, _handles(shown), _strip_handles(shown))
        first, *others = said_of(found)
        confidence = RegimeThresholds.model_validate_json(found.attrs["thresholds"]).confidence
        interval = f"{100 * confidence:g}\N{NO-BREAK SPACE}% interval over {found.attrs['replicates']}"
        note = f"Numbers: {_WORDS[distance]} [{interval}]."
        return finish(figure, _finding(first, others), note, selection.note)


_WORDS = {
    "distance_infinite_ntk": "distance of networks from regression with the infinite NTK, over the kernel's error",
    "distance_own_ntk": "distance of networks from regression with their own initial NTK, over the kernel's error",
    "distance_linearized": "distance of networks from their linearization, over its error",
}


def _finding(first: str, others: list[str]) -> str:
    """The first clause on shares of cells, and the frontier if there is one."""
    share = first.split(" (")[0]
    width = next((line for line in others if "holds from width" in line), "")
    where = width.split(";")[0].replace("holds from", "does from").rstrip(".")
    return f"{share}; {where[0].lower()}{where[1:]}" if where else share


def _draw_cells(ax: Axes, place: xr.Dataset, distance: str) -> None:
    widths, depths = place["width"].values, place["depth"].values
    small = rcParams["font.size"] * 0.72
    for row, depth in enumerate(depths):
        for column, width in enumerate(widths):
            cell = place.sel(depth=depth, width=width)
            regime = Regime(int(cell["regime"]))
            color, letters = LOOKS[regime]
            hatch = "////" if regime in _HATCHED else None
            ax.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5), 1, 1, facecolor=color, edgecolor="#b8b8b8", hatch=hatch, linewidth=0.8
                )
            )
            _draw_strip(ax, column, row, FirstBreak(int(cell["breaks_first"])))
            ink = "white" if _luminance(color) < _DARK else INK
            box = {"facecolor": color, "edgecolor": "none", "pad": 1.0} if hatch else None
            value, low, high = (float(cell[f"{distance}{end}"]) for end in ("", "_low", "_high"))
            middle = column - 0.5 * _STRIP_WIDTH
            ax.text(middle, row + 0.26, letters, ha="center", va="center", color=ink, fontweight="bold", bbox=box)
            if np.isfinite(value):
                text = f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(high) else f"{value:.2f}"
                ax.text(middle, row - 0.08, text, ha="center", va="center", color=ink, fontsize=small * 0.82, bbox=box)
    ax.set_xlim(-0.5, len(widths) - 0.5)
    ax.set_ylim(-0.5, len(depths) - 0.5)
    ax.set_xticks(range(len(widths)), [str(width) for width in widths])
    ax.set_yticks(range(len(depths)), [str(depth) for depth in depths])
    ax.grid(False)


def _draw_strip(ax: Axes, column: int, row: int, link: FirstBreak) -> None:
    """What breaks first in a cell, at its right edge."""
    if link not in STRIP:
        return
    color, letter = STRIP[link]
    left = column + 0.5 - _STRIP_WIDTH
    ax.add_patch(
        Rectangle((left, row - 0.5), _STRIP_WIDTH, 1, facecolor=color, edgecolor="#b8b8b8", linewidth=0.8, zorder=1.5)
    )
    ink = "white" if _luminance(color) < _DARK else INK
    ax.text(
        left + 0.5 * _STRIP_WIDTH, row + 0.3, letter, ha="center", va="center", color=ink, fontsize=7, fontweight="bold"
    )


def _strip_handles(shown: xr.Dataset) -> list[Patch]:
    there = [link for link in STRIP if (shown["breaks_first"] == int(link)).any()]
    return [
        Patch(
            facecolor=STRIP[link][0], edgecolor=QUIET,
            label=f"{STRIP[link][1]}  breaks first: {link.words}",
        )
        for link in there
    ]  # fmt: skip


def _draw_frontier(ax: Axes, place: xr.Dataset) -> None:
    """A diamond per depth where the law of the distance meets τ, with its interval; arrows leave the grid."""
    laws = frontier_of(place, "infinite_ntk")
    if not laws.data_vars or place.sizes["width"] < 2:
        return
    grid = np.log(place["width"].values.astype(float))
    edges = (-0.5, len(grid) - 0.5)
    for row, depth in enumerate(place["depth"].values):
        one = laws.sel(depth=depth)
        if not is_given(one):
            continue
        at, low, high = (_position(grid, float(one[f"frontier{end}"])) for end in ("", "_low", "_high"))
        y, ends = row - 0.37, np.clip([low, high], *edges)
        for color, width in (("white", 5.0), (INK, 2.0)):
            ax.plot(ends, [y, y], color=color, linewidth=width, solid_capstyle="butt", clip_on=False)
        marker, x = ("D", at) if edges[0] <= at <= edges[1] else (">", edges[1] - 0.06)
        ax.plot([x], [y], marker=marker, color=INK, markeredgecolor="white", markersize=7, clip_on=False, linestyle="")


def _position(grid: np.ndarray, width: float) -> float:
    """Place of a width among the widths of the grid, between which places are logarithmic; steps go on outside."""
    step = np.diff(grid)
    x = np.concatenate([[grid[0] - 8 * step[0]], grid, [grid[-1] + 8 * step[-1]]])
    places = np.concatenate([[-8.0], np.arange(len(grid)), [len(grid) + 7.0]])
    return float(np.interp(np.log(width) if width > 0.0 else x[0], x, places))


def _handles(shown: xr.Dataset) -> list[Patch | Line2D]:
    there = [regime for regime in LOOKS if (shown["regime"] == int(regime)).any() and regime is not Regime.MISSING]
    handles: list[Patch | Line2D] = [
        Patch(
            facecolor=LOOKS[regime][0], edgecolor=QUIET, hatch="////" if regime in _HATCHED else None,
            label=f"{LOOKS[regime][1]}  {regime.words}",
        )
        for regime in there
    ]  # fmt: skip
    if "frontier_infinite_ntk" in shown and bool(np.isfinite(shown["frontier_infinite_ntk"]).any()):
        handles.append(
            Line2D([], [], color=INK, linewidth=2.0, marker="D", label="width from which the infinite NTK holds")
        )
    return handles


def _luminance(color: str) -> float:
    red, green, blue = (int(color[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue
