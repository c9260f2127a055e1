"""What the cube keeps of the probe kernels: drift, distance, alignment, spectrum."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ntk_atlas.kernels.measures import kernel_distance, relative_drift, spectrum, target_alignment

BLOCK_ENTRIES = 2**22
"""Kernel entries measured at once: 32 MB in float64, whatever the number of networks."""
_BLOCK_DIMS = ("n_train", "seed", "epoch", "probe", "probe_2")


def row_measures(row: xr.Dataset, targets: np.ndarray) -> xr.Dataset:
    """Measures of one row's probe kernels.

    Args:
        row: what `network_row` gives, with `probe_kernels` (..., n_train, draw, seed, epoch, probe, probe_2).
        targets: targets of the probe samples, `(n_draws, n_probe, n_outputs)`.

    Returns:
        `kernel_drift`, `kernel_distance`, `kernel_alignment` (..., n_train, draw, seed, epoch) and `kernel_spectrum`
        (…, mode), eigenvalues divided by the number of probe samples.
    """
    kernels = row["probe_kernels"]
    dims = tuple(dim for dim in kernels.dims if dim not in ("probe", "probe_2"))
    shape, n_probe = tuple(kernels.sizes[dim] for dim in dims), kernels.sizes["probe"]
    drift, distance, alignment = (np.full(shape, np.nan) for _ in range(3))
    modes = np.full((*shape, n_probe), np.nan, dtype=np.float32)
    y = torch.as_tensor(targets, dtype=torch.float64)
    for place, draw, block in kernel_blocks(kernels):
        initial = block[..., :1, :, :]
        drift[place] = relative_drift(block, initial).numpy()
        distance[place] = kernel_distance(block, initial).numpy()
        alignment[place] = target_alignment(block, y[draw]).numpy()
        modes[place] = (spectrum(block) / n_probe).numpy()
    return xr.Dataset(
        {
            "kernel_drift": (dims, drift),
            "kernel_distance": (dims, distance),
            "kernel_alignment": (dims, alignment),
            "kernel_spectrum": ((*dims, "mode"), modes),
        },
        coords={**{dim: row[dim] for dim in dims if dim in row.coords}, "mode": np.arange(n_probe)},
    )


def kernel_blocks(kernels: xr.DataArray) -> Iterator[tuple[tuple, int, Tensor]]:
    """Goes through the probe kernels of a row, as many networks of one draw at a time as `BLOCK_ENTRIES` lets.

    Args:
        kernels: `(..., n_train, draw, seed, epoch, probe, probe_2)`.

    Yields:
        Index of the networks in the dimensions before `epoch`, number of the draw, kernels `(N', S', E, P, P)` in
        float64, N' sizes of training set.
    """
    leading = tuple(dim for dim in kernels.dims if dim not in _BLOCK_DIMS)
    n_sizes, n_seeds, *of_network = (kernels.sizes[dim] for dim in _BLOCK_DIMS)
    n_networks = max(1, BLOCK_ENTRIES // int(np.prod(of_network)))
    size_blocks = list(_slices(n_sizes, max(1, n_networks // n_seeds)))
    seed_blocks = list(_slices(n_seeds, n_networks))
    for cell in np.ndindex(*(kernels.sizes[dim] for dim in leading)):
        at = dict(zip(leading, cell, strict=True))
        for sizes, seeds in itertools.product(size_blocks, seed_blocks):
            chosen = at | {"n_train": sizes, "seed": seeds}
            block = torch.as_tensor(kernels.variable.isel(chosen).values, dtype=torch.float64)
            yield tuple(chosen[dim] for dim in kernels.dims[:-3]), at["draw"], block


def _slices(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
