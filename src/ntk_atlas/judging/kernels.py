"""The kernel of a network as evidence: how random it is at initialization, and how far it moves in training."""

from dataclasses import replace

import numpy as np
import xarray as xr

from ntk_atlas.judging.decision import Comparison, Region, remarks
from ntk_atlas.judging.evidence import (
    Evidence,
    cell_median,
    cell_text,
    final_values,
    need,
    need_dispersion,
    replicate_remark,
    scales_of,
    settled_depths,
    trained,
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
    dispersion = need_dispersion(evidence)
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
    dispersion = need_dispersion(evidence)
    values = [stored_value(dispersion, f"{name}{suffix}", place) for suffix in ("", "_low", "_high")]
    need(dispersion, "n_finite")
    n, confidence = int(dispersion["n_finite"].isel(place)), evidence.interval_confidence("dispersion")
    return from_interval(*values, confidence=confidence, n=n, logarithmic=logarithmic)


def stored_value(dispersion: xr.Dataset, name: str, place: dict[str, int]) -> float:
    """A number of `dispersion.nc` in a cell: all parameters, Θ(x, x)."""
    array = dispersion[name].isel({dim: at for dim, at in place.items() if dim in dispersion[name].dims})
    array = array.sel(parameters="all") if "parameters" in array.dims else array
    return float(array.sel(correlation=1.0) if "correlation" in array.dims else array)


DRIFT, EQUAL_LOSS = "kernel_drift", "kernel_drift_at_equal_loss"
TARGETS = {"unit": "targets of size one", "initial_output": "targets of the size of f₀"}
"""`training.target_scale` in words."""


_BEYOND_ALL = 1e8
"""More than any drift; negative so that the mean of two seeds, of which one has no drift, is below all others too."""


def conditions(evidence: Evidence) -> str:
    """What a verdict on movement holds for: samples of the kernel, size of the targets, and what replicates are."""
    samples = str(evidence.cube.attrs.get("kernel_probe", "")).partition(" and ")[0]
    of_samples = f"kernel of the {samples}" if samples else ""
    return remarks(TARGETS[evidence.settings.training.target_scale], of_samples, replicate_remark(evidence.cube))


def drift_comparison(
    cube: xr.Dataset, drift: xr.DataArray, cell: dict[str, int], region: Region, at: str = ""
) -> Comparison:
    """The median drift in a cell against a region, and how many networks lie in it."""
    values = drift.isel(cell).values
    known = values[np.isfinite(values)]
    within = int(((known > region.lower) & (known < region.upper)).sum())
    label = f"median drift{at} at {cell_text(cube, cell)} ({within} of {len(known)} networks {region})"
    return Comparison(label, cell_median(drift.isel(cell), logarithmic=True), region, trained=True)


def drift_comparisons(
    cube: xr.Dataset, cells: list[dict[str, int]], region: Region, *, all_cells: bool
) -> tuple[list[Comparison], str]:
    """Drift at the last epoch and at equal loss, and a remark on networks that did not get there.

    A cell where a network was trained to the end and did not reach the loss has no comparison there, unless
    `all_cells`: "it moved" must hold at equal loss too (`_at_equal_loss`), while "it did not move" may be said of
    networks that cannot be trained.
    """
    final = final_values(cube, DRIFT)
    comparisons = [drift_comparison(cube, final, cell, region) for cell in cells]
    if EQUAL_LOSS not in cube:
        return comparisons, "drift at equal loss is not in the cube"
    at_loss, reached, total = trained(cube, cube[EQUAL_LOSS]), 0, 0
    for cell in cells:
        there, of = (int(values.isel(cell).notnull().sum()) for values in (at_loss, final))
        reached, total = reached + there, total + of
        if there == of or all_cells:
            comparisons.append(_at_equal_loss(cube, at_loss, final, cell, region))
    return comparisons, "" if reached == total else f"{reached} of {total} networks reached movement.equal_loss"


def _at_equal_loss(
    cube: xr.Dataset, at_loss: xr.DataArray, final: xr.DataArray, cell: dict[str, int], region: Region
) -> Comparison:
    """Median drift at equal loss of a cell in which networks may never have got there.

    The drift of such a network at that loss is not known, so the median over all networks lies between two numbers: the
    median with these networks below all others, and the median with them above. If the first is beyond the bound, it
    may support "it moved" and can reject nothing; if the second is short of the bound, it may reject and can support
    nothing; else the comparison is open.
    """
    missing = final.notnull() & at_loss.isnull()
    lost, of = (int(values.isel(cell).sum()) for values in (missing, final.notnull()))
    comparison = drift_comparison(cube, at_loss, cell, region, " at equal loss")
    if not lost:
        return comparison
    for drift, word in ((-_BEYOND_ALL, "unmoved"), (_BEYOND_ALL, "moved")):
        estimate = cell_median(at_loss.where(~missing, drift).isel(cell), logarithmic=True)
        beyond = estimate.interval(0.5)[0] > region.lower
        if beyond == (word == "unmoved"):
            label = f"{comparison.label}, counting {lost} of {of} that never got there as {word}"
            return replace(comparison, label=label, estimate=estimate)
    return replace(comparison, open=f"{lost} of {of} networks never got there")
