"""Exponents of the scaling laws with their intervals, and how far the network's is from each kernel's."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Scaling exponents with their intervals, predictor by predictor, and the differences between the network and "
        "each kernel. To the right of zero the network gains more from data. Hollow grey marks are values without an "
        "interval to trust: too few draws or sizes, or a decay that the data cannot tell from a floor E."
    ),
    files=("cube", "scaling_laws"),
)

import numpy as np
import xarray as xr
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.files import stand_ins_of
from ntk_atlas.cubes.scaling import laws_of
from ntk_atlas.figures.learning_curves import kernel_compared, kernel_words
from ntk_atlas.figures.parts.look import (
    FAINT,
    INK,
    MAX_WIDTH,
    PredictorStyle,
    finish,
    outside_legend,
    panel_grid,
    predictor_styles,
    readable_subset,
    scale_label,
    select,
    theme,
    themed,
)

PURE_OFFSET, FLOOR_OFFSET = -0.14, 0.2
"""Where the two laws of one predictor stand beside its line; rows count downwards."""
ENDS = ("", "_low", "_high", "_new_data_low", "_new_data_high")
_HOLLOW = "no interval to trust"
EXPONENT_LABEL = r"$\alpha$ (pure number)"
DIFFERENCE_LABEL = r"$\Delta\alpha$ (pure number)"


def draw(cube: xr.Dataset, laws: xr.Dataset, style: FigureSettings) -> Figure:
    """Exponents of every predictor at the largest width, and the differences network − kernel beside them.

    Rows are depths; columns init scales, exponents left and differences right. Filled markers are exponents of the
    pure law A n^−α, squares those of the law with an irreducible error E + A n^−α; hollow grey ones are not
    identifiable (no interval, or the data cannot tell E from a slower decay).

    Args:
        cube: the cube that the laws were fitted to; names the phases.
        laws: scaling laws.
        style: look.

    Returns:
        The figure.
    """
    laws = laws_of(laws)
    laws = laws.assign_coords(phase=cube["phase"]) if "phase" in cube.coords else laws
    letter = 0.55 * theme(style)["font.size"]
    fitting = int((72.0 * MAX_WIDTH - 22 * letter) / (2 * 18 * letter))
    selection = readable_subset(laws.isel(width=-1), {"depth": 3, "init_scale": min(max(fitting, 1), 3)})
    shown = selection.cube
    styles = predictor_styles([str(name) for name in shown["predictor"].values], style)
    kernels = [name for name in styles if name != "network"]
    n_scales, n_depths = shown.sizes["init_scale"], shown.sizes["depth"]
    with themed(style):
        height = max(0.34 * len(styles) + 0.8, 2.4)
        figure, axes = panel_grid(n_depths, 2 * n_scales, panel=(3.0, height), sharex=False)
        exponents, differences = axes[:, :n_scales], axes[:, n_scales:]
        _label_axes(axes, exponents, differences, list(styles), laws)
        for panels, name in ((exponents, "exponent"), (differences, "exponent_difference")):
            _set_limits(panels, shown, [f"{name}{end}" for end in ENDS if f"{name}{end}" in shown])
        for i, depth in enumerate(shown["depth"].values):
            for j, init_scale in enumerate(shown["init_scale"].values):
                here = select(shown, {"depth": depth, "init_scale": init_scale})
                _draw_exponents(exponents[i, j], here, styles)
                _draw_differences(differences[i, j], here, styles, kernels)
                for ax, symbol in ((exponents[i, j], r"$\alpha$"), (differences[i, j], r"$\Delta\alpha$")):
                    ax.set_title(f"{symbol}, depth {depth}\n{scale_label(shown, init_scale)}")
        hollow = [line for ax in axes.ravel() for line in ax.lines if line.get_gid() and _is_hollow(line)]
        outside_legend(
            figure,
            _handles(
                floors="floor_exponent" in shown and bool(np.isfinite(shown["floor_exponent"]).any()),
                hollow=bool(hollow),
            ),
        )
        confidence = laws.attrs.get("confidence", 0.95)
        start = max(laws.attrs.get("n_train_min", 0), cube["n_train"].values[0])
        metric = {"mse": "test MSE", "error": "test error"}[laws.attrs.get("metric", "mse")]
        return finish(
            figure,
            _finding(laws.isel(width=-1), kernels, metric, cube),
            r"$\alpha$: exponent; $\Delta\alpha$: exponent of the network minus that of the kernel, paired by draw.",
            f"Whiskers: {confidence:.0%} intervals, thick over draws of this data set, thin for new data of its kind; "
            f"fitted from n = {start} on. Arrows: beyond the axis."
            + (
                f" Hollow and grey: {_HOLLOW}, as draws or sizes are too few, or E cannot be told from a slower decay."
                if hollow
                else ""
            ),
            selection.note,
        )


def is_identifiable(law: xr.Dataset) -> tuple[bool, bool]:
    """Returns whether the exponent of the pure law has an interval, and that of the law with E an identifiable one."""
    pure = bool(np.isfinite([law["exponent_low"].item(), law["exponent_high"].item()]).all())
    floor = float(law["floor_identifiable"].item()) == 1.0 if "floor_identifiable" in law else False
    return pure, floor


def _finding(laws: xr.Dataset, kernels: list[str], metric: str, cube: xr.Dataset) -> str:
    """In how many cells of the largest width the network's exponent differs from that of the kernel nearest to it."""
    title = f"Scaling exponents of the {metric} at width {laws['width'].item()}"
    kernel = kernel_compared(kernels)
    if not kernel or "exponent_difference" not in laws:
        return title
    law = laws.sel(predictor=kernel)
    value, low, high = (law[f"exponent_difference{end}"].values.ravel() for end in ("", "_low", "_high"))
    judged = np.isfinite(low) & np.isfinite(high)
    if not np.isfinite(value).any():
        return f"{title}: networks and {kernel_words(kernel, cube)} have no law in the same cell"
    if not judged.any():
        return f"{title}: no interval for the difference between networks and {kernel_words(kernel, cube)}"
    more, less = int((low[judged] > 0.0).sum()), int((high[judged] < 0.0).sum())
    least, most = f"{value[judged].min():+.3f}", f"{value[judged].max():+.3f}"
    return (
        f"{title}: higher for networks than for {kernel_words(kernel, cube)} in {more}, lower in {less} of "
        f"{judged.sum()} cells (differences {least} to {most})"
    )


