"""What became of the networks of a cube: failed networks are data, up to a share of them."""

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.status import Status

FAILURES = (Status.DIVERGED, Status.TIMED_OUT, Status.MISSING)


def judged_status(cube: xr.Dataset, training: TrainingSettings) -> xr.DataArray:
    """Status of all networks, `target_mse` reached or not: judged here, so that another one trains nothing again."""
    status = cube["status"].copy()
    finished = status.isin([int(Status.CONVERGED), int(Status.BUDGET_SPENT)])
    if training.loss == "cross_entropy":
        error = cube["train_error"]
        last = error.notnull().cumsum("epoch").argmax("epoch")  # units may differ in their last epoch
        reached = error.isel(epoch=last) == 0.0
    else:
        reached = cube["final_train_mse"] <= training.target_mse
    return status.where(~finished, xr.where(reached, int(Status.CONVERGED), int(Status.BUDGET_SPENT))).astype(np.int8)


def check_failures(status: np.ndarray, allowed: float) -> None:
    """Stops an assembly of which too much failed.

    Args:
        status: of all networks.
        allowed: share of networks that may be diverged, timed out or missing.

    Raises:
        ValueError: if more are.
    """
    counts = {flag: int((status == int(flag)).sum()) for flag in FAILURES}
    failed = sum(counts.values())
    if failed > allowed * status.size:
        listed = ", ".join(f"{count} {flag.meaning}" for flag, count in counts.items() if count)
        raise ValueError(
            f"{failed} of {status.size} networks failed ({listed}), more than the {allowed:g} of them that "
            "max_failed_share allows: mend what made them fail, or raise max_failed_share of this experiment"
        )


def summary_table(cube: xr.Dataset) -> pd.DataFrame:
    """Counts of networks by what became of them.

    Args:
        cube: the cube.

    Returns:
        One line a (init_scale, depth, width) and one for all: networks, how many reached the training error asked
        (`target_mse`), ended their budget above it, diverged, were timed out or are missing, the share of the trained
        that reached it, and the median training error at the end.
    """
    lines = []
    for scale in cube["init_scale"].values:
        for depth in cube["depth"].values:
            for width in cube["width"].values:
                cell = cube.sel(init_scale=scale, depth=depth, width=width)
                keys = {"phase": cell["phase"].item(), "init_scale": scale, "depth": depth, "width": width}
                lines.append(keys | _counts(cell))
    for phase in dict.fromkeys(cube["phase"].values.tolist()):
        chosen = cube.isel(init_scale=cube["phase"].values == phase)
        lines.append({"phase": phase, "init_scale": "all", "depth": "all", "width": "all"} | _counts(chosen))
    lines.append({"phase": "all", "init_scale": "all", "depth": "all", "width": "all"} | _counts(cube))
    return pd.DataFrame(lines)


def _counts(cell: xr.Dataset) -> dict[str, float]:
    status = cell["status"]
    count = {flag: int((status == int(flag)).sum()) for flag in Status}
    trained = status.size - count[Status.MISSING] - count[Status.TIMED_OUT]
    return {
        "networks": status.size,
        "reached target": count[Status.CONVERGED],
        "budget spent": count[Status.BUDGET_SPENT],
        "diverged": count[Status.DIVERGED],
        "timed out": count[Status.TIMED_OUT],
        "missing": count[Status.MISSING],
        "share that reached it": count[Status.CONVERGED] / trained if trained else float("nan"),
        "median final training MSE": float(cell["final_train_mse"].median()),
    }
