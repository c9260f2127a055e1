"""Claims about the randomness of the kernel at initialization: A2, A'1, A'2."""

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.estimates import Estimate, combination, from_interval, slope
from ntk_atlas.claims.evidence import (
    Evidence,
    cell_text,
    deepest_cell,
    need,
    need_dispersion,
    need_settings,
    scales_of,
    settled_depths,
    unsettled_reason,
)
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.config.claims.finite_width import ExactDispersionSettings, GrowthSettings, RandomKernelSettings
from ntk_atlas.study.claim_needs import PHASES

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


def measure_random_kernel(evidence: Evidence, thresholds: RandomKernelSettings) -> Measurement:
    """A2: Var log Θ of the deepest chaotic networks, and its slope in λ at their width.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A2", evidence, thresholds)
    dispersion = need_dispersion(evidence)
    need(dispersion, LOG_VARIANCE)
    place = deepest_cell(dispersion, thresholds.least_lambda.value)
    comparisons, ratios = [], []
    for scale in scales_of(dispersion, "chaotic"):
        cell = place | {"init_scale": int(scale)}
        estimate = log_variance(evidence, cell, logarithmic=True)
        label = f"Var log Θ at {cell_text(dispersion, cell)}"
        comparisons.append(Comparison(label, estimate, Region(lower=thresholds.log_variance.value)))
        ratios.append(_ratio_text(dispersion, cell))
    comparisons += _growth(evidence, place["width"], ["chaotic"], Region(lower=thresholds.growth.value))
    remark = remarks(f"R = E[Θ²]/E[Θ]² there: {', '.join(ratios)}", inputs_text(dispersion))
    return Measurement(comparisons, [LOG_VARIANCE, "ntk_ratio"], remark)


def measure_growth(evidence: Evidence, thresholds: GrowthSettings) -> Measurement:
    """A'2: slopes of Var log Θ in λ at the narrowest width, phase by phase; ordered only where the phase settled.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A'2", evidence, thresholds)
    need(need_dispersion(evidence), LOG_VARIANCE)
    growing = Region(lower=thresholds.growth.value)
    flat = Region(-thresholds.ordered_growth.value, thresholds.ordered_growth.value)
    comparisons = _growth(evidence, 0, ["critical", "chaotic"], growing)
    settled = _growth(evidence, 0, ["ordered"], flat, unsettled=thresholds.unsettled.value)
    if not settled:
        reason = unsettled_reason(thresholds.unsettled.value, "dispersion.depth")
        raise NotJudgedError("not run", f"a slope needs two settled depths; {reason}")
    return Measurement([*comparisons, *settled], [LOG_VARIANCE], inputs_text(evidence.dispersion))


def measure_exact_dispersion(evidence: Evidence, thresholds: ExactDispersionSettings) -> Measurement:
    """A'1: networks against the exact law of finite networks, and that law against the paper's kind of formula.

    Var log Θ of networks over that of the exact law says that networks follow the law; R of the exact law over the
    finite sums says that the closed form does. Both in each phase, at the largest λ up to which the sums are judged.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A'1", evidence, thresholds)
    dispersion = need_dispersion(evidence)
    names = ("log_ntk_variance_exact", "ntk_ratio_exact", "ntk_ratio_finite_sum")
    need(dispersion, LOG_VARIANCE, *names)
    place = _largest_lambda(dispersion, thresholds.largest_lambda.value)
    networks, theory = thresholds.network_factor.value, thresholds.theory_factor.value
    comparisons = []
    for scale in scales_of(dispersion, *PHASES):
        cell = place | {"init_scale": int(scale)}
        text = cell_text(dispersion, cell)
        measured = log_variance(evidence, cell, logarithmic=True)
        exact = _from_error(dispersion, "log_ntk_variance_exact", cell)
        ratio = combination([measured, exact], [1.0, -1.0])
        label = f"Var log Θ of networks over that of the exact law at {text}"
        comparisons.append(Comparison(label, ratio, Region(1.0 / networks, networks)))
        law = _from_error(dispersion, "ntk_ratio_exact", cell)
        known = float(np.log(_value(dispersion, "ntk_ratio_finite_sum", cell)))
        difference = Estimate(law.value - known, law.error_low, law.error_high, law.n, logarithmic=True)
        label = f"R of the exact law over the finite sum at {text}"
        comparisons.append(Comparison(label, difference, Region(1.0 / theory, theory)))
    return Measurement(comparisons, [LOG_VARIANCE, *names], inputs_text(dispersion))


def inputs_text(dispersion: xr.Dataset) -> str:
    """The inputs of the untrained networks, in words; empty where the file does not say."""
    if "squared_norm" not in dispersion.attrs:
        return ""
    norm, n_inputs = float(dispersion.attrs["squared_norm"]), int(dispersion.attrs["n_inputs"])
    return f"Var log Θ at inputs of ‖x‖² = {norm:.4g}, n₀ = {n_inputs}"


def _growth(
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


def _largest_lambda(dispersion: xr.Dataset, limit: float) -> dict[str, int]:
    ratio = (dispersion["depth"].values[:, None] + 1) / dispersion["width"].values
    within = np.where(ratio <= limit, ratio, -np.inf)
    if not np.isfinite(within).any():
        raise NotJudgedError("not run", f"all cells have λ above {limit:g}, beyond what is judged: add wider ones")
    depth, width = np.unravel_index(int(within.argmax()), within.shape)
    return {"depth": int(depth), "width": int(width)}


def _stored(evidence: Evidence, name: str, place: dict[str, int], *, logarithmic: bool) -> Estimate:
    dispersion = evidence.dispersion
    values = [_value(dispersion, f"{name}{suffix}", place) for suffix in ("", "_low", "_high")]
    need(dispersion, "n_finite")
    n, confidence = int(dispersion["n_finite"].isel(place)), evidence.interval_confidence("dispersion")
    return from_interval(*values, confidence=confidence, n=n, logarithmic=logarithmic)


def _from_error(dispersion: xr.Dataset, name: str, place: dict[str, int]) -> Estimate:
    """The logarithm of an estimate with a standard error, to first order."""
    value, error = _value(dispersion, name, place), _value(dispersion, f"{name}_error", place)
    n = int(dispersion.attrs.get("n_exact", 10**9))
    return Estimate(float(np.log(value)), error / value, error / value, n, logarithmic=True)


def _value(dispersion: xr.Dataset, name: str, place: dict[str, int]) -> float:
    array = dispersion[name].isel({dim: at for dim, at in place.items() if dim in dispersion[name].dims})
    array = array.sel(parameters="all") if "parameters" in array.dims else array
    return float(array.sel(correlation=1.0) if "correlation" in array.dims else array)


def _ratio_text(dispersion: xr.Dataset, place: dict[str, int]) -> str:
    if "ntk_ratio" not in dispersion:
        return "not stored"
    reliable = "ntk_ratio_reliable" not in dispersion or _value(dispersion, "ntk_ratio_reliable", place) > 0
    return f"{_value(dispersion, 'ntk_ratio', place):.3g}" + ("" if reliable else " (unreliable)")
