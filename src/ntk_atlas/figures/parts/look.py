"""The look that all figures share: theme, one fixed style per predictor, grids of panels with ticks and notices.

Files have bytes that can be reproduced.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import seaborn
import xarray as xr
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ntk_atlas.arrays import whole_file
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import AROUND, PRETRAINED
from ntk_atlas.kernels.rivals import RIVALS

INK = "#1a1a1a"
QUIET = "#555555"
"""Grey of small print."""
FAINT = "#8c8c8c"
"""Grey of what is there but does not count: guide lines, exponents that are not identifiable."""

DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
"""Dashes that stay distinct at the width of a thin line, for axes such as the width."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_PREDICTORS = {
    # name: (place in a list of ten colours, marker, dash); the network is black
    "network": (None, "o", "-"),
    "linearized": (6, "d", (0, (10, 1.5))),
    "ntk_init": (0, "s", (0, (5, 1.6))),
    "ntk_final": (3, "D", (0, (6, 1.5, 1.2, 1.5))),
    "ntk_epochs": (3, "p", (0, (4, 1.2, 1.2, 1.2))),
    "infinite_ntk": (2, "^", (0, (3, 1.2))),
    "nngp": (1, "v", (0, (1.2, 1.2))),
    "stand_in_ntk": (5, "H", (0, (2, 1, 5, 1))),
    "ntk_with_bias": (2, "1", (0, (3, 1))),
    "ntk_without_bias": (2, "2", (0, (3, 3))),
    "standard_with_bias": (0, "1", (0, (3, 1))),
    "standard_without_bias": (0, "2", (0, (3, 3))),
    "c1_with_bias": (9, "1", (0, (3, 1))),
    "c1_without_bias": (9, "2", (0, (3, 3))),
    "last_layer_with_bias": (1, "1", (0, (3, 1))),
    "last_layer_without_bias": (1, "2", (0, (3, 3))),
}
_UNNAMED_PLACES = (8, 6, 4, 9, 5, 1, 7, 2, 3, 0)
_UNNAMED_MARKERS = ("h", "8", ">", "<", "p", "H", "d")
_UNNAMED_DASHES = ((0, (5, 2, 1, 2, 1, 2)), (0, (2, 1.5)), (0, (7, 1)), (0, (3, 2, 1, 2)), (0, (1, 1.8)))
"""Of predictors that the table above does not name, e.g. kernels of the user's own. The numbers of places, markers and
dashes share no factor but that of places and dashes: no two of the first 70 look alike."""
_CHECKPOINT_MARKERS = ("p", "h", ">", "d", "H")
_CHECKPOINT_DASHES = ((0, (6, 1, 2, 1)), (0, (9, 2, 1, 2)), (0, (1, 1, 3, 1)))
MAX_WIDTH = 14.0
"""Inches; wider figures have letters too small to read in a report."""
_PLURALS = {"depth": "depths", "width": "widths", "init_scale": "init scales"}
_TICK_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0))
_notes: ContextVar[tuple[str, ...]] = ContextVar("notes of all figures", default=())
N_TRAIN_LABEL = "training samples $n$"
EPOCH_LABEL = "training time (epochs)"
METRIC_LABELS = {"mse": "test MSE (target²)", "error": "test error (share of wrong classes)"}


@dataclass(frozen=True)
class PredictorStyle:
    """How one predictor is drawn in every figure; colour, marker and dash each suffice to tell it apart."""

    color: str
    marker: str
    dash: str | tuple
    line_width: float

    @property
    def marker_scale(self) -> float:
        """Factor on the marker's size that makes all markers look equally large."""
        return {"D": 0.82, "d": 0.95, "s": 0.92, "*": 1.35, "P": 1.15, "X": 1.1}.get(self.marker, 1.0)


def theme(style: FigureSettings) -> dict[str, object]:
    """Returns the matplotlib parameters of a figure, whatever the session's own are."""
    context = seaborn.plotting_context(style.context)
    small = context["xtick.labelsize"]
    parameters = dict(matplotlib.rcParamsDefault) | seaborn.axes_style("whitegrid") | context
    parameters = {name: value for name, value in parameters.items() if name not in {"backend", "interactive"}}
    return parameters | {
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
        "mathtext.fontset": "dejavusans",
        "axes.edgecolor": "#b0b0b0",
        "axes.labelcolor": INK,
        "axes.linewidth": 0.9,
        "axes.titlesize": context["axes.titlesize"],
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "figure.titlesize": context["axes.labelsize"] * 1.2,
        "figure.titleweight": "bold",
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": small,
        "legend.handlelength": 3.2,
        "lines.linewidth": 1.5,
        "lines.markersize": small * 0.56,
        "svg.fonttype": "path",
        "svg.hashsalt": "ntk-atlas",
        "text.color": INK,
    }


