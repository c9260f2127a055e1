"""What became of the networks of a cube, phase by phase."""

import pandas as pd
import xarray as xr

from ntk_atlas.status import Status


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
