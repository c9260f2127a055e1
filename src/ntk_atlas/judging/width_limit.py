"""C5: trained networks against kernel regression with their infinite NTK, at the largest width and in the limit.

The theorem speaks of the limit. A network of width M is its limit plus what its random initialization adds, of size
M^(−1/2), plus what training beyond the linear regime adds, of size 1/M. So the mean square distance of the two
functions, over networks and test samples, is

    d²(M) = d²(∞) + A/M + B/M² + …,

with d(∞) = 0 if the theorem holds. M d² is then a constant at large M, with the same noise at all widths: least squares
of M d² on M, 1 and 1/M has the weights that theory asks for, and its coefficient of M is d²(∞), draw by draw. The term
B/M² is needed: narrow networks make up in training for some of their random kernel, which bends the curve, and a
straight line through it ends above zero. The exponent of d in M, −1/2 in theory, says how much of the distance falls.
"""

import numpy as np
import xarray as xr

from ntk_atlas.cubes.dictionary.cube import WHOLE_GAP, pair_name
from ntk_atlas.cubes.reading import errors_without_folds, without_folds
from ntk_atlas.judging.layer_changes import KERNEL
from ntk_atlas.judging.networks import (
    trained,
)

DISTANCE = f"distance_{pair_name(*WHOLE_GAP)}"


def width_law(share: xr.DataArray) -> xr.DataArray:
    """The constants of d² = d²(∞) + A/M + B/M² by least squares of M d² on M, 1 and 1/M, d² the mean over seeds.

    Args:
        share: squared distances over (width, draw, seed) and whatever else, three widths or more.

    Returns:
        The three in each draw, over `constant`; d²(∞) may be below zero; NaN where a width is missing.
    """
    width = share["width"].values.astype(float)
    columns = np.stack([width, np.ones_like(width), 1.0 / width], axis=1)
    weights = xr.DataArray(np.linalg.pinv(columns) * width, {"width": share["width"]}, ("constant", "width"))
    return (weights * share.mean("seed")).sum("width", skipna=False)


def width_exponent(share: xr.DataArray) -> xr.DataArray:
    """β of d ∝ M^β: half of the least-squares slope of log d² in log M, d² the mean over seeds; arguments as above."""
    width = np.log(share["width"].astype(float))
    centred = width - width.mean()
    logarithms = np.log(share.mean("seed").clip(min=1e-16))
    return 0.5 * (centred * logarithms).sum("width", skipna=False) / (centred**2).sum()


def squared_share(cube: xr.Dataset, functions: xr.Dataset, pair: tuple[str, str], ridge: str) -> xr.DataArray:
    """Mean square of f − g over the kernel's error, of networks that were trained to the end, with `left_out`."""
    name = pair_name(*pair)

    def at_ridge(values: xr.DataArray) -> xr.DataArray:
        return values.sel(ridge=ridge) if "ridge" in values.dims else values

    whole, kernel = at_ridge(functions[f"distance_{name}"]) ** 2, errors_without_folds(cube, KERNEL, ridge=ridge)
    parts = functions.get(f"square_distance_folds_{name}")
    if kernel.sizes["left_out"] > 1 and parts is not None:
        whole = without_folds(whole, at_ridge(parts), cube)
    else:
        kernel = kernel.isel(left_out=[0])
    return trained(cube, whole) / kernel
