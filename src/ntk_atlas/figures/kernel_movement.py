"""How far kernels have moved, at the end of training and at equal training error, against depth and width."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "How far the kernel moves in training against depth, at the last epoch and at equal training error, and "
        "against the width at fixed λ. NTK theory holds where it stays near zero."
    ),
    by_default=lambda shown: shown.several("depth") or shown.several("width"),
)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.arrays import NOT_TRAINED, Status
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import movement_settings, scaling_settings
from ntk_atlas.figures.parts.curves import at_last_checkpoint, replicate_interval, zeros_note
from ntk_atlas.figures.parts.look import (
    INK,
    LONGER,
    MARKERS,
    QUIET,
    finish,
    hold_to_lines,
    letter_scale,
    log_y_axis,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    probe_note,
    readable_subset,
    scale_label,
    scale_names,
    select,
    sequential_colors,
    themed,
    value_ticks,
)

DRIFT_LABEL = "relative drift (pure number)\n" + r"$\Vert\Theta_t - \Theta_0\Vert_F\ /\ \Vert\Theta_0\Vert_F$"
MAX_PANELS = 3
NOT_THERE = "–"


@dataclass(frozen=True)
class _Moment:
    """When the movement is measured."""

    name: str
    label: str
    dash: str | tuple
    filled: bool


END = _Moment("end", "end of training", "-", True)
EQUAL_LOSS = _Moment("equal loss", "equal training error", (0, (4, 1.6)), False)


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """Relative drift ‖Θ_t − Θ_0‖_F / ‖Θ_0‖_F of the probe kernel, at the largest n_train, on a log axis.

    First row: against depth, a panel a width. Second row: against width at fixed λ = (depth + 1)/width, a panel for
    each λ that occurs at two widths or more. Colours are init scales; filled markers are the end of training, open ones
    the first checkpoint at the training error `movement.equal_loss`. Networks that diverged are in neither mean; beside
    an open marker stands how many networks got there, if not all did.

    Args:
        cube: a cube.
        style: the look.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"init_scale": 4})
    shown = selection.cube
    moments = movements(shown)
    confidence = scaling_settings(cube).confidence
    intervals = {
        moment: replicate_interval(v, logarithmic=True, confidence=confidence) for moment, v in moments.items()
    }
    over = intervals[END][1]
    widths, ratios = _spread(shown["width"].values), _spread(repeated_ratios(shown))
    rows = [_against_depth(shown, widths)] + ([_against_width(shown, ratios)] if len(ratios) else [])
    with themed(style):
        n_columns = max(len(row) for row in rows)
        height = (3.5 if len(rows) > 1 else 4.6) * letter_scale()  # the notes take as much of one row as of two
        figure, axes = panel_grid(len(rows), n_columns, panel=(4.4, height), sharex=False, sharey=True)
        for row, places in zip(axes, rows, strict=True):
            for ax, (title, x, cells) in zip(row, places, strict=False):
                ax.set_title(title)
                _draw_panel(ax, x, cells, shown, moments, intervals, style)
                ax.set_xlabel("depth (hidden layers)" if places is rows[0] else "width (units a hidden layer)")
            row[0].set_ylabel(DRIFT_LABEL)
            for ax in row[len(places) :]:
                ax.remove()
        used = np.array([ax for row, places in zip(axes, rows, strict=True) for ax in row[: len(places)]])
        used[0].set_yscale("log")
        cut = hold_to_lines(used)
        log_y_axis(used[:, None])
        mark_empty_panels(used)
        outside_legend(figure, *_handles(shown, style))
        share = movement_settings(cube).equal_loss
        return finish(
            figure,
            _finding(shown, moments, intervals),
            f"n = {shown['n_train'].item()}. Geometric means over networks that did not diverge; whiskers: "
            f"{confidence:.0%} t interval over {over}. Equal training error: first checkpoint with train MSE at most "
            f"{share:g} × that of predicting zero; a/b: a of b networks got there.",
            probe_note(cube),
            zeros_note(moments[END]),
            LONGER if cut else "",
            "Second row: fixed λ = (depth + 1)/width."
            if len(ratios)
            else "No λ = (depth + 1)/width occurs at two widths.",
            _left_out_note(shown, widths, ratios),
            selection.note,
        )


