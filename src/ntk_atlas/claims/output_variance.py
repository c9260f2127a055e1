"""Claim A6: NTK theory predicts the variance of outputs over initializations, within limits."""

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.estimates import Estimate, combination, from_interval, from_replicates
from ntk_atlas.claims.evidence import Evidence, cell_text, need, need_settings
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.networks import ONE_DRAW, at_largest_n
from ntk_atlas.config.claims.finite_width import OutputVarianceClaimSettings

RATIO, OWN, MIDDLE = (
    f"variance_ratio_{pair}" for pair in ("network_infinite_ntk", "network_linearized", "linearized_infinite_ntk")
)
_ENOUGH_DRAWS = 5
"""From so many on, draws are the replicates; below, networks are."""


def measure_output_variance(evidence: Evidence, thresholds: OutputVarianceClaimSettings) -> Measurement:
    """A6: variance of trained networks over that of theory, at the last epoch.

    Within a factor at the shallowest and widest cell, for every init scale: where theory should hold. Beyond it at the
    deepest and narrowest cell, for the largest χ₁: where it should not. The middle terms, network over its own
    linearization and linearization over theory, say why.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A6", evidence, thresholds)
    if evidence.output_variance is None:
        raise NotJudgedError("not run", "the file of `output_variance` is not there: run the study anew")
    data = at_largest_n(evidence.output_variance)
    need(data, RATIO)
    factor = thresholds.factor.value
    easy, hard = {"depth": 0, "width": data.sizes["width"] - 1}, {"depth": data.sizes["depth"] - 1, "width": 0}
    cells = [(easy | {"init_scale": scale}, Region(1.0 / factor, factor)) for scale in range(data.sizes["init_scale"])]
    beyond = hard | {"init_scale": int(np.argmax(_order(data)))}
    cells.append((beyond, Region(1.0 / factor, factor, outside=True)))
    fewest = min(int(data["n_networks"].isel(cell).min()) for cell, _ in cells)
    if fewest < thresholds.least_networks.value:
        raise NotJudgedError(
            "inconclusive",
            f"{fewest} finite networks in a cell, {thresholds.least_networks.value:g} are needed: add grid.seeds",
        )
    confidence = evidence.interval_confidence("output_variance")
    comparisons = [
        Comparison(
            f"variance of networks over theory at {cell_text(data, cell)}",
            _ratio(data, RATIO, cell, confidence),
            region,
        )
        for cell, region in cells
    ]
    variables = [name for name in (RATIO, OWN, MIDDLE) if name in data]
    parts = [
        f"{words} {_ratio(data, name, beyond, confidence).interval(confidence)[0]:.3g}"
        for name, words in ((OWN, "network over its linearization"), (MIDDLE, "linearization over theory"))
        if name in data
    ]
    middle = f"at {cell_text(data, beyond)}: {', '.join(parts)}" if parts else ""
    return Measurement(comparisons, variables, remarks(middle, ONE_DRAW if data.sizes["draw"] == 1 else ""))


def _order(data: xr.Dataset) -> np.ndarray:
    """χ₁, or σ_w² where it is not known."""
    known = "chi_1" in data.coords and bool(np.isfinite(data["chi_1"]).all())
    return data["chi_1"].values if known else data["init_scale"].values


def _ratio(data: xr.Dataset, name: str, place: dict[str, int], confidence: float) -> Estimate:
    """The ratio at the last epoch that has one: t over draws if there are enough, else the bootstrap over networks.

    With few draws the mean of their logarithms has the errors of its networks only; draws have networks of their own.
    """
    values, low, high = (data[f"{name}{suffix}"].isel(place) for suffix in ("", "_low", "_high"))
    last = int(np.flatnonzero(values.notnull().all("draw").values)[-1]) if bool(values.notnull().any()) else -1
    values, low, high = (array.isel(epoch=last).values for array in (values, low, high))
    if len(values) >= _ENOUGH_DRAWS:
        return from_replicates(values, logarithmic=True)
    networks = data["n_networks"].isel(place).values
    draws = [
        from_interval(*ends, confidence=confidence, n=int(n), logarithmic=True)
        for *ends, n in zip(values, low, high, networks, strict=True)
    ]
    mean = combination(draws, [1.0 / len(draws)] * len(draws))
    return Estimate(mean.value, mean.error_low, mean.error_high, int(networks.sum()), logarithmic=True)
