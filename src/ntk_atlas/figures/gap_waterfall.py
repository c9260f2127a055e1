"""The gap between networks and their infinite NTK, taken apart: a waterfall of errors, and distances as functions."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "From the error of the infinite NTK to that of the network, one term after the other: a finite width at "
        "initialization, finite time and the initial output, training beyond the linear regime. The bars add up "
        "exactly. Below, where predictions were kept, how far the same pairs are apart as functions; such distances do "
        "not add up."
    ),
    also=("functions",),
    possible=lambda shown: shown.has("ntk_init", "infinite_ntk"),
)

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.dictionary import GAP_TERMS, WHOLE_GAP, pair_name
from ntk_atlas.cubes.files import compared_ridge, experiment_settings, predictor_values
from ntk_atlas.figures.parts.curves import draw_interval
from ntk_atlas.figures.parts.look import (
    FAINT,
    INK,
    finish,
    panel_grid,
    predictor_styles,
    readable_subset,
    scale_label,
    themed,
)

_WORDS = {
    ("network", "linearized"): "training beyond\nthe linear regime",
    ("linearized", "ntk_init"): "finite time and\ninitial output",
    ("ntk_init", "infinite_ntk"): "a finite width\nat initialization",
    ("network", "ntk_init"): "training: time, steps,\nmoving kernel",
}
_RIDGES = {"zero": "ridge → 0", "tuned": "tuned ridge"}
_UP, _DOWN = "////", ""
"""Hatches: what a term adds is hatched, what it takes away is plain."""


def terms_of(cube: xr.Dataset) -> tuple[tuple[str, str], ...]:
    """The terms that lead from the infinite NTK to the network; two where no linearized networks were trained."""
    if "test_mse_linearized" in cube:
        return GAP_TERMS[::-1]
    return (("ntk_init", "infinite_ntk"), ("network", "ntk_init"))


def plot_gap_waterfall(
    cube: xr.Dataset,
    style: FigureSettings,
    *,
    ridge: str,
    functions: xr.Dataset | None = None,
    confidence: float = 0.95,
) -> Figure:
    """From the test MSE of the infinite NTK to that of the network, term by term; below, how far functions are apart.

    Columns are depths, at the largest width and n_train and the last init scale. Bars are means over draws and add up
    exactly; root mean square distances between predictions do not.

    Args:
        cube: a cube with networks, `ntk_init` and `infinite_ntk`.
        style: look.
        ridge: of the kernels.
        functions: the predictions, if they were kept.
        confidence: coverage of the whiskers.

    Returns:
        The figure.
    """
    place = {"n_train": -1, "width": -1, "init_scale": -1}
    selection = readable_subset(cube.isel(place), {"depth": 4})
    shown, terms = selection.cube, terms_of(cube)
    distances = None if functions is None else functions.isel(place).sel(depth=shown["depth"])
    with themed(style):
        colors = {name: look.color for name, look in predictor_styles(["network", "infinite_ntk"], style).items()}
        n_rows = 1 if distances is None else 2
        figure, axes = panel_grid(n_rows, shown.sizes["depth"], panel=(4.6, 3.1), sharex="row", sharey="row")
        for column, depth in enumerate(shown["depth"].values):
            here = shown.sel(depth=depth)
            axes[0, column].set_title(f"{depth} hidden layer{'s' if depth != 1 else ''}")
            _draw_waterfall(axes[0, column], here, terms, ridge, colors, confidence)
            axes[0, column].set_xlabel("test MSE (target²)")
            if distances is not None:
                _draw_distances(axes[1, column], distances.sel(depth=depth), terms, ridge, colors, confidence)
                axes[1, column].set_xlabel("RMS distance (target)")
        if distances is not None:
            axes[1, 0].set_xlim(left=0.0)
        return finish(
            figure,
            f"From the infinite NTK to the network, n = {shown['n_train'].item()}, width {shown['width'].item()}",
            _finding(shown.isel(depth=-1), terms, ridge, confidence),
            f"{scale_label(cube, cube['init_scale'].values[-1])}; kernels with {_RIDGES[ridge]}. Bars: means over "
            f"draws; whiskers: {confidence:.0%} t intervals over draws "
            "of this data set, of the differences themselves. "
            "Hatched adds error, plain takes it away."
            + (
                " Below: root mean square distance of predictions on test samples, geometric means."
                if distances is not None
                else ""
            ),
            selection.note,
        )


def draw(cube: xr.Dataset, *rest: object) -> Figure:
    """The figure as experiments have it: the cube, predictions if they were kept, and the look."""
    *functions, style = rest
    settings = experiment_settings(cube)
    return plot_gap_waterfall(
        cube,
        style,
        ridge=compared_ridge(settings),
        functions=functions[0] if functions else None,
        confidence=settings.scaling.confidence,
    )


def gap_interval(cube: xr.Dataset, pair: tuple[str, str], ridge: str, confidence: float) -> tuple[float, float, float]:
    """Mean over draws of err(first) − err(second) of one cell, with its t interval."""
    values = cube[f"gap_{pair_name(*pair)}"]
    values = values.sel(ridge=ridge) if "ridge" in values.dims else values
    return tuple(float(end) for end in draw_interval(values, logarithmic=False, confidence=confidence))


def _draw_waterfall(
    ax: Axes, here: xr.Dataset, terms: Sequence[tuple[str, str]], ridge: str, colors: dict[str, str], confidence: float
) -> None:
    start = draw_interval(predictor_values(here, "infinite_ntk", ridge=ridge), logarithmic=False, confidence=confidence)
    end = draw_interval(predictor_values(here, "network"), logarithmic=False, confidence=confidence)
    labels = ["infinite NTK", *[f"+ {_WORDS[pair]}" for pair in terms], "network"]
    _total(ax, 0, start, colors["infinite_ntk"])
    level = float(start[0])
    for place, pair in enumerate(terms, start=1):
        term, low, high = gap_interval(here, pair, ridge, confidence)
        ax.barh(
            place, term, left=level, height=0.62, color="#d9d9d9", edgecolor=INK, hatch=_UP if term > 0.0 else _DOWN,
            linewidth=0.9, gid=f"gap {pair_name(*pair)}",
        )  # fmt: skip
        ax.vlines(level, place - 1.31, place + 0.31, color=FAINT, linewidth=0.9, linestyle=(0, (3, 2)))
        _whisker(ax, place, level + low, level + high)
        level += term
        ax.annotate(
            _signed(term), (max(level, level - term, level - term + high), place), xytext=(5, 0), va="center",
            textcoords="offset points", fontsize="small",
        )  # fmt: skip
    ax.vlines(level, len(terms) - 0.31, len(terms) + 1.31, color=FAINT, linewidth=0.9, linestyle=(0, (3, 2)))
    _total(ax, len(terms) + 1, end, colors["network"])
    _category_axis(ax, labels)


def _draw_distances(
    ax: Axes, here: xr.Dataset, terms: Sequence[tuple[str, str]], ridge: str, colors: dict[str, str], confidence: float
) -> None:
    labels = []
    for place, pair in enumerate((*terms, WHOLE_GAP)):
        values = here[f"distance_{pair_name(*pair)}"]
        values = values.sel(ridge=ridge) if "ridge" in values.dims else values
        mean, low, high = (float(e) for e in draw_interval(values, logarithmic=True, confidence=confidence))
        whole = pair == WHOLE_GAP
        ax.barh(
            place, mean, height=0.62, color=colors["network"] if whole else "#d9d9d9", edgecolor=INK, linewidth=0.9,
            gid=f"distance {pair_name(*pair)}",
        )  # fmt: skip
        _whisker(ax, place, low, high)
        ax.annotate(
            f"{mean:.2g}", (np.nanmax([mean, high]), place), xytext=(5, 0), va="center", textcoords="offset points",
            fontsize="small",
        )  # fmt: skip
        labels.append("network to infinite NTK" if whole else _WORDS[pair])
    _category_axis(ax, labels)


def _total(ax: Axes, place: int, interval: Sequence[xr.DataArray], color: str) -> None:
    mean, low, high = (float(end) for end in interval)
    ax.barh(place, mean, height=0.62, color=color, gid=f"total {place}")
    _whisker(ax, place, low, high)
    ax.annotate(
        f"{mean:.2g}", (np.nanmax([mean, high]), place), xytext=(5, 0), va="center", textcoords="offset points",
        fontsize="small",
    )  # fmt: skip


def _whisker(ax: Axes, place: float, low: float, high: float) -> None:
    if np.isfinite([low, high]).all():
        ax.plot([low, high], [place, place], color="white", linewidth=3.4, solid_capstyle="butt", zorder=4)
        ax.plot([low, high], [place, place], color=INK, linewidth=1.6, marker="|", markersize=8, zorder=5)


def _category_axis(ax: Axes, labels: Sequence[str]) -> None:
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.axvline(0.0, color=FAINT, linewidth=1.0)
    ax.margins(x=0.18)


def _signed(value: float) -> str:
    """A term with its sign; what would need an exponent is called zero."""
    text = f"{value:+.2g}"
    return "≈ 0" if "e-" in text else text


def _finding(here: xr.Dataset, terms: Sequence[tuple[str, str]], ridge: str, confidence: float) -> str:
    whole, low, high = gap_interval(here, WHOLE_GAP, ridge, confidence)
    found = {pair: gap_interval(here, pair, ridge, confidence)[0] for pair in terms}
    largest = max(found, key=lambda pair: abs(found[pair]))
    words = _WORDS[largest].replace("\n", " ")
    return (
        f"At depth {int(here['depth'])} the network's error is {_signed(whole)} [{_signed(low)}, {_signed(high)}] from "
        f"that of its infinite NTK; the largest term is “{words}”, {_signed(found[largest])}."
    )
