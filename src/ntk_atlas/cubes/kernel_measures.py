"""What the cube keeps of the probe kernels: drift, alignment, spectrum, velocity, class blocks."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ntk_atlas.kernels.measures import class_block_ratios, kernel_distance, relative_drift, spectrum, target_alignment

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


def kernel_movement(row: xr.Dataset, labels: np.ndarray | None) -> xr.Dataset:
    """Velocity and class blocks of a row's probe kernels, and one network's kernels themselves.

    The velocity at a checkpoint is the mean one since the checkpoint before, S(Θ_s, Θ_t)/(t − s) with t − s in epochs
    and S = 1 − cosine (Fort et al. 2020, who divide by a fixed Δ): it stands at the end of its interval, and there is
    none at the first checkpoint. Checkpoints that a network does not have are skipped.

    Args:
        row: a file of `network_row`, with `probe_kernels` (..., n_train, draw, seed, epoch, probe, probe_2).
        labels: classes of the probe samples in every draw, `(n_draws, n_probe)`; None for regression data.

    Returns:
        `kernel_velocity`, `within_class_ratio`, `between_class_ratio` (..., n_train, draw, seed, epoch), the ratios
        NaN on regression data; `probe_kernel` (..., epoch, probe, probe_2): draw 0, seed 0, largest n_train.
    """
    kernels, epochs = row["probe_kernels"], row["epoch"].values
    dims = tuple(dim for dim in kernels.dims if dim not in ("probe", "probe_2"))
    shape = tuple(kernels.sizes[dim] for dim in dims)
    velocity, within, between = (np.full(shape, np.nan) for _ in range(3))
    for place, draw, block in kernel_blocks(kernels):
        velocity[place] = velocities(block, epochs).numpy()
        if labels is not None:
            ratios = class_block_ratios(block, torch.as_tensor(labels[draw]))
            within[place], between[place] = ratios.within.numpy(), ratios.between.numpy()
    measures = {"kernel_velocity": velocity, "within_class_ratio": within, "between_class_ratio": between}
    one = {"n_train": int(np.argmax(row["n_train"].values)), "draw": 0, "seed": 0}
    return xr.Dataset(
        {name: (dims, values) for name, values in measures.items()}
        | {"probe_kernel": kernels.isel(one).astype(np.float32).drop_vars(one, errors="ignore")},
        coords={dim: row[dim] for dim in dims if dim in row.coords},
    )


def velocities(kernels: Tensor, epochs: np.ndarray) -> Tensor:
    """Distance to the checkpoint before over the epochs since, see `kernel_movement`.

    Args:
        kernels: `(..., E, P, P)`; a checkpoint that a network does not have is NaN.
        epochs: `(E,)`, ascending.

    Returns:
        `(..., E)`; NaN at the first checkpoint and where there is none.
    """
    result = kernels.new_full(kernels.shape[:-2], torch.nan)
    latest = torch.zeros_like(kernels[..., 0, :, :])
    at = kernels.new_full(latest.shape[:-2], torch.nan)
    for kernel, velocity, epoch in zip(kernels.unbind(-3), result.unbind(-1), epochs, strict=True):
        there = torch.isfinite(kernel).all(-1).all(-1)
        known = there & torch.isfinite(at)
        velocity[known] = kernel_distance(latest[known], kernel[known]) / (float(epoch) - at[known])
        latest[there], at[there] = kernel[there], float(epoch)
    return result


def movement_at_equal_loss(cube: xr.Dataset, equal_loss: float, suffix: str = "") -> xr.Dataset:
    """Movement at the first checkpoint whose training MSE is at most `equal_loss` × that of predicting zero.

    An untrained network has not moved, so kernels that belong to different training errors cannot be compared at
    equal epochs alone. Nothing is interpolated: checkpoints may be far apart, `train_mse_at_equal_loss` says what the
    error was. A network that diverged has these values if it got there before.

    Args:
        cube: `train_mse`, `kernel_drift`, `kernel_distance` (..., epoch), and `zero_train_mse` (n_train, draw), the
            mean squared target of each training set; all in target², whatever `training.target_scale`.
        equal_loss: the share.
        suffix: what the names of the kernel measures end in; those of the result do too.

    Returns:
        `epoch_at_equal_loss`, `train_mse_at_equal_loss`, `kernel_drift_at_equal_loss`,
        `kernel_distance_at_equal_loss` (...), NaN for networks that never get there.
    """
    error = cube["train_mse"].transpose(..., "epoch")
    reached = error <= equal_loss * cube["zero_train_mse"]  # NaN is not
    reached = reached.transpose(*error.dims)
    ever, first = reached.any("epoch"), reached.argmax("epoch")
    measures = {
        "epoch_at_equal_loss": cube["epoch"].astype(np.float64),
        "train_mse_at_equal_loss": error,
        f"kernel_drift_at_equal_loss{suffix}": cube[f"kernel_drift{suffix}"],
        f"kernel_distance_at_equal_loss{suffix}": cube[f"kernel_distance{suffix}"],
    }
    return xr.Dataset(
        {name: values.isel(epoch=first).drop_vars("epoch").where(ever) for name, values in measures.items()}
    )


def kernel_blocks(kernels: xr.DataArray) -> Iterator[tuple[tuple[int | slice, ...], int, Tensor]]:
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