def _is_hollow(line: Line2D) -> bool:
    return line.get_color() == FAINT and line.get_markerfacecolor() == "white"


def _draw_exponents(ax: Axes, here: xr.Dataset, styles: dict[str, PredictorStyle]) -> None:
    for row, (name, look) in enumerate(styles.items()):
        law = here.sel(predictor=name)
        pure, floor = is_identifiable(law)
        drawn = _draw_dot(ax, law, "exponent", row + PURE_OFFSET, look, marker=look.marker, sure=pure)
        if "floor_exponent" in law:
            drawn |= _draw_dot(ax, law, "floor_exponent", row + FLOOR_OFFSET, look, marker="s", sure=floor, size=0.62)
        if not drawn:
            ax.text(0.5, row, "no fit", transform=ax.get_yaxis_transform(), color=FAINT, ha="center", va="center",
                    fontsize=rcParams["xtick.labelsize"] * 0.85)  # fmt: skip


def _draw_differences(ax: Axes, here: xr.Dataset, styles: dict[str, PredictorStyle], kernels: list[str]) -> None:
    ax.axvline(0.0, color=INK, linewidth=1.1, zorder=1)
    for row, (name, look) in enumerate(styles.items()):
        if name in kernels:
            law = here.sel(predictor=name)
            ends = [law["exponent_difference_low"].item(), law["exponent_difference_high"].item()]
            sure = bool(np.isfinite(ends).all())
            _draw_dot(ax, law, "exponent_difference", row, look, marker=look.marker, sure=sure)


