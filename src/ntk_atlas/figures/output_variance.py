"""Variance of outputs over initializations: theory, linearized networks and trained networks along training."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Variance of the outputs over initializations along training: of trained networks, of the same networks "
        "linearized at their own initialization, and of theory at infinite width; below, the ratios. Theory is right "
        "where they are one."
    ),
    files=("output_variance",),
)

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.look import (
    DASHES,
    EPOCH_LABEL,
    INK,
    cell_panels,
    finish,
    log_ticks,
    mark_empty_panels,
    number_label,
    outside_legend,
    panel_grid,
    readable_subset,
    scale_label,
    select,
    sequential_colors,
    themed,
)


@dataclass(frozen=True)
class _Curve:
    """How the outputs of one source are drawn."""

    source: str
    label: str
    marker: str
    line_width: float


CURVES = (
    _Curve("infinite_ntk", "theory: infinite NTK and NNGP", "", 3.2),
    _Curve("linearized", "networks linearized at initialization", "s", 1.3),
    _Curve("network", "trained networks", "o", 1.7),
)


_THEORY = "#bdbdbd"  # broad and light, so that thin dark lines can lie on it


def draw(variance: xr.Dataset, style: FigureSettings) -> Figure:
    """Draws the variance averaged over probe samples, and under it its ratio to theory, against the epoch.

    Rows are depths, columns init scales; widths differ by dash. The first draw at the largest n_train is shown: every
    draw is a comparison of its own, with networks of its own.

    Args:
        variance: contents of `output_variance.nc`.
        style: the look.

    Returns:
        The figure.
    """
    whole = variance.isel(n_train=-1, draw=0)
    selection = readable_subset(whole, {"depth": 3, "init_scale": 3, "width": 3})
    shown = selection.cube
    epochs = shown["epoch"].values
    colors = dict(zip((curve.source for curve in CURVES), (_THEORY, *_two_colors(style)), strict=True))
    with themed(style):
        n_rows = shown.sizes["depth"]
        figure, axes = panel_grid(
            2 * n_rows,
            shown.sizes["init_scale"],
            panel=(4.4, 2.6),
            sharey=False,
            gridspec_kw={"height_ratios": [3, 2] * n_rows},
        )
        for ax, place in cell_panels(shown, axes[0::2]):
            _draw_variances(ax, shown, place, colors)
        for ax, place in cell_panels(shown, axes[1::2]):
            ax.set_title("")
            ax.axhline(1.0, color=_THEORY, linewidth=CURVES[0].line_width, zorder=1)
            _draw_ratios(ax, shown, place, colors)
        _set_scales(axes, epochs)
        mark_empty_panels(axes)
        for ax in axes[-1]:
            ax.set_xlabel(EPOCH_LABEL)
        for above, below in zip(axes[0::2, 0], axes[1::2, 0], strict=True):
            above.set_ylabel("output variance (target²)")
            below.set_ylabel("ratio to theory")
        outside_legend(figure, *_handles(shown, colors))
        return finish(figure, _finding(whole), _note(whole), selection.note)


def _draw_variances(ax: Axes, shown: xr.Dataset, place: Mapping, colors: Mapping[str, str]) -> None:
    for k, width in enumerate(shown["width"].values):
        here = select(shown, {**place, "width": width})
        theory = here["output_variance_infinite_ntk"].mean("probe")
        for curve in CURVES:
            values = here[f"output_variance_{curve.source}"].mean("probe")
            band = None
            if curve.source != "infinite_ntk":
                ratio = f"variance_ratio_{curve.source}_infinite_ntk"
                band = [(here[f"{ratio}_{end}"] * theory).values for end in ("low", "high")]
            _draw_curve(ax, here["epoch"].values, values.values, band, curve, colors[curve.source], DASHES[k])


def _draw_ratios(ax: Axes, shown: xr.Dataset, place: Mapping, colors: Mapping[str, str]) -> None:
    for k, width in enumerate(shown["width"].values):
        here = select(shown, {**place, "width": width})
        for curve in CURVES[1:]:
            ratio = f"variance_ratio_{curve.source}_infinite_ntk"
            band = [here[f"{ratio}_{end}"].values for end in ("low", "high")]
            _draw_curve(ax, here["epoch"].values, here[ratio].values, band, curve, colors[curve.source], DASHES[k])


def _draw_curve(
    ax: Axes, epochs: np.ndarray, values: np.ndarray, band: list | None, curve: _Curve, color: str, dash: object
) -> None:
    at = _axis_position(epochs)
    there = np.isfinite(values) & (values > 0.0)
    ax.plot(
        at[there], values[there], color=color, linestyle=dash, marker=curve.marker, linewidth=curve.line_width,
        markeredgecolor="white", markeredgewidth=0.5, zorder=2 if curve.source == "infinite_ntk" else 3,
    )  # fmt: skip
    if band is not None:
        low, high = band
        there &= ~(np.isnan(low) | np.isnan(high))
        if there.any():
            high = np.minimum(high, 1e3 * np.abs(values))  # far beyond the axis, which an infinite end has none on
            ax.fill_between(at[there], low[there], high[there], color=color, alpha=0.16, linewidth=0)


def _axis_position(epochs: np.ndarray) -> np.ndarray:
    """Epochs on a log axis; initialization stands a factor of two and a half before the first one."""
    later = epochs[epochs > 0]
    return np.where(epochs > 0, epochs, (later[0] if len(later) else 1.0) / 2.5).astype(np.float64)


def _set_scales(axes: np.ndarray, epochs: np.ndarray) -> None:
    at = _axis_position(epochs)
    first = axes[0, 0]
    first.set_xscale("log")
    first.set_xlim(at[0] / 1.3, at[-1] * 1.3)
    later = at[epochs > 0]
    if len(later) > 1:
        log_ticks(first.xaxis, (later[0], later[-1]), most=6)
    ticks = [tick for tick in first.get_xticks() if tick >= (later[0] if len(later) else 1.0)]
    first.set_xticks([at[0], *ticks], ["0", *[number_label(tick) for tick in ticks]])
    for i in range(0, len(axes), 2):
        for row, floor in ((axes[i], None), (axes[i + 1], 1.0)):
            _shared_log_axis(row, floor)


def _shared_log_axis(row: np.ndarray, around: float | None) -> None:
    """One log axis for a row of panels, wide enough for its lines; bands may leave it."""
    values = np.concatenate([line.get_ydata() for ax in row for line in ax.lines] or [np.array([])])
    values = values[np.isfinite(values) & (values > 0.0)]
    low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
    if around is not None:
        low, high = min(low, around / 1.6), max(high, around * 1.6)
    limits = (low / 1.35, high * 1.35)
    for j, ax in enumerate(row):
        ax.set_yscale("log")
        ax.set_ylim(limits)
        log_ticks(ax.yaxis, limits, most=5)
        if j:
            ax.tick_params(labelleft=False)


def _two_colors(style: FigureSettings) -> tuple[str, str]:
    """Middle term and measurement: two shades that differ in lightness too."""
    dark, _, light = sequential_colors(3, style)
    return light, dark


def _handles(shown: xr.Dataset, colors: Mapping[str, str]) -> tuple[list[Line2D], ...]:
    sources = [
        Line2D([], [], color=colors[c.source], marker=c.marker, linewidth=c.line_width, label=c.label) for c in CURVES
    ]
    widths = [
        Line2D([], [], color=INK, linestyle=dash, label=f"width {width}")
        for width, dash in zip(shown["width"].values, DASHES, strict=False)
    ]
    return (sources, widths) if len(widths) > 1 else (sources,)


def _finding(whole: xr.Dataset) -> str:
    """One line: the smallest and the largest ratio of measured to predicted variance at the end of training."""
    name = "variance_ratio_network_infinite_ntk"
    # Trainings of one n_train end at one epoch: the last at which there is a ratio.
    final = whole[name].dropna("epoch", how="all")
    if not final.sizes["epoch"]:
        return "No network was left to measure a variance of"
    final = final.isel(epoch=-1).stack(cell=("depth", "width", "init_scale")).dropna("cell")
    texts = []
    for place in (final.argmin("cell"), final.argmax("cell")):
        cell = final.isel(cell=place)
        width = f"width {cell['width'].item()}" if whole.sizes["width"] > 1 else ""
        scale = scale_label(whole, cell["init_scale"].item()).replace(" ", "\N{NO-BREAK SPACE}")
        parts = (f"depth {cell['depth'].item()}", width, scale)
        texts.append(f"{cell.item():.3g} at {', '.join(part for part in parts if part)}")
    one = final.sizes["cell"] == 1
    return f"Output variance after training, measured over predicted: {texts[0] if one else ' to '.join(texts)}"


def _note(whole: xr.Dataset) -> str:
    n_seeds, confidence = whole.attrs["n_seeds"], whole.attrs["confidence"]
    fewest = {name: int(whole[name].min()) for name in ("n_networks", "n_linearized")}
    lost = [
        f"{n_seeds - fewest[name]} {what} of a panel"
        for name, what in (("n_networks", "networks"), ("n_linearized", "linearizations"))
        if fewest[name] < n_seeds
    ]
    return (
        f"Variance over {n_seeds} networks, mean over test samples, n = {whole['n_train'].item()}; epoch 0 is "
        f"initialization. Bands: {confidence:.0%} bootstrap-t intervals over networks."
        + (f" Diverged and left out at all epochs: up to {' and '.join(lost)}." if lost else "")
    )
