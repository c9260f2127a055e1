"""What adding layers does to the test error of each predictor."""

import numpy as np
import xarray as xr

from ntk_atlas.config.study import ExperimentSettings


def compared_ridge(settings: ExperimentSettings) -> str:
    """The ridge of the kernels that networks are compared with: what theory says of how they were trained.

    Networks trained to the end interpolate as kernels do at ridge → 0; those stopped at the best validation error are
    compared with the ridge of the best validation error.
    """
    return "tuned" if settings.training.selection == "best_validation" else "zero"


def depth_pairs(n_depths: int) -> list[tuple[int, int]]:
    """Places of two depths between which errors change: every single step, then from the shallowest to each deeper one.

    Args:
        n_depths: depths of the grid.

    Returns:
        Pairs (before, after), each once: the first single step is the first cumulative change too.
    """
    single = [(place, place + 1) for place in range(n_depths - 1)]
    return single + [(0, place) for place in range(2, n_depths)]


def layer_changes(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Changes of an error between two depths, err(after) − err(before), and err(before).

    Args:
        values: errors over `depth`, two or more, and whatever else.

    Returns:
        The two over `change` in place of `depth`, with coordinates `before` and `after` (hidden layers) and `single`
        (whether they are neighbours on the grid), in the order of `depth_pairs`.
    """
    depths, pairs = values["depth"].values, np.array(depth_pairs(values.sizes["depth"]))
    ends = [values.isel(depth=xr.DataArray(places, dims="change")).drop_vars("depth") for places in pairs.T]
    coordinates = {
        "before": ("change", depths[pairs[:, 0]]),
        "after": ("change", depths[pairs[:, 1]]),
        "single": ("change", pairs[:, 1] - pairs[:, 0] == 1),
    }
    return (ends[1] - ends[0]).assign_coords(coordinates), ends[0].assign_coords(coordinates)
