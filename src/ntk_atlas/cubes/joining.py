"""Puts the arrays of an experiment's files on its configured grid, by position."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ntk_atlas.config.grid import GridSettings
from ntk_atlas.cubes.experiment_files import ExperimentFiles
from ntk_atlas.cubes.schema import CELL
from ntk_atlas.labelled import filled
from ntk_atlas.study.cells import Row

Pieces = dict[str, dict[tuple[int, ...], xr.DataArray]]
"""Arrays of rows by the name of their variable and the row's place."""


def places(grid: GridSettings) -> dict[Row, tuple[int, int, int]]:
    """Where each row of one init scale lies on the configured grid of depth, width and init_scale."""
    return {
        Row(d, w, (s,)): (i, j, k)
        for i, d in enumerate(grid.depth)
        for j, w in enumerate(grid.width)
        for k, s in enumerate(grid.init_scale)
    }


def collect(pieces: Pieces, dataset: xr.Dataset, position: tuple[int, ...]) -> None:
    """Adds the variables of a row's dataset to the pieces."""
    for name, array in dataset.data_vars.items():
        pieces.setdefault(str(name), {})[position] = array


def with_kernels(
    dataset: xr.Dataset, files: ExperimentFiles, init_scales: Sequence[float], read: Callable[[Path], xr.Dataset]
) -> xr.Dataset:
    """The dataset with the variables of infinite kernels and rivals.

    Args:
        dataset: what they are added to.
        files: files of the experiment.
        init_scales: as configured.
        read: reads the variables that are wanted from a file.

    Returns:
        A new dataset.
    """
    scales = {scale: read(file) for scale, file in files.infinite.items()}
    if scales:
        dataset = dataset.merge(join_scales(scales, init_scales))
    for file in files.rivals:
        dataset = dataset.merge(read(file).drop_attrs(deep=False))
    return dataset


def on_grid(
    values: Mapping[tuple[int, ...], xr.DataArray], shape: tuple[int, ...], epochs: Sequence[int] = ()
) -> xr.DataArray:
    """Puts row arrays at their places; epochs, if arrays have any, are joined as labels, they are integers."""
    arrays = list(values.values())
    if "epoch" in arrays[0].dims:
        gap = np.nan if arrays[0].dtype.kind == "f" else -1
        values = {  # most rows have all epochs; `reindex` takes long to find that out
            place: array
            if np.array_equal(array["epoch"].values, epochs)
            else array.reindex(epoch=epochs, fill_value=gap)
            for place, array in values.items()
        }
    first = next(iter(values.values()))
    joined = filled((*shape, *first.shape), first.dtype)
    for place, array in values.items():
        joined[place] = array.values
    coordinates = {name: first[name] for name in first.dims if name in first.coords}
    return xr.DataArray(joined, coordinates, (*CELL[:3], *first.dims))


def join_scales(scales: Mapping[float, xr.Dataset], configured: Sequence[float]) -> xr.Dataset:
    """Puts the files of single init scales side by side, in the order in which they are configured."""
    there = [scale for scale in configured if scale in scales]
    ordered = [scales[scale].drop_attrs(deep=False) for scale in there]
    joined = xr.concat(ordered, dim="init_scale", join="exact", coords="minimal", compat="equals")
    joined = joined.assign_coords(init_scale=np.array(there))
    if len(there) < len(configured):
        joined = xr.Dataset(
            {n: a.reindex(init_scale=configured, fill_value=filled((), a.dtype).item()) for n, a in joined.items()}
        )
    order = ("depth", "width", "init_scale", "n_train", "draw", "ridge", "test_fold", "test_sample", "output")
    return joined.transpose(*[dim for dim in order if dim in joined.dims])
