"""Exponents of all settings, one above the other: widths of an experiment, its variants, and its kernels."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Scaling exponents with their intervals over draws, one line per setting and predictor, one panel per error: "
        "the kernels of the experiment, its networks, and the networks of its variants. The dotted line is the largest "
        "exponent of the kernel at initialization, which networks have to pass to gain more from data than their "
        "kernel."
    ),
    files=("scaling_laws",),
    of_variants=("scaling_laws",),
    by_default=lambda shown: shown.several("width"),
)

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import stand_ins_of
from ntk_atlas.figures.parts.look import FAINT, METRIC_LABELS, PredictorStyle, finish, predictor_styles, themed

_ENDS = ("", "_low", "_high", "_new_data_low", "_new_data_high")
_NONE = (np.nan,) * len(_ENDS)
_WORDS = {"depth": "depth {:g}", "width": "width {:g}", "init_scale": "σ² {:g}"}


@dataclass(frozen=True)
class ForestRow:
    """Exponents of one setting and predictor.

    Attributes:
        label: setting and predictor.
        predictor: name of the predictor.
        exponents: by test error (`mse`, `error`): exponent, ends of its interval over draws, ends for new data.
    """

    label: str
    predictor: str
    exponents: dict[str, tuple[float, ...]]


def forest_rows(laws: xr.Dataset, variants: tuple[xr.Dataset, ...]) -> list[ForestRow]:
    """The kernels of an experiment, then its networks, then those of its variants, by depth, width and init scale."""
    stand = stand_ins_of(laws)
    kernels = [str(name) for name in laws["predictor"].values if name != "network"]
    rows = [row for name in kernels for row in _rows(laws, name, predictor_label(name, stand))]
    for each in (laws, *variants):
        rows += _rows(each, "network", f"network: {each.attrs.get('setting', '')}".rstrip(": "))
    return rows


def plot_exponent_forest(laws: xr.Dataset, style: FigureSettings, *, variants: tuple[xr.Dataset, ...] = ()) -> Figure:
    """Exponent α of the pure law with its interval over draws, a line a setting and predictor, a panel an error.

    The dotted line is the largest exponent of the experiment's initial kernel: what networks have to pass.

    Args:
        laws: scaling laws of the experiment.
        style: look.
        variants: those of its variants.

    Returns:
        The figure.
    """
    rows = forest_rows(laws, variants)
    styles = predictor_styles([str(name) for name in laws["predictor"].values], style)
    confidence = laws.attrs.get("confidence", 0.95)
    metrics = list(rows[0].exponents)
    with themed(style):
        size = (7.0 + 3.0 * len(metrics), 0.36 * len(rows) + 1.9)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            for place, row in enumerate(rows):
                _draw(ax, place, row.exponents.get(metric, _NONE), styles[row.predictor], row.label)
            initial = [row.exponents.get(metric, _NONE)[0] for row in rows if row.predictor == "ntk_init"]
            if np.isfinite(initial).any():
                ax.axvline(np.nanmax(initial), color=FAINT, linestyle=(0, (1.2, 1.6)), linewidth=1.3, zorder=1)
            ax.set_xlabel(r"exponent $\alpha$ of err $= A\,n^{-\alpha}$ (pure number)")
            ax.set_title(METRIC_LABELS[metric])
        axes[0].set_yticks(range(len(rows)), [row.label for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        axes[0].set_ylabel("setting")
        return finish(
            figure,
            "Scaling exponents by setting",
            f"Whiskers: {confidence:.0%} t intervals, thick over draws of this data set, thin for new data of its "
            "kind; hollow: no interval. Dotted: the initial kernel.",
        )


def draw(laws: xr.Dataset, *rest: object) -> Figure:
    """The figure as experiments have it: laws of the experiment, those of its variants, and the look."""
    *variants, style = rest
    return plot_exponent_forest(laws, style, variants=tuple(variants))


def _rows(laws: xr.Dataset, predictor: str, label: str) -> list[ForestRow]:
    names = [f"exponent{end}" for end in _ENDS if f"exponent{end}" in laws]
    one, rows = laws.sel(predictor=predictor)[names], []
    if "metric" not in one.dims:
        one = one.expand_dims(metric=[laws.attrs.get("metric", "mse")])
    for dim in _WORDS:  # a kernel that does not depend on the width has one law at all of them
        if one.equals(one.isel({dim: [0] * one.sizes[dim]}).assign_coords({dim: one[dim]})):
            one = one.isel({dim: [0]})
    for place in np.ndindex(*(one.sizes[dim] for dim in _WORDS)):
        cell = one.isel(dict(zip(_WORDS, place, strict=True)))
        at = [text.format(float(cell[dim])) for dim, text in _WORDS.items() if one.sizes[dim] > 1]
        exponents = {
            str(metric): tuple(float(cell[name].sel(metric=metric)) for name in names)
            for metric in cell["metric"].values
        }
        rows.append(ForestRow(", ".join([label, *at]), predictor, exponents))
    return rows


def _draw(ax: Axes, place: int, exponent: tuple[float, ...], look: PredictorStyle, label: str) -> None:
    value, low, high, *new_data = exponent
    sure = bool(np.isfinite([low, high]).all())
    if not np.isfinite(value):
        ax.text(0.5, place, "no fit", transform=ax.get_yaxis_transform(), color=FAINT, ha="center", va="center")
        return
    if sure:
        ax.hlines(place, low, high, color=look.color, linewidth=1.8, gid=f"interval {label}")
    if new_data and np.isfinite(new_data).all():
        ax.hlines(place, *new_data, color=look.color, linewidth=0.7, gid=f"new data {label}")
    face = look.color if sure else "white"
    ax.plot([value], [place], look.marker, color=look.color, markerfacecolor=face, gid=f"exponent {label}")
