"""The claims of Liu, Tai, Crandall & Huang (2025): is a trained network its kernel regression? C1–C3 and C5."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.evidence import Evidence, cell_text, need
from ntk_atlas.claims.kernel_variants import measure_variants
from ntk_atlas.claims.layer_changes import COMPARED, KERNEL, relative_changes, seeded, signs_of
from ntk_atlas.claims.measurement import Claim, Measurement, remarks
from ntk_atlas.claims.networks import (
    at_largest_n,
    cell_estimate,
    ratio_estimate,
    replicate_remark,
    trained,
    unfinished_remark,
)
from ntk_atlas.config.claims.equivalence import (
    InequivalenceSettings,
    LayerAddingSettings,
    RivalClaimSettings,
    UntrainedKernelSettings,
)
from ntk_atlas.config.predictors import known_predictors, predictor_label
from ntk_atlas.cubes.gap import GAP_TERMS, pair_name
from ntk_atlas.cubes.layers import compared_ridge
from ntk_atlas.cubes.predictors import predictor_values


def measure_layer_adding(evidence: Evidence, thresholds: LayerAddingSettings) -> Measurement:
    """C1: (Δ_network − Δ_NTK)/err_NTK(L) at the largest width and n_train, every step of depth and init scale.

    The claim holds if one of them lies beyond the margin, and is rejected if all lie within it.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube, ridge = _widest(evidence, "test_mse_network", f"test_mse_{KERNEL}"), compared_ridge(evidence.settings)
    if cube.sizes["depth"] < 2:
        raise NotJudgedError("not run", "there is one depth only: add some to grid.depth")
    margin = thresholds.margin.value
    network, kernel = relative_changes(cube, KERNEL, ridge=ridge)
    relative = network - kernel
    comparisons = []
    for place in _places(relative):
        after = int(cube["depth"].values[place["depth"] + 1])
        label = f"change of error, network − NTK over err_NTK, {_cell(relative, place)} to {after} layers"
        comparisons.append(
            Comparison(label, cell_estimate(relative.isel(place)), Region(-margin, margin, outside=True), trained=True)
        )
    text = remarks(
        _signs(network, kernel),
        _mean_differences(cube, ridge),
        f"kernels at ridge {ridge}",
        unfinished_remark(cube, evidence.settings),
        replicate_remark(cube),
    )
    return Measurement(comparisons, ["test_mse_network", f"test_mse_{KERNEL}"], text, any_of=True)


def measure_untrained_kernel(evidence: Evidence, thresholds: UntrainedKernelSettings) -> Measurement:
    """C2: test error of the NNGP over that of the NTK at the tuned ridge, every depth and init scale.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube, factor = _widest(evidence, "test_mse_nngp", f"test_mse_{KERNEL}"), thresholds.factor.value
    comparisons, without = [], []
    for ridge in ("tuned", "zero"):
        nngp, ntk = (predictor_values(cube, name, ridge=ridge) for name in ("nngp", KERNEL))
        for place in _places(nngp):
            estimate = ratio_estimate(seeded(nngp.isel(place)), seeded(ntk.isel(place)))
            if ridge == "tuned":
                label = f"error of the NNGP over that of the NTK at {_cell(nngp, place)}"
                comparisons.append(Comparison(label, estimate, Region(1.0 / factor, factor), trained=True))
            else:
                without.append(estimate.interval(0.95)[0])
    text = f"at ridge → 0 the ratios are {_numbers(without)}"
    return Measurement(comparisons, ["test_mse_nngp", f"test_mse_{KERNEL}"], text)


def measure_rivals(evidence: Evidence, thresholds: RivalClaimSettings) -> Measurement:
    """C3: test error of the rival that validates best over that of the NTK whose depth validates best, draw by draw.

    Both are chosen on the validation samples alone, so that the best of many on test samples does not count.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = _widest(evidence, f"test_mse_{KERNEL}", f"validation_mse_{KERNEL}")
    names = [name for name in known_predictors("rival") if f"test_mse_{name}" in cube]
    if not names:
        raise NotJudgedError("not run", "there are no rivals: add laplace, rbf, ... to regression.predictors")
    rivals = [{f: predictor_values(cube, name, f) for f in ("test_mse", "validation_mse")} for name in names]
    joined = {f: xr.concat([rival[f] for rival in rivals], dim="rival") for f in ("test_mse", "validation_mse")}
    comparisons, singles = [], []
    for scale in range(cube.sizes["init_scale"]):
        place = {"init_scale": scale}
        ntk = {f: predictor_values(cube, KERNEL, f).isel(place) for f in ("test_mse", "validation_mse")}
        best_ntk = _chosen(ntk, "depth")
        ratio = ratio_estimate(seeded(_chosen(joined, "rival")), seeded(best_ntk))
        label = f"error of the rival that validates best over the NTK's at {_cell(ntk['test_mse'], place, cube)}"
        comparisons.append(Comparison(label, ratio, Region(upper=thresholds.factor.value), trained=True))
        for name, rival in zip(names, rivals, strict=True):
            value = ratio_estimate(seeded(rival["test_mse"]), seeded(best_ntk)).interval(0.95)[0]
            singles.append(f"{predictor_label(name)} {value:.3g}")
    return Measurement(
        comparisons, [f"test_mse_{name}" for name in (KERNEL, *names)], f"each by itself: {', '.join(singles)}"
    )


