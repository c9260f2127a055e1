"""Verdicts as figures: one row per claim, and what adding layers does to networks and to kernels.

A row has its number and interval against the threshold, and the verdict in words. The figure of layers compares all
experiments of a study.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.figures.parts.look import (
    FAINT,
    INK,
    MARKERS,
    QUIET,
    finish,
    number_label,
    outside_legend,
    panel_grid,
    sequential_colors,
    themed,
)

_VERDICT_MARKERS = {"supported": ("o", INK), "not supported": ("X", INK), "inconclusive": ("o", "white")}
"""Marker and filling by verdict: a full circle holds, a cross does not, a hollow circle is open."""
_WIDTH, _ROW_HEIGHT, _LETTERS = 13.0, 0.92, 46
_COLUMNS = 3
_LINEAR = 3.0
"""Axes are linear up to so many margins, logarithmic beyond."""


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
    parts = [f"{counts[word]} {word}" for word in (*_VERDICT_MARKERS, "not run", "not applicable") if word in counts]
    return f"Claims: {', '.join(parts)}" if parts else "Claims: none judged"


def _row(ax: Axes, row: object) -> None:
    size = 0.82 * rcParams["font.size"]
    ax.yaxis.set_major_locator(NullLocator())
    ax.grid(visible=False)
    for side in ("left", "top", "right"):
        ax.spines[side].set_visible(False)
    statement = textwrap.fill(f"{row.claim}  {row.statement}", _LETTERS, max_lines=3, placeholder=" …")
    ax.text(-0.69, 0.5, statement, transform=ax.transAxes, fontsize=size, va="center", linespacing=1.15)
    verdict = row.verdict.upper() if row.verdict in _VERDICT_MARKERS else row.verdict
    words = f"{verdict}\n{_numbers(row)}" if np.isfinite(row.value) else verdict
    ax.text(1.03, 0.5, words, transform=ax.transAxes, fontsize=size, va="center", linespacing=1.15)
    if row.verdict not in _VERDICT_MARKERS or not np.isfinite(row.value):
        reason = textwrap.fill(row.reason, 62, max_lines=3, placeholder=" …")
        ax.text(0.5, 0.5, reason, transform=ax.transAxes, fontsize=size, color=QUIET, ha="center", va="center")
        ax.xaxis.set_major_locator(NullLocator())
        ax.spines["bottom"].set_visible(False)
        return
    _band(ax, row)
    marker, face = _VERDICT_MARKERS[row.verdict]
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


def plot_layer_changes(
    table: pd.DataFrame, style: FigureSettings, *, margin: float, confidence: float = 0.95
) -> Figure:
    """Δ_network against Δ_kernel in units of err_NTK before, a panel per predictor, a point per change of depth.

    Filled: single steps of depth; open: from the shallowest depth to deeper ones. Shaded: where the two differ by no
    more than the margin of C1.

    Args:
        table: `claims.layer_changes.layer_change_table`.
        style: look.
        margin: largest difference that counts as none.
        confidence: coverage of the whiskers.

    Returns:
        The figure.
    """
    predictors = list(dict.fromkeys(table["predictor"]))
    experiments = list(dict.fromkeys(table["experiment"]))
    colors = sequential_colors(max(len(experiments), 1), style)
    columns = max(min(_COLUMNS, len(predictors)), 1)
    with themed(style):
        figure, axes = panel_grid(max(-(-len(predictors) // columns), 1), columns, panel=(4.3, 4.1))
        for ax, predictor in zip(axes.ravel(), predictors, strict=False):
            steps = table[table["predictor"] == predictor]
            for number, row in enumerate(steps.itertuples()):
                place = experiments.index(row.experiment)
                _draw_step(ax, row, colors[place], MARKERS[place % len(MARKERS)], above=bool(number % 2))
            ax.set_title(predictor_label(predictor))
            ax.text(0.03, 0.97, _inside(steps, margin), transform=ax.transAxes, va="top", fontsize="small")
        for ax in axes.ravel()[len(predictors) :]:
            ax.remove()
        scales = _scales(axes.ravel()[: len(predictors)], table, margin)
        for place, ax in enumerate(axes.ravel()[: len(predictors)]):
            if place >= len(predictors) - columns:
                ax.set_xlabel(r"$\Delta_{\mathrm{predictor}}$ / err$_{\mathrm{NTK}}$ (pure number)")
                ax.tick_params(labelbottom=True)
        for row in axes:
            row[0].set_ylabel(r"$\Delta_{\mathrm{network}}$ / err$_{\mathrm{NTK}}$ (pure number)")
        handles = [
            Line2D([], [], color=color, marker=MARKERS[i % len(MARKERS)], linestyle="", label=name)
            for i, (name, color) in enumerate(zip(experiments, colors, strict=False))
        ]
        if table["cumulative"].any():
            handles.append(
                Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="", label="several layers")
            )
        outside_legend(figure, [*handles, Patch(color="#d0d0d0", label=f"within the margin of {margin:g}")])
        return finish(
            figure,
            "Adding layers: change of the network's error against that of each predictor",
            _finding(table, margin),
            "A filled point is a step from one depth to the next, an open one the change from the shallowest depth to "
            f"a deeper one; mean over draws, whiskers: {confidence:.0%} intervals of either change for new data. "
            f"Within or beyond the margin is where the whole interval of the paired difference lies.{scales}",
        )


def count_steps(steps: pd.DataFrame, margin: float) -> tuple[int, int, int]:
    """How many steps have the whole interval of their paired difference within the margin, beyond it, or neither."""
    low, high = steps["difference_low"], steps["difference_high"]
    within = int(((low >= -margin) & (high <= margin)).sum())
    beyond = int(((low > margin) | (high < -margin)).sum())
    return within, beyond, len(steps) - within - beyond


def _inside(changes: pd.DataFrame, margin: float) -> str:
    rank, parts = changes["rank_correlation"].iloc[0], []
    for name, rows in _kinds(changes):
        within, beyond, still_open = count_steps(rows, margin)
        parts += [f"{name}: {within} within, {beyond} beyond, {still_open} open"] if len(rows) else []
    return "\n".join(parts + ([f"rank correlation of steps {rank:.2f}"] if np.isfinite(rank) else []))


def _kinds(changes: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    cumulative = changes["cumulative"].astype(bool)
    return [("steps", changes[~cumulative]), ("several layers", changes[cumulative])]


def _draw_step(ax: Axes, row: object, color: str, marker: str, *, above: bool) -> None:
    if np.isfinite([row.network_low, row.network_high, row.kernel_low, row.kernel_high]).all():
        ax.vlines(row.kernel, row.network_low, row.network_high, color=color, linewidth=1.2, alpha=0.8)
        ax.hlines(row.network, row.kernel_low, row.kernel_high, color=color, linewidth=1.2, alpha=0.8)
    ax.plot(
        [row.kernel], [row.network], marker, color=color, markeredgecolor=color if row.cumulative else INK,
        markeredgewidth=1.4 if row.cumulative else 0.6, markersize=7 if row.cumulative else 8,
        markerfacecolor="white" if row.cumulative else color, gid=f"{row.experiment} {row.before}→{row.after}",
        zorder=4,
    )  # fmt: skip
    offset = (6, 4 if above else -10)
    ax.annotate(
        f"{row.before}→{row.after}", (row.kernel, row.network), xytext=offset, textcoords="offset points",
        fontsize="x-small",
    )  # fmt: skip


def _scales(axes: Sequence[Axes], table: pd.DataFrame, margin: float) -> str:
    """One scale for both axes of all panels, a logarithmic part for far points, and the margin; says so."""
    points = np.abs(table[["network", "kernel"]].to_numpy(dtype=float))
    most = np.nanmax(points) if points.size and np.isfinite(points).any() else 1.0
    limit = max(1.5 * most, 3.0 * margin)
    line = np.concatenate([-np.geomspace(limit, 1e-3, 200), np.geomspace(1e-3, limit, 200)])
    for ax in axes:
        ax.fill_between(line, line - margin, line + margin, color="#d0d0d0", linewidth=0, zorder=0.5, gid="margin")
        ax.plot(line, line, color=FAINT, linewidth=1.2, zorder=1)
        for zero in (ax.axhline, ax.axvline):
            zero(0.0, color=FAINT, linewidth=0.7, linestyle=(0, (3, 3)))
    linear = _LINEAR * margin
    far = limit > 8.0 * linear
    if len(axes) and far:
        axes[0].set_xscale("symlog", linthresh=linear, linscale=1.6)
        axes[0].set_yscale("symlog", linthresh=linear, linscale=1.6)
        decades = 10.0 ** np.arange(np.ceil(np.log10(linear)), np.floor(np.log10(limit)) + 1)
        near = np.array([linear, *decades])
        ticks = np.concatenate([-near[::-1], [0.0], near])
        for axis in (axes[0].xaxis, axes[0].yaxis):
            axis.set_ticks(ticks, [number_label(tick) for tick in ticks])
            axis.set_ticks([], minor=True)
    if len(axes):
        axes[0].set_xlim(-limit, limit)
        axes[0].set_ylim(-limit, limit)
    return f" Axes are linear to ±{linear:g}, logarithmic beyond." if far else ""


def _finding(table: pd.DataFrame, margin: float) -> str:
    changes = table[table["predictor"] == "infinite_ntk"]
    if changes.empty:
        return "No experiment has networks and their infinite NTK at two depths."
    (_, steps), (_, several) = _kinds(changes)
    within, beyond, still_open = count_steps(steps, margin)
    agree, differ = ((steps["signs"] == word).sum() for word in ("agree", "differ"))
    text = (
        f"Of {len(steps)} steps, networks and infinite NTK change alike in {within}, differently in {beyond}, "
        f"{still_open} are open. Signs agree in {agree} of the {agree + differ} where both changes exceed two standard "
        "errors."
    )
    if several.empty:
        return text
    within, beyond, still_open = count_steps(several, margin)
    counts = f"{within} are alike, {beyond} differ, {still_open} are open"
    return f"{text} Of {len(several)} changes by several layers, {counts}."