def movements(cube: xr.Dataset) -> dict[_Moment, xr.DataArray]:
    """Returns the drift of each network at the end of training (NaN if it diverged) and at equal training error."""
    end = at_last_checkpoint(cube["kernel_drift"]).where(cube["status"] != int(Status.DIVERGED))
    return {END: end, EQUAL_LOSS: cube["kernel_drift_at_equal_loss"]}


def repeated_ratios(cube: xr.Dataset) -> np.ndarray:
    """Returns the values of λ = (depth + 1)/width that occur at two widths or more, ascending."""
    values, counts = np.unique(np.round(_ratios(cube), 12), return_counts=True)
    return values[counts > 1]  # within one width, each depth has a λ of its own


def _ratios(cube: xr.Dataset) -> np.ndarray:
    return (cube["depth"].values[:, None] + 1.0) / cube["width"].values[None, :]


def _spread(values: np.ndarray) -> np.ndarray:
    """No more values than there are panels, first and last among them."""
    return values[np.unique(np.round(np.linspace(0, len(values) - 1, min(len(values), MAX_PANELS))).astype(int))]


_Panel = tuple[str, np.ndarray, list[Mapping[str, int]]]
"""Title, x values, and the cell of each."""


def _against_depth(shown: xr.Dataset, widths: np.ndarray) -> list[_Panel]:
    depths = shown["depth"].values
    return [(f"width {width}", depths, [{"depth": depth, "width": width} for depth in depths]) for width in widths]


def _against_width(shown: xr.Dataset, ratios: np.ndarray) -> list[_Panel]:
    panels = []
    for ratio in ratios:
        places = np.argwhere(np.isclose(_ratios(shown), ratio, rtol=1e-9).T)
        cells = [{"depth": shown["depth"].values[i], "width": shown["width"].values[j]} for j, i in places]
        title = rf"$\lambda$ = {ratio:.3g}"
        panels.append((title, np.array([cell["width"] for cell in cells]), cells))
    return panels


def _draw_panel(
    ax: Axes,
    x: np.ndarray,
    cells: Sequence[Mapping[str, int]],
    shown: xr.Dataset,
    moments: Mapping[_Moment, xr.DataArray],
    intervals: Mapping[_Moment, tuple],
    style: FigureSettings,
) -> None:
    colors = sequential_colors(shown.sizes["init_scale"], style)
    # A depth of 0 has no place on a log axis.
    logarithmic = len(x) > 1 and x.min() > 0
    if logarithmic:
        ax.set_xscale("log")
        value_ticks(ax.xaxis, x)
        ax.set_xlim(x.min() / 1.25, x.max() * 1.25)
    else:
        ax.set_xticks(x)
    shifts = np.linspace(-1.0, 1.0, 2 * len(colors)) if len(colors) > 1 else np.array([-1.0, 1.0])
    for j, init_scale in enumerate(shown["init_scale"].values):
        for moment, shift in zip((END, EQUAL_LOSS), shifts[2 * j : 2 * j + 2], strict=True):
            at = x * (1.0 + 0.04 * shift) if logarithmic else x + 0.03 * shift * max(np.ptp(x), 1.0)
            curve = [
                np.array([select(part, {**cell, "init_scale": init_scale}).item() for cell in cells])
                for part in intervals[moment][0]
            ]
            _draw_line(ax, at, curve, colors[j], MARKERS[j], moment, f"{moment.name} {init_scale:g}")
            if moment is EQUAL_LOSS:
                counts = [_counts(shown, moments, {**cell, "init_scale": init_scale}) for cell in cells]
                _write_counts(ax, at, curve[0], counts)


def _draw_line(
    ax: Axes, x: np.ndarray, curve: Sequence[np.ndarray], color: str, marker: str, moment: _Moment, gid: str
) -> None:
    mean, low, high = curve
    there = np.isfinite(mean)
    face = color if moment.filled else "white"
    ax.plot(
        x[there], mean[there], color=color, marker=marker, linestyle=moment.dash, gid=gid,
        markerfacecolor=face, markeredgecolor=color, zorder=3,
    )  # fmt: skip
    there = np.isfinite(low) & np.isfinite(high)
    ax.vlines(x[there], low[there], high[there], color=color, linewidth=1.2, zorder=2)