@contextmanager
def themed(style: FigureSettings) -> Iterator[None]:
    """Draws what is inside with the project's theme, and leaves the session's parameters as they were."""
    with matplotlib.rc_context(theme(style)):
        yield


def predictor_styles(predictors: Sequence[str], style: FigureSettings) -> dict[str, PredictorStyle]:
    """Returns the style of each predictor: fixed by its name; checkpoints shade from `ntk_init` to `ntk_final`.

    Predictors without a style of their own, e.g. kernels of the user, take one each in the order of their names.
    """
    bare = {name.removesuffix(AROUND) for name in predictors}
    rivals = {name: RIVALS.get(name).look for name in bare if name in RIVALS}
    looks = _PREDICTORS | {name: look for name, look in rivals.items() if look is not None}
    order = [*_PREDICTORS, *RIVALS.names()]
    of_ten = style.palette in {"colorblind", "deep"}
    palette = seaborn.color_palette(style.palette, 10 if of_ten else len(order))
    colors = {
        name: INK if place is None else to_hex(palette[place if of_ten else order.index(name)])
        for name, (place, _, _) in looks.items()
    }
    styles = {
        name: PredictorStyle(colors[name], marker, dash, 2.0 if name == "network" else 1.3)
        for name, (_, marker, dash) in looks.items()
    }
    epochs = sorted(int(name.removeprefix("ntk_epoch_")) for name in bare if name.startswith("ntk_epoch_"))
    shades = seaborn.blend_palette([colors["ntk_init"], colors["ntk_final"]], len(epochs) + 2)[1:-1]
    for i, (epoch, shade) in enumerate(zip(epochs, shades, strict=True)):
        marker = _CHECKPOINT_MARKERS[i % len(_CHECKPOINT_MARKERS)]
        dash = _CHECKPOINT_DASHES[i % len(_CHECKPOINT_DASHES)]
        styles[f"ntk_epoch_{epoch}"] = PredictorStyle(to_hex(shade), marker, dash, 1.3)
    styles |= _pretrained_styles(predictors, colors)
    for i, name in enumerate(sorted(bare - styles.keys())):
        marker, dash = _UNNAMED_MARKERS[i % len(_UNNAMED_MARKERS)], _UNNAMED_DASHES[i % len(_UNNAMED_DASHES)]
        color = palette[_UNNAMED_PLACES[i % len(_UNNAMED_PLACES)] % len(palette)]
        styles[name] = PredictorStyle(to_hex(color), marker, dash, 1.3)
    return {name: _around(styles, name) for name in predictors}


def _pretrained_styles(predictors: Sequence[str], colors: dict[str, str]) -> dict[str, PredictorStyle]:
    """Kernels trained on m samples shade from `ntk_init` to `ntk_final`, as checkpoints do, with other markers."""
    bare = {name.removesuffix(AROUND) for name in predictors}
    sizes = sorted(int(name.removeprefix(PRETRAINED)) for name in bare if name.startswith(PRETRAINED))
    shades = seaborn.blend_palette([colors["ntk_init"], colors["ntk_final"]], len(sizes) + 2)[1:-1]
    return {
        f"{PRETRAINED}{m}": PredictorStyle(
            to_hex(shade), _CHECKPOINT_MARKERS[::-1][i % 5], _CHECKPOINT_DASHES[::-1][i % 3], 1.3
        )
        for i, (m, shade) in enumerate(zip(sizes, shades, strict=True))
    }


def _around(styles: dict[str, PredictorStyle], name: str) -> PredictorStyle:
    """A kernel around the network looks like the one around zero, drawn thin."""
    if not name.endswith(AROUND):
        return styles[name]
    zero = styles[name.removesuffix(AROUND)]
    return PredictorStyle(zero.color, {"s": "1", "D": "2"}.get(zero.marker, "x"), (0, (1, 2.4)), 0.9)


