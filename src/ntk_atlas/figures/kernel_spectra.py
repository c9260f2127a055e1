"""Eigenvalues of the probe kernel at initialization, and by which factor training changes each."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Left: eigenvalues of the probe kernel at initialization, divided by the number of probe samples, against "
        "their rank. Beside them: each eigenvalue at the end of training over its initial value, at the smallest and "
        "the largest width and the largest n_train; at 1 training changes nothing. Lines are medians over networks, "
        "bands their 10–90 % range. Which samples the probe has stands under the title."
    ),
)

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.look import (
    DASHES,
    FAINT,
    finish,
    log_ticks,
    log_y_axis,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    probe_note,
    readable_subset,
    scale_label,
    select,
    sequential_colors,
    themed,
)

QUANTILES = (0.1, 0.5, 0.9)
FLOOR = 1e-6
"""Eigenvalues below this share of the largest are rounding (spectra have single precision): they are not drawn."""
RANK_LABEL = "rank of the eigenvalue"


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """Initial eigenvalues of the probe kernel against their rank, and their ratios last checkpoint / initialization.

    Rows are depths; colours init scales; n_train is the largest. First column: the largest width at initialization.
    Others: the ratios, network by network, at the smallest and the largest width. Lines are medians over all networks
    of the cell (draws and seeds), bands hold the middle 80 % of the networks.

    Args:
        cube: a cube.
        style: look.

    Returns:
        The figure; its title has the ratio furthest from 1 of each of the two widths, median over networks.
    """
    selection = readable_subset(cube.isel(n_train=-1), {"depth": 3, "init_scale": 3})
    shown = selection.cube
    widths = np.unique(shown["width"].values[[0, -1]])
    colors = sequential_colors(shown.sizes["init_scale"], style)
    scales = list(zip(shown["init_scale"].values, colors, DASHES, strict=False))
    with themed(style):
        figure, axes = panel_grid(shown.sizes["depth"], 1 + len(widths), panel=(4.4, 3.0), sharey="col")
        for row, depth in zip(axes, shown["depth"].values, strict=True):
            row[0].set_title(f"initial spectrum, depth {depth}, width {widths[-1]}")
            for ax, width in zip(row[1:], widths, strict=True):
                ax.set_title(f"last / initial, depth {depth}, width {width}")
            for scale, color, dash in scales:
                place = {"depth": depth, "init_scale": scale}
                first, _ = spectra_of(shown, place | {"width": widths[-1]})
                _draw_quantiles(row[0], network_quantiles(first), color=color, dash=dash, gid=f"initial {scale:g}")
                for ax, width in zip(row[1:], widths, strict=True):
                    bands = network_quantiles(ratios_of(shown, place | {"width": width}))
                    _draw_quantiles(ax, bands, color=color, dash=dash, gid=f"ratio {scale:g}")
        _set_scales(axes, shown.sizes["mode"])
        for ax in axes[-1]:
            ax.set_xlabel(RANK_LABEL)
        for row in axes:
            row[0].set_ylabel("eigenvalue / probe samples\n(units of the kernel)")
            row[1].set_ylabel("last / initial eigenvalue\n(pure number)")
        handles = [
            Line2D([], [], color=color, linestyle=dash, label=scale_label(shown, scale))
            for scale, color, dash in scales
        ]
        outside_legend(figure, [*handles, Patch(color=FAINT, alpha=0.3, label="10–90 % of the networks")])
        return finish(
            figure,
            _finding(cube.isel(n_train=-1), widths),
            "Lines: median over the networks of all draws and seeds; ratios are taken network by network, rank by "
            f"rank. Left out: eigenvalues below {FLOOR:g} of the largest.",
            probe_note(cube),
            selection.note,
        )


def spectra_of(cube: xr.Dataset, place: dict[str, object]) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of the networks of a cell at initialization and at their last checkpoints, both `(n_networks, n_modes)`.

    Eigenvalues below `FLOOR` of the largest are NaN.
    """
    spectra = select(cube["kernel_spectrum"], place).stack(network=("draw", "seed"))
    networks = spectra.transpose("network", "epoch", "mode")
    first, last = (at.values.astype(np.float64) for at in (networks.isel(epoch=0), last_checkpoint(networks)))
    first, last = (
        np.where(at > FLOOR * np.max(at, axis=-1, keepdims=True, initial=0.0), at, np.nan) for at in (first, last)
    )
    return first, last


