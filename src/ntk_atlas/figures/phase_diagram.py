"""The plane of initializations (σ_w², σ_b²): where gradients vanish or explode, and where the experiment is."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "The plane of weight and bias variance: χ₁, the factor by which a squared gradient grows from layer to layer, "
        "with the critical line χ₁ = 1 between the ordered phase, where gradients vanish with depth, and the chaotic "
        "one, where they explode. Marked points are this experiment's networks."
    ),
    possible=lambda shown: not shown.settings.network.family.without_phases(),
)

import math
from collections import Counter

import numpy as np
import xarray as xr
from matplotlib import colormaps, rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy.ndimage import distance_transform_edt

from ntk_atlas.activations import Activation, activation
from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import experiment_settings
from ntk_atlas.figures.parts.look import (
    INK,
    color_map,
    finish,
    letter_scale,
    log_ticks,
    outside_legend,
    panel_grid,
    themed,
)
from ntk_atlas.phases import CriticalPoint, chi_1_plane, critical_points

LEVELS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""Values of χ₁ whose curves are drawn, beside the critical line."""
_MARKERS = {"ordered": "o", "critical": "D", "chaotic": "^", "unknown": "X"}
_RESOLUTION = (321, 193)
_LOG_FROM = 20.0
_LABEL_HEIGHTS = (0.85, 0.5, 0.25)
_LOWEST, _HIGHEST = 1e-3, 1e3


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """χ₁ over σ_w² and σ_b² as levels, the critical line, the phases in words, and the experiment's init scales.

    The axis of σ_w² is logarithmic where the experiment or the critical line span more than a factor of twenty.

    Args:
        cube: a cube; its settings name the activation and σ_b².
        style: the look.

    Returns:
        The figure.

    Raises:
        ActivationError: if the activation is of the user's own and its file is gone.
    """
    network = experiment_settings(cube).network
    function, bias = activation(network.activation), network.bias_variance
    points = critical_points(function, bias)
    scales, biases, logarithmic = _plane_axes(cube["init_scale"].values, bias, points)
    with np.errstate(invalid="ignore"):
        chi = np.clip(chi_1_plane(function, scales, biases), _LOWEST, _HIGHEST)
    with themed(style):
        figure, axes = panel_grid(1, 1, panel=(7.6, 4.6 * letter_scale()))
        ax = axes[0, 0]
        ax.set(xlim=(scales[0], scales[-1]), ylim=(0.0, biases[-1]))
        if logarithmic:
            ax.set_xscale("log")
            log_ticks(ax.xaxis, (scales[0], scales[-1]))
        _draw_levels(ax, scales, biases, chi, color_map(style))
        _draw_experiment(ax, cube, bias)
        taken = [(scale, bias) for scale in cube["init_scale"].values]
        for phase, inside in (("ordered", chi < 1.0), ("chaotic", chi > 1.0)):
            _name_region(ax, phase, inside, (scales, biases), taken)
        ax.set_title(rf"Activation {function.name}: $\chi_1$ at the fixed point $q^*$")
        ax.set(xlabel=r"init scale $\sigma_w^2$", ylabel=r"bias variance $\sigma_b^2$")
        outside_legend(figure, _handles(cube))
        note = (
            rf"$\chi_1$: factor by which a squared gradient grows a layer; $\xi_1 = 1/|\log\,\chi_1|$ in layers. This "
            rf"experiment: $\sigma_b^2$ = {bias:g}."
        )
        return finish(figure, _finding(cube, function, points), note, _without_line(function, bias, points, chi))