def sequential_colors(count: int, style: FigureSettings) -> list[str]:
    """Returns colours of an ordered axis, dark to light, that differ in lightness too."""
    name = "cividis" if style.palette == "cividis" else "viridis"
    return [to_hex(color) for color in seaborn.color_palette(name, count)]


def color_map(style: FigureSettings) -> str:
    """Returns the name of the colour map of heat maps: small values are light."""
    return "cividis_r" if style.palette == "cividis" else "viridis_r"


def freeze_layout(figure: Figure) -> Figure:
    """Lays the figure out once and for all, so that every file of it has the same layout."""
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
    return figure


def save_figure(figure: Figure, svg: Path, png: Path, dpi: int) -> None:
    """Writes a figure as SVG and PNG; the same figure gives the same bytes, and no file is ever half written.

    Args:
        figure: what a `plot_*` function returned.
        svg: vector file; its letters are paths and need no font.
        png: pixel twin.
        dpi: resolution of the twin.
    """
    deterministic = {"svg.hashsalt": "ntk-atlas", "svg.fonttype": "path", "font.sans-serif": ["DejaVu Sans"]}
    with matplotlib.rc_context(deterministic):
        freeze_layout(figure)
        for path, kind, metadata in ((svg, "svg", {"Date": None, "Creator": None}), (png, "png", {"Software": None})):
            with whole_file(Path(path)) as temporary:
                figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)


@dataclass(frozen=True)
class Selection:
    """The cells that a figure shows, and a sentence on those it leaves out."""

    cube: xr.Dataset
    note: str


def readable_subset(cube: xr.Dataset, limits: Mapping[str, int]) -> Selection:
    """Returns the cube at no more than `limits[dim]` values of each dimension, first and last among them."""
    chosen, notes = {}, []
    for dim, limit in limits.items():
        size = cube.sizes[dim]
        if size > limit:
            chosen[dim] = np.unique(np.round(np.linspace(0, size - 1, limit)).astype(int))
            notes.append(f"{len(chosen[dim])} of {size} {_PLURALS[dim]}")
    note = f"Shown: {', '.join(notes)}, from first to last." if notes else ""
    return Selection(cube.isel(chosen), note)


def select(values: xr.DataArray | xr.Dataset, place: Mapping[str, object]) -> xr.DataArray | xr.Dataset:
    """Returns the values at `place`, along those of its dimensions that they have."""
    return values.sel({dim: label for dim, label in place.items() if dim in values.dims})


def scale_label(cube: xr.Dataset, init_scale: float) -> str:
    """Returns an init scale with its phase, where that is known."""
    phase = str(cube["phase"].sel(init_scale=init_scale).item()) if "phase" in cube.coords else "unknown"
    return rf"$\sigma_w^2$ = {init_scale:g}" + ("" if phase == "unknown" else f" ({phase})")


def scale_names(cube: xr.Dataset) -> list[str]:
    """Returns a short name for each init scale, without formulas: its phase, if no two share one."""
    phases = [str(phase) for phase in cube["phase"].values] if "phase" in cube.coords else ["unknown"]
    if len(set(phases)) == cube.sizes["init_scale"] and "unknown" not in phases:
        return phases
    return [f"σ²={init_scale:g}" for init_scale in cube["init_scale"].values]


def letter_scale() -> float:
    """Returns the factor by which panels have to grow with the letters of the current theme."""
    return max(1.0, rcParams["font.size"] / 12.0)


_LEGEND_LINES, _LEGEND_SPACING = 2, 1.7
"""Lines of a legend that a figure has room for, and their distance in font sizes."""