def measure_inequivalence(evidence: Evidence, thresholds: InequivalenceSettings) -> Measurement:
    """C5: networks against kernel regression with the infinite NTK, in error and as functions, at the largest width.

    The claim holds if at some depth the errors differ by more than a factor or the predictions by more than a share of
    the kernel's own error, and is rejected if nowhere they do.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube, ridge = _widest(evidence, "test_mse_network", f"test_mse_{KERNEL}"), compared_ridge(evidence.settings)
    factor = thresholds.factor.value
    network, kernel = trained(cube, cube["test_mse_network"]), predictor_values(cube, KERNEL, ridge=ridge)
    comparisons = [
        Comparison(
            f"error of the network over that of the NTK at {_cell(network, place)}",
            ratio_estimate(network.isel(place), kernel.isel(_own(kernel, place))),
            Region(1.0 / factor, factor, outside=True),
            trained=True,
        )
        for place in _places(network)
    ]
    variables, said = ["test_mse_network", f"test_mse_{KERNEL}"], "predictions were not kept: errors only"
    if evidence.functions is not None:
        functions = _at_widest(at_largest_n(evidence.functions))
        size, said = np.sqrt(kernel), []
        for pair in (("network", KERNEL), *GAP_TERMS):
            name = f"distance_{pair_name(*pair)}"
            if name not in functions:
                continue
            distance = functions[name].sel(ridge=ridge) if "ridge" in functions[name].dims else functions[name]
            relative = trained(cube, distance) / size
            if pair == ("network", KERNEL):
                variables.append(name)
                comparisons += [
                    Comparison(
                        f"distance of predictions over the NTK's error at {_cell(relative, place)}",
                        cell_estimate(relative.isel(place), logarithmic=True),
                        Region(lower=thresholds.distance.value),
                        trained=True,
                    )
                    for place in _places(relative)
                ]
            else:
                deepest = relative.isel(depth=-1, init_scale=-1)
                said.append(f"{pair[0]} − {pair[1]} {float(deepest.mean()):.2g}")
        said = f"distances over the NTK's error at the deepest: {', '.join(said)}" if said else ""
    text = remarks(said, f"kernel at ridge {ridge}", unfinished_remark(cube, evidence.settings), replicate_remark(cube))
    return Measurement(comparisons, variables, text, any_of=True)


def _widest(evidence: Evidence, *names: str) -> xr.Dataset:
    cube = at_largest_n(evidence.cube)
    need(cube, *names)
    return _at_widest(cube)


def _at_widest(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.isel(width=int(dataset["width"].values.argmax()))


def _places(values: xr.DataArray) -> list[dict[str, int]]:
    """Places along depth and init_scale."""
    depths, scales = (range(values.sizes.get(dim, 0)) for dim in ("depth", "init_scale"))
    return [{"depth": d, "init_scale": s} for s in scales for d in depths]


def _own(values: xr.DataArray, place: dict[str, int]) -> dict[str, int]:
    return {dim: position for dim, position in place.items() if dim in values.dims}


def _cell(values: xr.DataArray, place: dict[str, int], coordinates: xr.Dataset | None = None) -> str:
    return cell_text((coordinates if coordinates is not None else values).coords.to_dataset(), place)


def _chosen(fields: dict[str, xr.DataArray], dim: str) -> xr.DataArray:
    """The test error at the place along `dim` with the lowest validation error, in each draw."""
    best = fields["validation_mse"].fillna(np.inf).argmin(dim)
    return fields["test_mse"].isel({dim: best}, drop=True)


def _signs(network: xr.DataArray, kernel: xr.DataArray) -> str:
    """How often both changes exceed two standard errors, and agree in sign there."""
    found = [signs_of(*(cell_estimate(seeded(c.isel(place))) for c in (network, kernel))) for place in _places(kernel)]
    counted = len(found) - found.count("open")
    return f"signs agree in {found.count('agree')} of {counted} steps where both changes exceed two standard errors"


def _mean_differences(cube: xr.Dataset, ridge: str) -> str:
    """Mean over steps of |Δ_network − Δ_other|/err_NTK for the other predictors, each a mean over draws."""
    parts = []
    for name in COMPARED[1:]:
        if f"test_mse_{name}" in cube:
            network, other = relative_changes(cube, name, ridge=ridge)
            difference = (network - other).mean(["draw", "seed"])
            parts.append(f"{predictor_label(name)} {float(abs(difference).mean()):.2g}")
    return f"mean difference from {', '.join(parts)}" if parts else ""


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


EQUIVALENCE = (
    Claim(
        "C1",
        "Adding a layer to the network and to its NTK does not change their errors alike.",
        measure_layer_adding,
        "abstract",
    ),
    Claim(
        "C2",
        "Regression with a kernel that ignores training (NNGP) gives errors very close to those of the NTK.",
        measure_untrained_kernel,
        "abstract",
    ),
    Claim("C3", "Kernels that know nothing of networks rival the NTK.", measure_rivals, "third-party summary"),
    Claim(
        "C4",
        "The closed form of each variant of the NTK is the limit of its networks.",
        measure_variants,
        "abstract (derivation); the variants are our reading",
    ),
    Claim("C5", "Trained networks are not kernel regression with their NTK.", measure_inequivalence, "abstract"),
)
