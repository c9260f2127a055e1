"""What the cube keeps of the probe kernels: drift, distance, alignment, spectrum."""

import numpy as np
import torch
import xarray as xr

from ntk_atlas.kernels.measures import kernel_distance, relative_drift, spectrum, target_alignment


def row_measures(row: xr.Dataset, targets: np.ndarray) -> xr.Dataset:
    """Measures of one row's probe kernels at one init scale.

    Args:
        row: what `network_row` gives, with `probe_kernels` (n_train, draw, seed, epoch, probe, probe_2).
        targets: targets of the probe samples, `(n_draws, n_probe, n_outputs)`.

    Returns:
        `kernel_drift`, `kernel_distance`, `kernel_alignment` (n_train, draw, seed, epoch) and `kernel_spectrum`
        (…, mode), eigenvalues divided by the number of probe samples.
    """
    kernels = torch.as_tensor(row["probe_kernels"].values, dtype=torch.float64)
    initial = kernels[:, :, :, :1]
    y = torch.as_tensor(targets, dtype=torch.float64)[None, :, None, None]
    dims = ("n_train", "draw", "seed", "epoch")
    n_probe = kernels.shape[-1]
    return xr.Dataset(
        {
            "kernel_drift": (dims, relative_drift(kernels, initial).numpy()),
            "kernel_distance": (dims, kernel_distance(kernels, initial).numpy()),
            "kernel_alignment": (dims, target_alignment(kernels, y).numpy()),
            "kernel_spectrum": ((*dims, "mode"), (spectrum(kernels) / n_probe).numpy().astype(np.float32)),
        },
        coords={**{dim: row[dim] for dim in dims}, "mode": np.arange(n_probe)},
    )