def panel_grid(
    n_rows: int, n_columns: int, *, panel: tuple[float, float], **sharing: object
) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its axes `(n_rows, n_columns)`.

    Args:
        n_rows: rows of panels.
        n_columns: columns of panels.
        panel: width and height in inches that a panel would like; it gets less if the figure grew too wide.
        **sharing: `sharex`, `sharey` of `Figure.subplots`; both are shared by default.
    """
    width = min(max(panel[0] * n_columns + 1.0, 8.0), MAX_WIDTH)
    figure = Figure(figsize=(width, panel[1] * n_rows + 1.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, **({"sharex": True, "sharey": True} | sharing))
    return figure, axes


def cell_panels(cube: xr.Dataset, axes: np.ndarray) -> Iterator[tuple[Axes, dict[str, object]]]:
    """Gives each (depth, init_scale) its titled panel: depths are rows, init scales columns."""
    for i, depth in enumerate(cube["depth"].values):
        for j, init_scale in enumerate(cube["init_scale"].values):
            axes[i, j].set_title(f"depth {depth}, {scale_label(cube, init_scale)}")
            yield axes[i, j], {"depth": depth, "init_scale": init_scale}


def label_outer_axes(axes: np.ndarray, *, x: str, y: str) -> None:
    """Labels the bottom and left panels, whose scales the others share."""
    for ax in axes[-1]:
        ax.set_xlabel(x)
    for ax in axes[:, 0]:
        ax.set_ylabel(y)


def finish(figure: Figure, title: str, *notes: str) -> Figure:
    """Sets the title and, in smaller letters under it, what the reader has to know; then fixes the layout."""
    size = rcParams["font.size"]
    letters = figure.get_figwidth() * 72.0 / (0.53 * size)
    notes = (*notes, *_notes.get())
    lines = [line for note in notes if note for line in textwrap.wrap(note, int(letters), break_on_hyphens=False)]
    # No line ends before or after an equals sign.
    unbroken = title.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    heading = textwrap.fill(unbroken, int(letters * 0.62), break_on_hyphens=False).replace("\N{NO-BREAK SPACE}", " ")
    suptitle = figure.suptitle(heading + "\n" * len(lines), x=0.012, ha="left", linespacing=1.2)
    FigureCanvasAgg(figure)  # not before: seaborn draws the whole figure at every heat map if it can
    freeze_layout(figure)
    if lines:
        bottom = suptitle.get_window_extent().transformed(figure.transFigure.inverted()).y0
        figure.text(0.012, bottom, "\n".join(lines), fontsize=size * 0.95, color=QUIET, va="bottom", linespacing=1.3)
    return figure


def probe_note(cube: xr.Dataset) -> str:
    """Whose kernel is shown, for the notes of a figure; empty where the cube does not say."""
    samples = str(cube.attrs.get("kernel_probe", "")).partition(" and ")[0]
    return f"Kernel of the {samples}." if samples else ""


def outside_legend(figure: Figure, *groups: Sequence[Artist]) -> None:
    """Puts one legend under the panels: each group a row of its own, one group in as many rows as it needs.

    The figure grows by the lines that `panel_grid` has left no room for.
    """
    handles = [handle for group in groups for handle in group]
    if not handles:
        return
    size = rcParams["legend.fontsize"]
    longest = max(len(re.sub(r"\\[a-z]+|[$_^{}]", "", handle.get_label())) for handle in handles)
    entry = longest * 0.56 * size + (rcParams["legend.handlelength"] + 2.8) * size
    fitting = max(1, int(figure.get_figwidth() * 72.0 / entry))
    columns = max(len(group) for group in groups)
    if len(groups) > 1 and columns <= fitting:
        blank = Line2D([], [], linestyle="", label=" ")
        rows = [[*group, *[blank] * (columns - len(group))] for group in groups]
        handles = [row[i] for i in range(columns) for row in rows]  # a legend is filled column by column
    else:
        columns = -(-len(handles) // -(-len(handles) // fitting))
    lines = -(-len(handles) // columns)
    # A long legend must not take its room from the panels.
    taller = max(0, lines - _LEGEND_LINES) * _LEGEND_SPACING * size / 72.0
    figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + taller)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def number_label(value: float, _position: object = None) -> str:
    """Returns a number as plain digits, or as a power of ten where digits would be many."""
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    digits = value / 10.0**exponent
    return rf"$10^{{{exponent}}}$" if abs(digits - 1.0) < 1e-6 else rf"${digits:g}\cdot 10^{{{exponent}}}$"


def log_ticks(axis: Axis, limits: tuple[float, float], *, most: int = 7) -> None:
    """Places round ticks on a log axis: decades if there are enough of them, steps between them if not, else finer."""
    low, high = limits
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in _TICK_STEPS:
        ticks = np.array([step * 10.0**decade for decade in decades for step in steps])
        ticks = ticks[(ticks >= low * 0.999) & (ticks <= high * 1.001)]
        if len(ticks) >= 3:
            break
    if len(ticks) < 2:  # values within a small part of a decade
        ticks = MaxNLocator(min(most, 4)).tick_values(low, high)
        ticks = ticks[(ticks >= low) & (ticks <= high)]
    _fix_ticks(axis, ticks[:: -(-len(ticks) // most)] if len(ticks) else ticks)


def log_y_axis(axes: np.ndarray) -> None:
    """Makes the shared y axis logarithmic, with round ticks."""
    ax = axes[0, 0]
    ax.set_yscale("log")
    if not ax.get_ylim()[0] > 0.0:  # matplotlib's limits when there is nothing at all
        ax.set_ylim(0.1, 1.0)
    log_ticks(ax.yaxis, ax.get_ylim())


LONGER = "Intervals that leave a panel are longer than drawn."
"""What to say where `hold_to_lines` cut."""


def hold_to_lines(axes: np.ndarray) -> bool:
    """Narrows the shared y axis to what is not far from any line: a few long intervals must not flatten all lines.

    Args:
        axes: panels that share their y axis, with everything drawn in them.

    Returns:
        Whether the end of an interval may lie outside now.
    """
    ax = axes.ravel()[0]
    values = np.concatenate([line.get_ydata() for a in axes.ravel() for line in a.lines] or [np.array([])])
    values = values[np.isfinite(values)]
    if not values.size:
        return False
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        near = values.min() / 4.0, values.max() * 4.0
    else:
        margin = 0.5 * max(np.ptp(values), 0.1 * np.abs(values).max())
        near = values.min() - margin, values.max() + margin
    ax.set_ylim(max(low, near[0]), min(high, near[1]))
    return bool(near[0] > low or near[1] < high)


def decimals(value: float, digits: int = 2) -> str:
    """Returns a number with so many decimals, and no minus before a zero."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def mark_empty_panels(axes: np.ndarray) -> None:
    """Says so in panels where not one value is finite, or above zero on a log axis."""
    for ax in axes.ravel():
        if not any(np.isfinite(np.asarray(line.get_ydata(), dtype=np.float64)).any() for line in ax.lines):
            text = "no value above zero" if ax.get_yscale() == "log" else "no finite value"
            ax.text(0.5, 0.5, text, transform=ax.transAxes, color=QUIET, ha="center", va="center")


