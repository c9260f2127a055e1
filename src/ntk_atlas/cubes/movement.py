"""How the probe kernels of networks move: velocity, class blocks, and movement at equal training error."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ntk_atlas.cubes.kernel_measures import kernel_blocks
from ntk_atlas.kernels.measures import class_block_ratios, kernel_distance


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
