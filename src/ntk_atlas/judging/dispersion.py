"""Claims about the randomness of the kernel at initialization: A2, A'1, A'2."""

import numpy as np
import xarray as xr

from ntk_atlas.judging.decision import Comparison, Region
from ntk_atlas.judging.evidence import (
    Evidence,
    cell_text,
    need,
    scales_of,
    settled_depths,
)
from ntk_atlas.statistics.estimates import Estimate, from_interval, slope

LOG_VARIANCE = "log_ntk_variance"


def log_variance(evidence: Evidence, place: dict[str, int], *, logarithmic: bool = False) -> Estimate:
    """Var log Θ(x, x) over untrained networks in a cell, all parameters, with its bootstrap errors.

    Args:
        evidence: with a dispersion.
        place: positions along depth, width and init_scale.
        logarithmic: treat its logarithm as normal.

    Returns:
        The estimate.
    """
    return _stored(evidence, LOG_VARIANCE, place, logarithmic=logarithmic)


def inputs_text(dispersion: xr.Dataset) -> str:
    """The inputs of the untrained networks, in words; empty where the file does not say."""
    if "squared_norm" not in dispersion.attrs:
        return ""
    norm, n_inputs = float(dispersion.attrs["squared_norm"]), int(dispersion.attrs["n_inputs"])
    return f"Var log Θ at inputs of ‖x‖² = {norm:.4g}, n₀ = {n_inputs}"


def growth_in_lambda(
    evidence: Evidence, width: int, phases: list[str], region: Region, unsettled: float | None = None
) -> list[Comparison]:
    """Slopes in λ of the init scales in some phases, over all depths or those where the phase has settled."""
    dispersion = evidence.dispersion
    comparisons = []
    for scale in scales_of(dispersion, *phases):
        depths = (
            np.arange(dispersion.sizes["depth"])
            if unsettled is None
            else settled_depths(dispersion, int(scale), width, unsettled)
        )
        if len(depths) < 2:
            continue
        places = [{"depth": int(d), "width": width, "init_scale": int(scale)} for d in depths]
        estimates = [log_variance(evidence, place) for place in places]
        ratio = (dispersion["depth"].values[depths] + 1) / dispersion["width"].values[width]
        text = cell_text(dispersion, {"width": width, "init_scale": int(scale)})
        comparisons.append(Comparison(f"slope of Var log Θ in λ at {text}", slope(estimates, ratio), region))
    return comparisons


def _stored(evidence: Evidence, name: str, place: dict[str, int], *, logarithmic: bool) -> Estimate:
    dispersion = evidence.dispersion
    values = [stored_value(dispersion, f"{name}{suffix}", place) for suffix in ("", "_low", "_high")]
    need(dispersion, "n_finite")
    n, confidence = int(dispersion["n_finite"].isel(place)), evidence.interval_confidence("dispersion")
    return from_interval(*values, confidence=confidence, n=n, logarithmic=logarithmic)


def stored_value(dispersion: xr.Dataset, name: str, place: dict[str, int]) -> float:
    """A number of `dispersion.nc` in a cell: all parameters, Θ(x, x)."""
    array = dispersion[name].isel({dim: at for dim, at in place.items() if dim in dispersion[name].dims})
    array = array.sel(parameters="all") if "parameters" in array.dims else array
    return float(array.sel(correlation=1.0) if "correlation" in array.dims else array)