def _plane_axes(
    scales: np.ndarray, bias: float, points: tuple[CriticalPoint, ...]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """σ_w² and σ_b² of the plane, and whether σ_w² is logarithmic."""
    shown = [*scales, *(point.init_scale for point in points)]
    low, high = min(shown), max(shown)
    logarithmic = high > _LOG_FROM * low
    columns = np.geomspace(low / 2.0, high * 2.0, _RESOLUTION[0]) if logarithmic else None
    columns = np.linspace(0.02 * high, 1.4 * high, _RESOLUTION[0]) if columns is None else columns
    return columns, np.linspace(0.0, max(1.0, 2.0 * bias), _RESOLUTION[1]), logarithmic


def _draw_levels(ax: Axes, scales: np.ndarray, biases: np.ndarray, chi: np.ndarray, cmap: str) -> None:
    ax.grid(False)
    present = [level for level in LEVELS if np.nanmin(chi) < level < np.nanmax(chi)]
    edges = sorted([_LOWEST / 2, *present, 1.0, 2 * _HIGHEST])
    # The lighter part of the map only: letters and lines are black everywhere.
    shades = list(colormaps[cmap](np.linspace(0.0, 0.6, len(edges) - 1)))
    filled = ax.contourf(scales, biases, np.log(chi), levels=np.log(edges), colors=shades, alpha=0.75)
    filled.set(edgecolor="face", linewidth=0.4)  # else vector viewers show seams
    if present:
        lines = ax.contour(
            scales, biases, np.log(chi), levels=np.log(present), colors=INK, linewidths=0.8, linestyles="solid"
        )
        places = _label_places(ax, scales, biases, chi, present)
        texts = {level: f"{math.exp(level):.3g}" for level in lines.levels}
        if places:
            ax.clabel(lines, fmt=texts, fontsize=0.8 * rcParams["xtick.labelsize"], manual=places)
    if np.nanmin(chi) < 1.0 < np.nanmax(chi):
        line = ax.contour(scales, biases, np.log(chi), levels=[0.0], colors=INK, linewidths=3.2, zorder=3)
        line.set_gid("critical line")


def _label_places(
    ax: Axes, scales: np.ndarray, biases: np.ndarray, chi: np.ndarray, levels: list[float]
) -> list[tuple[float, float]]:
    """Where each curve passes a σ_b² high up in the plane, or lower down; not at the frame, nor by another label."""
    across = ax.transScale.transform(np.stack([scales, np.zeros_like(scales)], axis=1))[:, 0]
    share = (across - across[0]) / (across[-1] - across[0])
    places: dict[float, tuple[int, int]] = {}
    for row in (int(height * len(biases)) for height in _LABEL_HEIGHTS):
        for level in levels:
            passed = np.flatnonzero(np.diff(chi[row] > level))
            if level in places or not len(passed) or not 0.03 < share[passed[0]] < 0.97:
                continue
            beside = [share[column] for at, column in places.values() if at == row]
            if all(abs(share[passed[0]] - other) > 0.03 for other in beside):
                places[level] = row, int(passed[0])
    return [(scales[column], biases[row]) for row, column in places.values()]


def _draw_experiment(ax: Axes, cube: xr.Dataset, bias: float) -> None:
    for phase, marker in _MARKERS.items():
        scales = cube["init_scale"].values[cube["phase"].values == phase]
        if len(scales):
            ax.plot(
                scales, np.full(len(scales), bias), marker, color="white", markeredgecolor=INK, markeredgewidth=1.8,
                markersize=1.35 * rcParams["lines.markersize"], clip_on=False, zorder=5, gid=f"experiment {phase}",
            )  # fmt: skip


def _name_region(
    ax: Axes, phase: str, inside: np.ndarray, axes: tuple[np.ndarray, np.ndarray], taken: list[tuple[float, float]]
) -> None:
    """Writes the phase where there is most room: far from borders, from the frame and from markers."""
    free = np.pad(inside, 1)
    for x, y in taken:
        row, column = (int(np.argmin(np.abs(grid - value))) for grid, value in zip(axes[::-1], (y, x), strict=True))
        free[row + 1, column + 1] = False
    room = distance_transform_edt(free, sampling=(1.0 / inside.shape[0], 1.6 / inside.shape[1]))[1:-1, 1:-1]
    if room.max() < 0.06:
        return
    row, column = np.unravel_index(np.argmax(room), room.shape)
    ax.text(
        axes[0][column], axes[1][row], phase, ha="center", va="center", fontsize=1.3 * rcParams["font.size"],
        fontweight="bold", path_effects=[withStroke(linewidth=4, foreground="white")], zorder=6,
    )  # fmt: skip


def _handles(cube: xr.Dataset) -> list[Artist]:
    handles: list[Artist] = [Line2D([], [], color=INK, linewidth=3.2, label=r"critical line $\chi_1 = 1$")]
    for phase, marker in _MARKERS.items():
        depths = cube["xi_1"].values[cube["phase"].values == phase] if "xi_1" in cube.coords else np.array([])
        if phase in cube["phase"].values:
            label = f"{phase} init scale{_depth_scales(depths)}"
            handles.append(
                Line2D([], [], marker=marker, color="white", markeredgecolor=INK, markeredgewidth=1.8, label=label,
                       linestyle="", markersize=1.35 * rcParams["lines.markersize"])
            )  # fmt: skip
    return handles


def _depth_scales(depths: np.ndarray) -> str:
    finite = np.sort(depths[np.isfinite(depths)])
    if not len(finite):
        return r", $\xi_1 = \infty$" if np.isinf(depths).any() else ""
    texts = [f"{value:.2g}" for value in finite]
    texts = texts if len(texts) <= 3 else [f"{texts[0]} to {texts[-1]}"]
    return rf", $\xi_1$ = {', '.join(texts)}"


def _finding(cube: xr.Dataset, function: Activation, points: tuple[CriticalPoint, ...]) -> str:
    counts = Counter(str(phase) for phase in cube["phase"].values)
    covered = ", ".join(f"{counts[phase]} {phase}" for phase in _MARKERS if counts[phase])
    where = " and ".join(f"{point.init_scale:.5g}" for point in points)
    at = f"is critical at init scale {where}" if points else "has no critical init scale"
    return f"{function.name} {at}; this experiment: {covered}"


def _without_line(function: Activation, bias: float, points: tuple[CriticalPoint, ...], chi: np.ndarray) -> str:
    """What to say where there is a border between the phases on which χ₁ is not 1."""
    if points or not np.nanmin(chi) < 1.0 < np.nanmax(chi):
        return ""
    return (
        rf"At $\sigma_b^2$ = {bias:g} $\chi_1$ jumps past 1 where the variance of {function.name} networks starts to "
        "grow without end: there the line is the border of the phases, not a critical point."
    )
