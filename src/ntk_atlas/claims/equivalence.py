"""The claims of Liu, Tai, Crandall & Huang (2025): is a trained network its kernel regression? C1–C3."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, Region
from ntk_atlas.claims.estimates import Estimate
from ntk_atlas.claims.evidence import Evidence, cell, need_settings, places, widest
from ntk_atlas.claims.kernel_variants import measure_variants
from ntk_atlas.claims.layer_changes import COMPARED, KERNEL, relative_changes, seeded, signs_of
from ntk_atlas.claims.measurement import Claim, Measurement, remarks
from ntk_atlas.claims.networks import cell_estimate, ratio_estimate, replicate_remark, unfinished_remark
from ntk_atlas.claims.width_limit import measure_inequivalence, measure_limit
from ntk_atlas.config.claims.equivalence import LayerAddingSettings, RivalClaimSettings, UntrainedKernelSettings
from ntk_atlas.config.predictors import known_predictors, predictor_label
from ntk_atlas.cubes.layers import compared_ridge
from ntk_atlas.cubes.shared_samples import errors_without_folds


def measure_layer_adding(evidence: Evidence, thresholds: LayerAddingSettings) -> Measurement:
    """C1: (Δ_network − Δ_NTK)/err_NTK(L) at the largest width and n_train, at every init scale.

    Δ is the change of the error over every single step of depth, and from the shallowest to the deepest. The changes to
    depths between are sums of these; with them the family would grow, and not what it can find. The claim holds if one
    of the differences lies beyond the margin, and is rejected if all lie within it.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("C1", evidence, thresholds)
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


def measure_untrained_kernel(evidence: Evidence, thresholds: UntrainedKernelSettings) -> Measurement:
    """C2: test error of the NNGP over that of the NTK at the tuned ridge, every depth and init scale: non-inferiority.

    That a kernel which ignores training costs nothing is supported by a better one too. At how many depths the two are
    as close as the factor either way stands in the remark.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("C2", evidence, thresholds)
    cube, factor = widest(evidence, "test_mse_nngp", f"test_mse_{KERNEL}"), thresholds.factor.value
    ratios: dict[str, list[Estimate]] = {}
    for ridge in ("tuned", "zero"):
        nngp, ntk = (errors_without_folds(cube, name, ridge=ridge) for name in ("nngp", KERNEL))
        here = places(nngp)
        ratios[ridge] = [ratio_estimate(seeded(nngp.isel(place)), seeded(ntk.isel(place))) for place in here]
    comparisons = [
        Comparison(
            f"error of the NNGP over that of the NTK at {cell(nngp, place)}", e, Region(upper=factor), trained=True
        )
        for place, e in zip(here, ratios["tuned"], strict=True)
    ]
    ends = [estimate.interval(0.95)[1:] for estimate in ratios["tuned"]]
    close = sum(low >= 1.0 / factor and high <= factor for low, high in ends)
    text = remarks(
        f"within {1.0 / factor:.3g} … {factor:.3g}, very close either way, in {close} of {len(ends)}",
        f"the ratios are {_values(ratios['tuned'])}, at ridge → 0 {_values(ratios['zero'])}",
    )
    return Measurement(comparisons, ["test_mse_nngp", f"test_mse_{KERNEL}"], text)


def measure_rivals(evidence: Evidence, thresholds: RivalClaimSettings) -> Measurement:
    """C3: test error of the rival that validates best over that of the NTK whose depth validates best, draw by draw.

    Both are chosen on the validation samples alone, so that the best of many on test samples does not count.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("C3", evidence, thresholds)
    cube = widest(evidence, f"test_mse_{KERNEL}", f"validation_mse_{KERNEL}")
    names = [name for name in known_predictors("rival") if f"test_mse_{name}" in cube]
    rivals = [_test_and_validation(cube, name) for name in names]
    joined = tuple(
        xr.concat(parts, dim="rival", coords="minimal", compat="override") for parts in zip(*rivals, strict=True)
    )
    ntk, comparisons, singles = _test_and_validation(cube, KERNEL), [], []
    for scale in range(cube.sizes["init_scale"]):
        place = {"init_scale": scale}
        best_ntk = seeded(_chosen(*(field.isel(place) for field in ntk), "depth"))
        label = f"error of the rival that validates best over the NTK's at {cell(ntk[0], place)}"
        ratio = ratio_estimate(seeded(_chosen(*joined, "rival")), best_ntk)
        comparisons.append(Comparison(label, ratio, Region(upper=thresholds.factor.value), trained=True))
        for name, (rival, _) in zip(names, rivals, strict=True):
            value = ratio_estimate(seeded(rival), best_ntk).interval(0.95)[0]
            singles.append(f"{predictor_label(name)} {value:.3g}")
    return Measurement(
        comparisons, [f"test_mse_{name}" for name in (KERNEL, *names)], f"each by itself: {', '.join(singles)}"
    )


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


def _test_and_validation(cube: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    validation = cube[f"validation_mse_{name}"]
    return errors_without_folds(cube, name), validation.sel(ridge="tuned") if "ridge" in validation.dims else validation


def _chosen(test: xr.DataArray, validation: xr.DataArray, dim: str) -> xr.DataArray:
    """The test error at the place along `dim` with the lowest validation error, in each draw."""
    return test.isel({dim: validation.fillna(np.inf).argmin(dim)}, drop=True)


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


def _values(estimates: Sequence[Estimate]) -> str:
    return ", ".join(f"{estimate.interval(0.95)[0]:.3g}" for estimate in estimates)


EQUIVALENCE = (
    Claim(
        "C1",
        "Adding a layer to the network and to its NTK does not change their errors alike.",
        measure_layer_adding,
        "abstract",
    ),
    Claim(
        "C2",
        "A kernel that ignores training (NNGP) costs next to nothing: its errors are above those of the NTK by less "
        "than a margin.",
        measure_untrained_kernel,
        "abstract; not inferior instead of very close is our reading",
    ),
    Claim("C3", "Kernels that know nothing of networks rival the NTK.", measure_rivals, "third-party summary"),
    Claim(
        "C4",
        "The closed form of each variant of the NTK is the limit of its networks.",
        measure_variants,
        "abstract (derivation); the variants are our reading",
    ),
    Claim(
        "C5",
        "Trained networks of this width are not kernel regression with their infinite-width NTK.",
        measure_inequivalence,
        "abstract (conclusion)",
    ),
    Claim(
        "C5∞",
        "Nor do they become it as the width grows: their distance tends to a large share of its error, and not to "
        "nothing as the theorem says.",
        measure_limit,
        "our reading",
    ),
)
