"""The look that all figures share: theme, one fixed style a predictor, and files whose bytes can be reproduced."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import seaborn
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

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