def _counts(shown: xr.Dataset, moments: Mapping[_Moment, xr.DataArray], place: Mapping) -> tuple[int, int]:
    """How many networks got to the equal training error, of those that are there."""
    there = int((~select(shown["status"], place).isin(NOT_TRAINED)).sum())
    return int(np.isfinite(select(moments[EQUAL_LOSS], place)).sum()), there


def _write_counts(ax: Axes, x: np.ndarray, mean: np.ndarray, counts: Sequence[tuple[int, int]]) -> None:
    for at, value, (reached, there) in zip(x, mean, counts, strict=True):
        if np.isfinite(value) and reached < there:
            ax.annotate(
                f"{reached}/{there}", (at, value), xytext=(4, -9), textcoords="offset points", color=QUIET,
                fontsize="x-small", zorder=4,
            )  # fmt: skip


def _finding(shown: xr.Dataset, moments: Mapping[_Moment, xr.DataArray], intervals: Mapping[_Moment, tuple]) -> str:
    """The drift of each phase at the greatest depth and width, at both moments."""
    place = {"depth": shown["depth"].values[-1], "width": shown["width"].values[-1]}
    end, equal = (
        [
            _number(mean, select(moments[moment], {**place, "init_scale": scale}))
            for mean, scale in zip(
                select(intervals[moment][0][0], place).values, shown["init_scale"].values, strict=True
            )
        ]
        for moment in (END, EQUAL_LOSS)
    )
    names = scale_names(shown)
    there = [f"{name}: {value}" for name, value in zip(names, equal, strict=True) if value != NOT_THERE]
    at_equal = f"{', '.join(there)} at equal training error" if there else "none got to the equal training error"
    if there and len(there) < len(names):
        at_equal += (
            f", which no {' or '.join(n for n, v in zip(names, equal, strict=True) if v == NOT_THERE)} network got to"
        )
    trained = [f"{name}: {value}" for name, value in zip(names, end, strict=True) if value != NOT_THERE]
    at_end = f"{', '.join(trained)} at the end of training" if trained else "no network was trained to the end"
    if trained and len(trained) < len(names):
        lost = " or ".join(name for name, value in zip(names, end, strict=True) if value == NOT_THERE)
        at_end += f" (of {lost} none was trained to the end)"
    return f"Kernel drift at depth {place['depth']}, width {place['width']}: {at_end}; {at_equal}"


def _number(mean: float, values: xr.DataArray) -> str:
    """A geometric mean; 0 where the kernels of all networks stay what they are, as those of linear networks do."""
    if np.isfinite(mean):
        return f"{mean:.2g}"
    return "0" if (values == 0.0).any() else NOT_THERE


def _left_out_note(shown: xr.Dataset, widths: np.ndarray, ratios: np.ndarray) -> str:
    parts = []
    if len(widths) < shown.sizes["width"]:
        parts.append(f"{len(widths)} of {shown.sizes['width']} widths in the first row")
    if len(ratios) < len(repeated_ratios(shown)):
        parts.append(f"{len(ratios)} of {len(repeated_ratios(shown))} values of λ in the second")
    return f"Shown: {', '.join(parts)}." if parts else ""


def _handles(shown: xr.Dataset, style: FigureSettings) -> tuple[list[Line2D], list[Line2D]]:
    colors = sequential_colors(shown.sizes["init_scale"], style)
    scales = [
        Line2D([], [], color=color, marker=marker, label=scale_label(shown, init_scale))
        for init_scale, color, marker in zip(shown["init_scale"].values, colors, MARKERS, strict=False)
    ]
    moments = [
        Line2D(
            [], [], color=INK, linestyle=moment.dash, marker="o",
            markerfacecolor=INK if moment.filled else "white", label=moment.label,
        )
        for moment in (END, EQUAL_LOSS)
    ]  # fmt: skip
    return scales, moments
