"""Eigenvalues of the probe kernel before and after training."""

from ntk_atlas.figures import AtlasFigure

FIGURE = AtlasFigure(
    caption=(
        "Eigenvalues of the probe kernel, divided by the number of probe samples, against their rank: at "
        "initialization and at the end of training, at the largest width and n_train. Lines are medians over networks, "
        "bands their 10–90 % range."
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
    FAINT,
    cell_panels,
    finish,
    label_outer_axes,
    log_ticks,
    log_y_axis,
    mark_empty_panels,
    outside_legend,
    panel_grid,
    probe_note,
    readable_subset,
    select,
    sequential_colors,
    themed,
)

QUANTILES = (0.1, 0.5, 0.9)
FLOOR = 1e-9
"""Eigenvalues below this share of the largest are rounding and stay outside the axes."""


def draw(cube: xr.Dataset, style: FigureSettings) -> Figure:
    """Eigenvalues of the probe kernel against their rank, at initialization and at the last checkpoint.

    Panels are depth × init_scale at the largest width and n_train. Lines are medians over all networks of the
    cell (draws and seeds), bands hold the middle 80 % of the networks.

    Args:
        cube: a cube.
        style: look.

    Returns:
        The figure.
    """
    selection = readable_subset(cube.isel(width=-1, n_train=-1), {"depth": 3, "init_scale": 3})
    shown = selection.cube
    spectra = shown["kernel_spectrum"].stack(network=("draw", "seed")).transpose(..., "network", "epoch", "mode")
    looks = list(
        zip(sequential_colors(2, style), ("-", (0, (5, 1.6))), ("initialization", "last checkpoint"), strict=True)
    )
    with themed(style):
        figure, axes = panel_grid(shown.sizes["depth"], shown.sizes["init_scale"], panel=(4.4, 3.2))
        largest, smallest = [], []
        for ax, place in cell_panels(shown, axes):
            networks = select(spectra, place)
            for at, (color, dash, name) in zip((networks.isel(epoch=0), last_checkpoint(networks)), looks, strict=True):
                bands = network_quantiles(at.values)
                _draw_spectrum(ax, bands, color=color, dash=dash, gid=name)
                largest.append(np.nanmax(bands, initial=0.0, where=np.isfinite(bands)))
                smallest.append(np.nanmin(bands, initial=np.inf, where=np.isfinite(bands)))
        _set_scales(axes, shown.sizes["mode"], low=min(smallest), high=max(largest))
        label_outer_axes(axes, x="rank of the eigenvalue", y="eigenvalue / probe samples\n(units of the kernel)")
        handles = [Line2D([], [], color=color, linestyle=dash, label=name) for color, dash, name in looks]
        outside_legend(figure, [*handles, Patch(color=FAINT, alpha=0.3, label="10–90 % of the networks")])
        title = f"Spectrum of the empirical NTK at width {shown['width'].item()}, n = {shown['n_train'].item()}"
        return finish(
            figure, title, "Lines: median over the networks of all draws and seeds.", probe_note(cube), selection.note
        )


def last_checkpoint(networks: xr.DataArray) -> xr.DataArray:
    """Returns the spectra `(network, mode)` at each network's last epoch that has one; NaN if that is the first."""
    there = np.isfinite(networks.values).all(-1)
    last = there.shape[1] - 1 - there[:, ::-1].argmax(1)
    at = xr.DataArray(last, dims="network")
    return networks.isel(epoch=at).where(at > 0)


def network_quantiles(spectra: np.ndarray) -> np.ndarray:
    """Quantiles over networks that have a spectrum.

    Args:
        spectra: `(n_networks, n_modes)`; networks with a value that is not finite are left out.

    Returns:
        `(3, n_modes)`: 10 %, median, 90 %; NaN where not above zero, which a log axis cannot show.
    """
    usable = spectra[np.isfinite(spectra).all(-1)].astype(np.float64)
    if not len(usable):
        return np.full((3, spectra.shape[-1]), np.nan)
    bands = np.quantile(usable, QUANTILES, axis=0)
    return np.where(bands > 0.0, bands, np.nan)


def _draw_spectrum(ax: Axes, bands: np.ndarray, *, color: str, dash: object, gid: str) -> None:
    rank = np.arange(1, bands.shape[-1] + 1)
    there = np.isfinite(bands[1])
    ax.plot(rank[there], bands[1][there], color=color, linestyle=dash, linewidth=1.8, gid=gid)
    there = np.isfinite(bands).all(0)
    if there.any():
        ax.fill_between(rank[there], bands[0][there], bands[2][there], color=color, alpha=0.22, linewidth=0)


def _set_scales(axes: np.ndarray, n_modes: int, *, low: float, high: float) -> None:
    ax = axes[0, 0]
    ax.set_xscale("log")
    ax.set_xlim(0.9, max(n_modes, 2) * 1.12)
    log_ticks(ax.xaxis, ax.get_xlim())
    if high > 0.0:
        ax.set_ylim(max(low, FLOOR * high) / 1.6, high * 1.6)
    log_y_axis(axes)
    mark_empty_panels(axes)
