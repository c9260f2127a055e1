"""What a point and its whisker are: seeds are averaged first, the interval is over draws."""

import numpy as np
import xarray as xr

from ntk_atlas.statistics.student import finite_mean, t_interval


def draw_interval(
    values: xr.DataArray, *, logarithmic: bool, confidence: float = 0.95
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Mean over networks with its t interval over draws.

    A draw has its own data and networks, so it brings one number: the mean of its seeds. Where an axis is
    logarithmic, both the mean and the interval are of the logarithms, m = exp(mean log v); that is the mean which
    a power law fitted to log errors goes through.

    Args:
        values: any dimensions, among them `draw` and perhaps `seed`.
        logarithmic: geometric instead of arithmetic means; values that are not above zero are left out.
        confidence: coverage that the interval promises.

    Returns:
        Mean, low and high end without `draw` and `seed`; values that are not finite are left out, low and high are
        NaN where fewer than two draws are left.
    """
    array = values.astype(np.float64)
    usable = np.isfinite(array) & ((array > 0.0) | (not logarithmic))
    array = array.where(usable)
    if logarithmic:
        array = np.log(array)
    kept = [dim for dim in array.dims if dim not in {"draw", "seed"}]
    array = array.transpose(*kept, "draw", *(["seed"] if "seed" in array.dims else []))
    by_draw = finite_mean(array.values) if "seed" in array.dims else array.values
    interval = t_interval(by_draw, confidence)
    template = array.isel({dim: 0 for dim in array.dims if dim not in kept}, drop=True)
    ends = (interval.value, interval.low, interval.high)
    mean, low, high = (template.copy(data=np.exp(end) if logarithmic else end) for end in ends)
    return mean, low, high


def replicate_interval(
    values: xr.DataArray, *, logarithmic: bool, confidence: float = 0.95
) -> tuple[tuple[xr.DataArray, xr.DataArray, xr.DataArray], str]:
    """Like `draw_interval`, over the seeds if there is one draw only.

    Args:
        values: see `draw_interval`.
        logarithmic: see `draw_interval`.
        confidence: see `draw_interval`.

    Returns:
        Mean, low and high end; and what they are over, `draws` or `seeds`. An interval over seeds is about networks on
        the one data set of that draw.
    """
    over_seeds = values.sizes["draw"] == 1 and values.sizes.get("seed", 1) > 1
    if over_seeds:
        values = values.isel(draw=0, drop=True).rename(seed="draw")
    return draw_interval(values, logarithmic=logarithmic, confidence=confidence), "seeds" if over_seeds else "draws"


def zeros_note(values: xr.DataArray) -> str:
    """Says how many values are zero to the last bit, which a geometric mean leaves out; empty if none is."""
    finite, zeros = int(np.isfinite(values).sum()), int((values == 0.0).sum())
    return f"{zeros:,} of {finite:,} values are exactly 0, and are left out." if zeros else ""


def interval_words(value: float, low: float, high: float) -> str:
    """A mean and its interval, `1.20 [0.90, 1.60]`; the mean alone where one draw gives no interval."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else f"{value:.2f}"


def at_last_checkpoint(values: xr.DataArray) -> xr.DataArray:
    """Returns the last finite value along `epoch` of each network: units may differ in their last checkpoint."""
    there = np.isfinite(values)
    last = there.cumsum("epoch").argmax("epoch")
    return values.isel(epoch=last).drop_vars("epoch", errors="ignore")


def networks_left_out(values: xr.DataArray) -> xr.DataArray:
    """Returns how many networks (or solves) of each cell have no finite value."""
    dims = [dim for dim in ("draw", "seed") if dim in values.dims]
    return (~np.isfinite(values)).sum(dims)
