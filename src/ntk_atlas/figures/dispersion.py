"""How random the NTK of untrained networks is, against depth over width, with theory."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "How random the kernel of an untrained network is: R = E[Θ²]/E[Θ]² and Var log Θ against λ = (depth + "
        "1)/width, over thousands of networks, beside finite-width theory. In the NTK limit R = 1. Open marks cannot "
        "be trusted from this many networks; Var log Θ is what claims are judged by."
    ),
    files=("dispersion",),
)

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import experiment_settings
from ntk_atlas.figures.parts.look import (
    DASHES,
    FAINT,
    INK,
    MARKERS,
    QUIET,
    finish,
    label_outer_axes,
    log_ticks,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    readable_subset,
    scale_label,
    sequential_colors,
    themed,
)
from ntk_atlas.parameterizations import parameterization

RATIO_LABEL = "$R = E[\\Theta^2]\\,/\\,E[\\Theta]^2$\n(pure number)"
LOG_VARIANCE_LABEL = "Var log $\\Theta(x, x)$\n(pure number)"
LAMBDA_LABEL = "$\\lambda$ = weight layers / width (pure number)"
_COINCIDE = 0.05
"""Relative difference of Var log Θ up to which phases count as the same in the title."""


def draw(dispersion: xr.Dataset, style: FigureSettings) -> Figure:
    """R on a log axis above Var log Θ, both of Θ(x, x), against λ = (depth + 1)/width.

    A column a width (three at most) for all parameters, and one for the weights alone where biases count; colour,
    marker and dash are the init scale. Points are networks with bootstrap intervals, open where R is not to be trusted;
    lines are the exact law, thin ones the finite-L sums, where they apply; else they join the points.

    Args:
        dispersion: what `assemble_dispersion` made.
        style: look.

    Returns:
        The figure.
    """
    selection = readable_subset(dispersion, {"width": 3, "init_scale": 5})
    shown = selection.cube.sel(correlation=1.0)
    columns = list(_columns(shown))
    colors = sequential_colors(shown.sizes["init_scale"], style)
    has_theory = bool(np.isfinite(shown["ntk_ratio_exact"]).any())
    with themed(style):
        figure, axes = panel_grid(2, len(columns), panel=(4.8, 3.4), sharey="row")
        for (upper, lower), (heading, cells) in zip(axes.T, columns, strict=True):
            upper.set_title(heading)
            lam = cells["lambda"].values
            upper.plot(
                lam, cells["ntk_ratio_exponential"], color=INK, linestyle=DASHES[1], linewidth=1.1, gid="exponential"
            )
            lower.axhline(1.0, color=FAINT, linewidth=1.0, linestyle=DASHES[2], zorder=1.5)
            for j, init_scale in enumerate(cells["init_scale"].values):
                cell = cells.sel(init_scale=init_scale)
                look = {
                    "color": colors[j],
                    "marker": MARKERS[j],
                    "dash": DASHES[j],
                    "shift": _shift(lam, j, len(colors)),
                }
                _draw_lines(upper, cell, "ntk_ratio", **look)
                _draw_lines(lower, cell, "log_ntk_variance", **look)
                _draw_points(upper, cell, "ntk_ratio", **look)
                _draw_points(lower, cell, "log_ntk_variance", **look)
        _set_scales(axes)
        mark_empty_panels(axes)
        label_outer_axes(axes, x=LAMBDA_LABEL, y=RATIO_LABEL)
        axes[1, 0].set_ylabel(LOG_VARIANCE_LABEL)
        outside_legend(figure, *_handles(shown, colors, has_theory))
        return finish(figure, _finding(dispersion), _notes(dispersion), selection.note)


def _columns(shown: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    everything, weights = (shown["log_ntk_variance"].sel(parameters=p) for p in ("all", "weights"))
    biases_count = not np.array_equal(everything, weights, equal_nan=True)
    for width in shown["width"].values:
        label = f"all parameters, width {width}" if biases_count else f"width {width}"
        yield label, shown.sel(parameters="all", width=width)
    if biases_count:
        width = shown["width"].values[-1]
        yield f"weights alone, width {width}", shown.sel(parameters="weights", width=width)


def _shift(lam: np.ndarray, number: int, count: int) -> float:
    """Sets the phases beside each other: paired by their weights, they may coincide."""
    return (number - (count - 1) / 2) * 0.011 * float(lam[-1] - lam[0])


def _draw_lines(ax: Axes, cell: xr.Dataset, name: str, *, color: str, marker: str, dash: object, shift: float) -> None:
    exact = cell[f"{name}_exact"]
    known = bool(np.isfinite(exact).any())
    line, kind = (exact, "exact") if known else (cell[name], "joined")
    ax.plot(
        cell["lambda"], line, color=color, linestyle=dash, linewidth=1.5 if known else 1.0,
        gid=f"{kind} {cell['init_scale'].item()}",
    )  # fmt: skip
    if known and name == "ntk_ratio":
        ax.plot(
            cell["lambda"], cell["ntk_ratio_finite_sum"], color=color, linestyle="-", linewidth=0.7,
            gid=f"sum {cell['init_scale'].item()}",
        )  # fmt: skip


def _draw_points(ax: Axes, cell: xr.Dataset, name: str, *, color: str, marker: str, dash: object, shift: float) -> None:
    lam = cell["lambda"].values + shift
    value, low, high = (cell[f"{name}{end}"].values for end in ("", "_low", "_high"))
    there = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    ax.vlines(lam[there], low[there], high[there], color=color, linewidth=1.3, zorder=2.6)
    trusted = cell["ntk_ratio_reliable"].values == 1 if name == "ntk_ratio" else np.ones(len(lam), dtype=bool)
    for filled, kind in ((trusted, "points"), (~trusted, "unreliable")):
        chosen = filled & np.isfinite(value)
        ax.plot(
            lam[chosen], value[chosen], marker, color=color, gid=f"{kind} {cell['init_scale'].item()}", zorder=3,
            markerfacecolor=color if kind == "points" else "white",
            markeredgecolor="white" if kind == "points" else color,
            markeredgewidth=0.5 if kind == "points" else 1.3,
        )  # fmt: skip


def _set_scales(axes: np.ndarray) -> None:
    upper, lower = axes[0, 0], axes[1, 0]
    upper.set_yscale("log")
    low, high = upper.get_ylim()
    upper.set_ylim(max(low, 0.9), max(high, 1.2))
    log_ticks(upper.yaxis, upper.get_ylim())
    lower.set_ylim(bottom=-0.02 * lower.get_ylim()[1])
    for ax in axes[1]:
        ax.set_xlim(left=0.0)


def _handles(shown: xr.Dataset, colors: list[str], has_theory: bool) -> tuple[list[Line2D], list[Line2D]]:
    scales = [
        Line2D([], [], color=color, marker=marker, linestyle=dash, label=scale_label(shown, init_scale))
        for init_scale, color, marker, dash in zip(shown["init_scale"].values, colors, MARKERS, DASHES, strict=False)
    ]
    others = [
        Line2D([], [], color=INK, linestyle=DASHES[1], linewidth=1.1, label=r"$\exp(5\lambda)$"),
        Line2D(
            [], [], color=QUIET, marker="o", linestyle="", markerfacecolor="white", markeredgewidth=1.3,
            label="$R$ not to be trusted",
        ),
    ]  # fmt: skip
    if has_theory:
        sums = Line2D([], [], color=QUIET, linestyle="-", linewidth=0.7, label="thin: sums over layers")
        others.insert(1, sums)
    return scales, others


def _finding(dispersion: xr.Dataset) -> str:
    """What the largest λ says of the phases, as a sentence; only numbers that are in the file."""
    network = experiment_settings(dispersion).network
    name = parameterization(network.parameterization).label
    deepest = dispersion.isel(depth=-1, width=0).sel(parameters="all")
    lam, values = deepest["lambda"].item(), deepest["log_ntk_variance"]
    values = values[np.isfinite(values)]
    subject = f"{network.activation}, {name} parameterization: at λ = {lam:.2g}, Var log Θ "
    if not values.size:
        return subject + "is not finite"
    first, last = values.isel(init_scale=0).item(), values.isel(init_scale=-1).item()
    if values.sizes["init_scale"] == 1:
        return subject + f"is {first:.2g}"
    if float(values.max() - values.min()) <= _COINCIDE * float(values.max()):
        return subject + f"is {last:.2g} whatever $\\sigma_w^2$ is"
    ends = [scale_label(dispersion, scale) for scale in values["init_scale"].values[[0, -1]]]
    verb = "rises" if last > first else "falls"
    return subject + f"{verb} from {first:.2g} at {ends[0]} to {last:.2g} at {ends[1]}"


def _notes(dispersion: xr.Dataset) -> str:
    attributes = dispersion.attrs
    lost = int((dispersion["n_finite"] < attributes["n_networks"]).sum())
    parts = [
        f"Points: {attributes['n_networks']} untrained networks a cell; whiskers: {attributes['confidence']:.0%} "
        "bootstrap intervals."
    ]
    if "squared_norm" in attributes:
        parts.append(f"Inputs of ‖x‖² = {float(attributes['squared_norm']):.4g}, n₀ = {int(attributes['n_inputs'])}.")
    if np.isfinite(dispersion["ntk_ratio_exact"]).any():
        parts.append(f"Lines: exact law of the layers ({attributes['n_exact']} draws).")
    else:
        parts.append("Lines join the points: there is no theory for this activation.")
    parts.append(
        "Open markers: the sample does not have the tail that R needs (Var log Θ > 1, dotted, and too few networks)."
    )
    if lost:
        parts.append(f"In {lost} cells some networks left the range of float32 and are not counted.")
    return " ".join(parts)
