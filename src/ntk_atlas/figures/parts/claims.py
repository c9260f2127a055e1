"""Verdicts as a figure: one row a claim, its number and interval against the threshold, the verdict in words."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.panels import finish
from ntk_atlas.figures.parts.style import FAINT, INK, QUIET, themed

MARKERS = {"supported": ("o", INK), "not supported": ("X", INK), "inconclusive": ("o", "white")}
"""Marker and filling by verdict: a full circle holds, a cross does not, a hollow circle is open."""
_WIDTH, _ROW_HEIGHT, _LETTERS = 13.0, 0.92, 46


def plot_claims(table: pd.DataFrame, style: FigureSettings) -> Figure:
    """Draws the verdicts of one experiment.

    Each row has its own scale, as claims are about different quantities; the hatched band is where the claim says that
    the number lies. Nothing depends on colour.

    Args:
        table: rows of `claims.csv`, one a claim.
        style: look.

    Returns:
        The figure.
    """
    with themed(style):
        height = _ROW_HEIGHT * max(len(table), 1) + 1.8
        figure = Figure(figsize=(_WIDTH, height))
        axes = figure.subplots(max(len(table), 1), 1, squeeze=False)[:, 0]
        top = 1.0 - 1.45 / height
        figure.subplots_adjust(left=0.27, right=0.66, top=top, bottom=0.45 / height, hspace=0.95)
        for ax, row in zip(axes, table.itertuples(), strict=False):
            _row(ax, row)
        names = ", ".join(dict.fromkeys(table["experiment"]))
        return finish(figure, _title(table), f"{names}. Hatched: where the claim says that the number lies. {_LEGEND}")


_LEGEND = (
    "Full circle: supported; cross: not supported; hollow circle: inconclusive. Thin bars: intervals for new data of "
    "this kind, by which claims are judged; thick bars: for this data set alone. Nearness: distance of the deciding "
    "interval's end from its threshold, in half-widths."
)


def _title(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    parts = [f"{counts[word]} {word}" for word in (*MARKERS, "not run", "not applicable") if word in counts]
    return f"Claims: {', '.join(parts)}" if parts else "Claims: none judged"


def _row(ax: Axes, row: object) -> None:
    size = 0.82 * rcParams["font.size"]
    ax.yaxis.set_major_locator(NullLocator())
    ax.grid(visible=False)
    for side in ("left", "top", "right"):
        ax.spines[side].set_visible(False)
    statement = textwrap.fill(f"{row.claim}  {row.statement}", _LETTERS, max_lines=3, placeholder=" …")
    ax.text(-0.69, 0.5, statement, transform=ax.transAxes, fontsize=size, va="center", linespacing=1.15)
    verdict = row.verdict.upper() if row.verdict in MARKERS else row.verdict
    words = f"{verdict}\n{_numbers(row)}" if np.isfinite(row.value) else verdict
    ax.text(1.03, 0.5, words, transform=ax.transAxes, fontsize=size, va="center", linespacing=1.15)
    if row.verdict not in MARKERS or not np.isfinite(row.value):
        reason = textwrap.fill(row.reason, 62, max_lines=3, placeholder=" …")
        ax.text(0.5, 0.5, reason, transform=ax.transAxes, fontsize=size, color=QUIET, ha="center", va="center")
        ax.xaxis.set_major_locator(NullLocator())
        ax.spines["bottom"].set_visible(False)
        return
    _band(ax, row)
    marker, face = MARKERS[row.verdict]
    ends = np.array([row.low, row.high])
    if np.isfinite(ends).all():
        ax.plot(ends, [0.0, 0.0], color=INK, linewidth=1.6, marker="|", markersize=9, gid="interval")
    inner = np.array([row.low_this_data, row.high_this_data])
    if np.isfinite(inner).all():
        ax.plot(inner, [0.0, 0.0], color=INK, linewidth=4.5, solid_capstyle="butt", gid="interval of this data set")
    ax.plot([row.value], [0.0], marker=marker, color=INK, markerfacecolor=face, markersize=9, gid="value")
    ax.set_ylim(-1.0, 1.0)
    ax.xaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3))
    ax.tick_params(labelsize=size, pad=1)


def _band(ax: Axes, row: object) -> None:
    """Limits that show value, interval, bounds and zero; the region hatched, its bounds as lines."""
    bounds = [bound for bound in (row.lower, row.upper) if np.isfinite(bound)]
    shown = [x for x in (row.value, row.low, row.high, 0.0, *bounds) if np.isfinite(x)]
    margin = 0.08 * (max(shown) - min(shown) or 1.0)
    low, high = min(shown) - margin, max(shown) + margin
    ax.set_xlim(low, high)
    lower = row.lower if np.isfinite(row.lower) else low
    upper = row.upper if np.isfinite(row.upper) else high
    if row.outside:
        pieces = [(low, lower), (upper, high)]
    else:
        pieces = [(lower, upper)] if bounds else []
    for left, right in pieces:
        ax.axvspan(left, right, facecolor="#f0f0f0", edgecolor="#c4c4c4", hatch="////", linewidth=0.0)
    for bound in bounds:
        ax.axvline(bound, color=FAINT, linewidth=1.4, gid="threshold")


def _numbers(row: object) -> str:
    interval = f" [{row.low:.3g}, {row.high:.3g}]" if np.isfinite(row.low) else ""
    near = f", nearness {row.nearness:.2g}" if np.isfinite(row.nearness) else ""
    return f"{row.value:.3g}{interval}\nclaimed {row.threshold}, n = {row.n}{near}"
