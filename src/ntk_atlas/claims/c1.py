"""C1: (Δ_network − Δ_NTK)/err_NTK(L) at the largest width and n_train, at every init scale."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import predictor, several

CLAIM = Claim(
    statement="Adding a layer to the network and to its NTK does not change their errors alike.",
    statistic=(
        "Change of the network's test error from one depth to the next, and from the shallowest to the deepest, minus "
        "that of the infinite NTK's, in units of the NTK's error before, at the largest width"
    ),
    compared=(
        (
            (
                "(Δ_network − Δ_NTK)/err_NTK(L), paired by draw, Δ = err at the next depth − err at L, and from the "
                "shallowest depth L to the deepest: **at least one**"
            ),
            "outside −0.1 … 0.1",
        ),
    ),
    source="abstract",
    thresholds={
        # Largest difference of the two changes that counts as none, in units of the kernel's error before.
        "margin": Threshold(
            value=0.1,
            reason=(
                "A tenth of the error: smaller differences between two predictors are within what another draw of the "
                "data does to each of them."
            ),
        ),
    },
    needs=(
        predictor("infinite_ntk"),
        several("depth"),
    ),
)

import numpy as np
import xarray as xr

from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import compared_ridge
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.equivalence import COMPARED, KERNEL, relative_changes, seeded, signs_of
from ntk_atlas.judging.evidence import Evidence, cell_estimate, places, replicate_remark, unfinished_remark, widest


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """C1: (Δ_network − Δ_NTK)/err_NTK(L) at the largest width and n_train, at every init scale.

    Δ is the change of the error over every single step of depth, and from the shallowest to the deepest. The changes to
    depths between are sums of these; with them the family would grow, and not what it can find. The claim holds if one
    of the differences lies beyond the margin, and is rejected if all lie within it.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube, ridge = widest(evidence, "test_mse_network", f"test_mse_{KERNEL}"), compared_ridge(evidence.settings)
    margin = thresholds.margin.value
    network, kernel = (_judged(changes) for changes in relative_changes(cube, KERNEL, ridge=ridge))
    difference = network - kernel
    comparisons = []
    for place in places(difference, "change"):
        label = f"change of error {_steps(difference, place)}, network − NTK over err_NTK before"
        comparisons.append(
            Comparison(
                label, cell_estimate(difference.isel(place)), Region(-margin, margin, outside=True), trained=True
            )
        )
    text = remarks(
        _whole(network, kernel),
        _signs(network, kernel),
        _mean_differences(cube, ridge),
        f"kernels at ridge {ridge}",
        unfinished_remark(cube, evidence.settings),
        replicate_remark(cube),
    )
    return Measurement(comparisons, ["test_mse_network", f"test_mse_{KERNEL}"], text, any_of=True)


def _judged(changes: xr.DataArray) -> xr.DataArray:
    """The single steps, and the change from the shallowest to the deepest."""
    whole = np.arange(changes.sizes["change"]) == changes.sizes["change"] - 1
    return changes.isel(change=np.flatnonzero(changes["single"].values | whole))


def _steps(changes: xr.DataArray, place: dict[str, int]) -> str:
    """The change at a place, in words."""
    here = changes.isel(place)
    return f"from {int(here['before'])} to {int(here['after'])} layers at σ_w² = {float(here['init_scale']):.5g}"


def _whole(network: xr.DataArray, kernel: xr.DataArray) -> str:
    """What all layers together do to network and kernel, at the last init scale."""
    place = {"change": -1, "init_scale": -1}
    ends = [cell_estimate(seeded(changes.isel(place))).interval(0.95)[0] for changes in (network, kernel)]
    return f"{_steps(network, place)} the network's error changes by {ends[0]:+.2g}, the NTK's by {ends[1]:+.2g}"


def _signs(network: xr.DataArray, kernel: xr.DataArray) -> str:
    """How often both changes exceed two standard errors, and agree in sign there."""
    here = places(kernel, "change")
    found = [signs_of(*(cell_estimate(seeded(c.isel(place))) for c in (network, kernel))) for place in here]
    counted = len(found) - found.count("open")
    return f"signs agree in {found.count('agree')} of {counted} changes where both exceed two standard errors"


def _mean_differences(cube: xr.Dataset, ridge: str) -> str:
    """Mean over single steps of |Δ_network − Δ_other|/err_NTK for the other predictors, each a mean over draws."""
    parts = []
    for name in COMPARED[1:]:
        if f"test_mse_{name}" in cube:
            network, other = relative_changes(cube, name, ridge=ridge)
            difference = (network - other).isel(left_out=0, change=np.flatnonzero(network["single"].values))
            parts.append(f"{predictor_label(name)} {float(abs(difference.mean(['draw', 'seed'])).mean()):.2g}")
    return f"mean difference of single steps from {', '.join(parts)}" if parts else ""