def value_ticks(axis: Axis, values: np.ndarray, *, most: int = 6) -> None:
    """Places ticks of a log axis at values of the grid, leaving out those too close to read."""
    values = np.asarray(values, dtype=np.float64)
    gap = np.log(values[-1] / values[0]) / most if len(values) > 1 else 0.0
    ticks = [values[-1]]
    for value in values[-2::-1]:
        if np.log(ticks[-1] / value) >= gap:
            ticks.append(value)
    _fix_ticks(axis, np.array(ticks[::-1]))


def _fix_ticks(axis: Axis, ticks: np.ndarray) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(number_label))


@contextmanager
def notices_of(datasets: Sequence[xr.Dataset]) -> Iterator[list[xr.Dataset]]:
    """Figures drawn inside the block say what the cubes that they are drawn from say of themselves.

    A cube says it in the attributes `notices`, one sentence per line, and `same_networks`, JSON: key of the grid →
    groups of values at which a network factory gives the same networks, because it ignores the key.

    Args:
        datasets: what a figure is drawn from.

    Yields:
        The datasets at one value of each group: equal lines would lie under each other.
    """
    said = [str(line) for each in datasets for line in str(each.attrs.get("notices", "")).splitlines() if line]
    same: dict[str, list[list[float]]] = {}
    for each in datasets:
        same |= json.loads(str(each.attrs.get("same_networks", "{}")))
    for key, groups in same.items():
        said += [
            f"The {_PLURALS.get(key, key)} {', '.join(f'{value:g}' for value in group)} have the same networks: drawn "
            f"is {min(group):g}."
            for group in groups
        ]
    token = _notes.set(tuple(dict.fromkeys(said)))
    try:
        yield [_without_repetitions(each, same) for each in datasets]
    finally:
        _notes.reset(token)


def _without_repetitions(dataset: xr.Dataset, same: dict[str, list[list[float]]]) -> xr.Dataset:
    for key, groups in same.items():
        if key in dataset.dims:
            repeated = {value for group in groups for value in group if value != min(group)}
            kept = [i for i, value in enumerate(dataset[key].values.tolist()) if value not in repeated]
            dataset = dataset.isel({key: np.array(kept, dtype=int)})
    return dataset