def _draw_dot(
    ax: Axes, law: xr.Dataset, variable: str, row: float, look: PredictorStyle, *,
    marker: str, sure: bool, size: float = 1.0,
) -> bool:  # fmt: skip
    """Draws one exponent; without certainty hollow, grey and without whisker. Says whether there was one."""
    value, low, high = (law[name].item() for name in (variable, f"{variable}_low", f"{variable}_high"))
    if not np.isfinite(value):
        return False
    color = look.color if sure else FAINT
    if sure and np.isfinite([low, high]).all():
        ax.hlines(row, low, high, color=color, linewidth=1.8 if size == 1.0 else 1.1)
        draw_new_data(ax, row, law, variable, color)
    left, right = ax.get_xlim()
    if not left <= value <= right:
        value, marker = (left, "<") if value < left else (right, ">")
    scale = size * (look.marker_scale if marker == look.marker else 1.0)
    ax.plot(
        [value],
        [row],
        marker,
        color=color,
        markerfacecolor=color if sure else "white",
        markersize=rcParams["lines.markersize"] * scale,
        gid=f"{variable} {law['predictor'].item()}",
        clip_on=False,
        zorder=3,
    )
    return True


def draw_new_data(ax: Axes, row: float, law: xr.Dataset, variable: str, color: str) -> None:
    """Draws the interval for new data as a thin line through the one over draws; nothing where it is not known."""
    names = [f"{variable}_new_data_{end}" for end in ("low", "high")]
    if all(name in law and np.isfinite(law[name].item()) for name in names):
        gid = f"new data {variable} {law['predictor'].item()}"
        ax.hlines(row, *(law[name].item() for name in names), color=color, linewidth=0.7, gid=gid)


def _set_limits(axes: np.ndarray, shown: xr.Dataset, variables: list[str]) -> None:
    """Limits follow what is certain; a law with an irreducible error may have any exponent when it is not."""
    values = [shown[name].values.ravel() for name in variables]
    if "exponent" in variables and "floor_exponent" in shown:
        known = shown["floor_identifiable"].values.astype(float) == 1.0
        values += [shown[f"floor_exponent{end}"].values[known] for end in ("", "_low", "_high")]
    else:
        values.append(np.zeros(1))
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1
    for ax in axes.ravel():
        ax.set_xlim(low - margin, high + margin)
        ax.locator_params(axis="x", nbins=4)


def _label_axes(
    axes: np.ndarray, exponents: np.ndarray, differences: np.ndarray, names: list[str], laws: xr.Dataset
) -> None:
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(names)), [predictor_label(name, stand_ins_of(laws)) for name in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_ylabel("predictor")
    for i in range(axes.shape[0]):
        for ax in axes[i]:
            ax.tick_params(axis="x", labelbottom=i == axes.shape[0] - 1)
    for ax in exponents[-1]:
        ax.set_xlabel(EXPONENT_LABEL)
    for ax in differences[-1]:
        ax.set_xlabel(DIFFERENCE_LABEL)


def _handles(*, floors: bool, hollow: bool) -> list[Line2D]:
    def handle(marker: str, size: float, label: str, **kwargs: object) -> Line2D:
        markersize = rcParams["lines.markersize"] * size
        return Line2D([], [], marker=marker, markersize=markersize, label=label, **({"color": INK} | kwargs))

    handles = [handle("o", 1.15, "law A n$^{-α}$ (marker by predictor)")]
    if floors:
        handles.append(handle("s", 0.75, "law E + A n$^{-α}$", linewidth=1.1))
    if hollow:
        look = {"color": FAINT, "markerfacecolor": "white", "linestyle": ""}
        handles.append(handle("s", 0.75, f"hollow: {_HOLLOW}", **look))
    return handles