def ratios_of(cube: xr.Dataset, place: dict[str, object]) -> np.ndarray:
    """Last over initial eigenvalues of each network of a cell, rank by rank, `(n_networks, n_modes)`."""
    first, last = spectra_of(cube, place)
    return last / first


def last_checkpoint(networks: xr.DataArray) -> xr.DataArray:
    """Returns the spectra `(network, mode)` at each network's last epoch that has one; NaN if that is the first."""
    there = np.isfinite(networks.values).all(-1)
    last = there.shape[1] - 1 - there[:, ::-1].argmax(1)
    at = xr.DataArray(last, dims="network")
    return networks.isel(epoch=at).where(at > 0)


def network_quantiles(values: np.ndarray) -> np.ndarray:
    """Quantiles over networks that have a value.

    Args:
        values: `(n_networks, n_modes)`; NaN where a network has none.

    Returns:
        `(3, n_modes)`: 10 %, median, 90 %; NaN where fewer than half of the networks with a spectrum have a value
        above zero, which is all that a log axis can show.
    """
    usable = np.where(np.isfinite(values) & (values > 0.0), values, np.nan)
    usable = usable[np.isfinite(usable).any(-1)]
    told = np.isfinite(usable).sum(0) * 2 >= max(len(usable), 1)
    bands = np.full((3, values.shape[-1]), np.nan)
    if told.any():
        bands[:, told] = np.nanquantile(usable[:, told], QUANTILES, axis=0)
    return bands


def _finding(cube: xr.Dataset, widths: np.ndarray) -> str:
    """The median ratio that is furthest from 1, over depths, init scales and ranks, of each of the widths."""
    at, parts = f"n = {cube['n_train'].item()}", []
    for width in widths:
        medians = np.concatenate(
            [
                network_quantiles(ratios_of(cube, {"depth": depth, "init_scale": scale, "width": width}))[1]
                for depth in cube["depth"].values
                for scale in cube["init_scale"].values
            ]
        )
        medians = medians[np.isfinite(medians)]
        if medians.size:
            parts.append(f"{medians.min():.2g} to {medians.max():.2g} at width {width}")
    if not parts:
        return f"No trained network at {at} has a spectrum"
    return f"Training changes eigenvalues of the NTK by the factors {', '.join(parts)} ({at})"


def _draw_quantiles(ax: Axes, bands: np.ndarray, *, color: str, dash: object, gid: str) -> None:
    rank = np.arange(1, bands.shape[-1] + 1)
    there = np.isfinite(bands[1])
    ax.plot(rank[there], bands[1][there], color=color, linestyle=dash, linewidth=1.8, gid=gid)
    if there.any():
        ax.fill_between(rank[there], bands[0][there], bands[2][there], color=color, alpha=0.16, linewidth=0)


def _set_scales(axes: np.ndarray, n_modes: int) -> None:
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xlim(0.9, max(n_modes, 2) * 1.12)
    log_ticks(axes[0, 0].xaxis, axes[0, 0].get_xlim())
    for ax in axes[0]:
        ax.set_yscale("log")  # before its limits are asked for, which are none of a log axis else
    ratios = axes[:, 1:].ravel()
    spans = [ax.get_ylim() for ax in ratios if any(line.get_gid() and len(line.get_xdata()) for line in ax.lines)]
    low, high = min((span[0] for span in spans), default=0.5), max((span[1] for span in spans), default=2.0)
    log_y_axis(axes[:, :1])
    for i in range(1, axes.shape[1]):
        axes[0, i].set_ylim(low, high)
        log_y_axis(axes[:, i : i + 1])
    mark_empty_panels(axes)
    for ax in axes[:, 1:].ravel():
        ax.axhline(1.0, color=FAINT, linewidth=1.1, zorder=1)
