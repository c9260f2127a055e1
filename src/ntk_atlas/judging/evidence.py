"""What an experiment offers to judge by, and the cells of it that claims are about.

Trained networks are replicates: draws, paired where cells are compared; diverged networks are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from ntk_atlas.arrays import NOT_TRAINED, Status
from ntk_atlas.config.analyses import OutputVarianceSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import Claim, ClaimSettings
from ntk_atlas.cubes.dictionary import NO_CLASS
from ntk_atlas.cubes.files import LEFT_OUT, SHARED_TRAIN, experiment_settings, fold_shares, read_netcdf
from ntk_atlas.judging.decision import NotJudgedError
from ntk_atlas.statistics.estimates import (
    SMALLEST,
    Estimate,
    MedianEstimate,
    common_variance,
    from_replicates,
    median_of,
)
from ntk_atlas.statistics.intervals import finite_mean
from ntk_atlas.study.claim_needs import Asked, has_classes, no_deep_networks, unmet_needs


@dataclass(frozen=True, eq=False)
class Evidence:
    """The labelled arrays of one experiment.

    Attributes:
        name: name of the experiment.
        settings: its settings.
        cube: the cube.
        dispersion: randomness of the kernel over untrained networks, if it was asked for.
        output_variance: variance of outputs over trained networks, if it was asked for.
        variants: settings and cube of each experiment that is a variant of this one, by name.
        functions: predictions on test samples and distances between them, if they were kept.
        kernel_variants: networks beside the variants of the NTK, if they were asked for.
    """

    name: str
    settings: ExperimentSettings
    cube: xr.Dataset
    dispersion: xr.Dataset | None = None
    output_variance: xr.Dataset | None = None
    variants: Mapping[str, tuple[ExperimentSettings, xr.Dataset]] = field(default_factory=dict)
    functions: xr.Dataset | None = None
    kernel_variants: xr.Dataset | None = None

    def interval_confidence(self, section: Literal["dispersion", "output_variance"]) -> float:
        """Coverage of the intervals in a file; the default where the settings at hand are a cube's, without it."""
        settings = getattr(self.settings, section)
        return (OutputVarianceSettings() if settings is None else settings).confidence


def read_evidence(
    name: str,
    cube: Path,
    settings: ExperimentSettings | None = None,
    dispersion: Path | None = None,
    output_variance: Path | None = None,
    variants: Mapping[str, Path] | None = None,
    functions: Path | None = None,
    kernel_variants: Path | None = None,
) -> Evidence:
    """Reads the files of an experiment; its settings are those that the cube carries unless given."""
    read = read_netcdf(cube)
    files = {
        "dispersion": dispersion,
        "output_variance": output_variance,
        "functions": functions,
        "kernel_variants": kernel_variants,
    }
    others = {kind: None if file is None else read_netcdf(file) for kind, file in files.items()}
    cubes = {variant: read_netcdf(file) for variant, file in (variants or {}).items()}
    known = {variant: (experiment_settings(other), other) for variant, other in cubes.items()}
    return Evidence(name, settings or experiment_settings(read), read, variants=known, **others)


def need_settings(claim: Claim, evidence: Evidence, thresholds: ClaimSettings) -> None:
    """Checks that the settings of an experiment have what a claim needs (`study.claim_needs`), as the plan did.

    Raises:
        NotJudgedError: the first need that is not met.
    """
    variants = {name: settings for name, (settings, _) in evidence.variants.items()}
    cube, sections = evidence.cube, ("dispersion", "output_variance", "kernel_variants")
    asked = Asked(
        evidence.name, evidence.settings, thresholds, variants,
        phases=tuple(map(str, cube["phase"].values)) if "phase" in cube else None,
        classes=_has_classes(evidence),
        files=[section for section in sections if getattr(evidence, section) is not None],
    )  # fmt: skip
    for unmet in unmet_needs(claim, asked):
        raise NotJudgedError(*unmet)


def _has_classes(evidence: Evidence) -> bool:
    if "probe_class" in evidence.cube:
        return bool((evidence.cube["probe_class"] != NO_CLASS).any())
    return has_classes(evidence.settings)


def need_dispersion(evidence: Evidence) -> xr.Dataset:
    """The dispersion.

    Raises:
        NotJudgedError: `not run` if the file is not there.
    """
    if evidence.dispersion is None:
        raise NotJudgedError("not run", "the file of `dispersion` is not there: run the study anew")
    return evidence.dispersion


def need(dataset: xr.Dataset, *names: str) -> None:
    """Checks that a dataset has variables with at least one value.

    Raises:
        NotJudgedError: `not run`, naming the first that is missing.
    """
    for name in names:
        if name not in dataset or not bool(np.isfinite(dataset[name]).any()):
            raise NotJudgedError("not run", f"{name} is not in the files of the experiment: run the study anew")


def scales_of(dataset: xr.Dataset, *phases: str) -> np.ndarray:
    """Places of the init scales in these phases, by ascending χ₁."""
    places = np.flatnonzero(np.isin(dataset["phase"].values, phases))
    return places[np.argsort(dataset["chi_1"].values[places], kind="stable")]


def deepest_cell(dataset: xr.Dataset, least_lambda: float = 0.0) -> dict[str, int]:
    """Place of the deepest and narrowest cell, the largest λ; a linear model (depth 0) is not deep at any width.

    Raises:
        NotJudgedError: `not run` if its λ is below `least_lambda`: claims about deep networks say nothing of it.
    """
    place = {"depth": dataset.sizes["depth"] - 1, "width": 0}
    depth, width = (int(dataset[dim].values[place[dim]]) for dim in place)
    ratio = (depth + 1) / width if depth else 0.0
    if ratio < least_lambda:
        raise NotJudgedError("not run", no_deep_networks(ratio, least_lambda))
    return place


def settled_depths(dataset: xr.Dataset, scale: int, width: int, most: float) -> np.ndarray:
    """Places of the depths at which an ordered phase has settled: M (‖x‖²/n₀) L χ₁^L is at most `most`.

    In the ordered phase the weights' part of Θ falls as L χ₁^L, while the biases' part tends to that of the last
    layers. The number is the ratio of the two parts up to the factor (1 − χ₁)/χ₁ (ReLU, σ_b = 0, standard
    parameterization; for others, whose weights' part may not vanish, it is an upper bound of what the first layers
    still count): the weights' part has the randomness of a critical network, so R has a hump while both are alike.

    Args:
        dataset: a cube or a dispersion; its attribute `input_scale` is ‖x‖²/n₀, 1 where it has none.
        scale: place of the init scale.
        width: place of the width M.
        most: largest ratio that counts as settled.

    Returns:
        Places along `depth`.
    """
    layers = dataset["depth"].values + 1
    times = float(dataset["width"].values[width]) * float(dataset.attrs.get("input_scale", 1.0))
    with np.errstate(over="ignore"):
        return np.flatnonzero(times * layers * float(dataset["chi_1"].values[scale]) ** layers <= most)


def unsettled_reason(most: float, where: str) -> str:
    """What to say where no ordered cell has settled."""
    return f"no ordered cell has settled, M (‖x‖²/n₀) L χ₁^L ≤ {most:g}: add depths to {where}, or a smaller init scale"


def cell_text(dataset: xr.Dataset, place: dict[str, int]) -> str:
    """The cell in words."""
    parts = []
    for dim, word in (("depth", "depth"), ("width", "width"), ("init_scale", "σ_w²")):
        if dim in place:
            value = f"{float(dataset[dim].values[place[dim]]):.5g}"
            parts.append(f"{word} = {value}" if word == "σ_w²" else f"{word} {value}")
    return ", ".join(parts)


def widest(evidence: Evidence, *names: str) -> xr.Dataset:
    """The cube at the largest training set and width.

    Args:
        evidence: of the experiment.
        names: variables that it must have.

    Raises:
        NotJudgedError: `not run`, naming the first variable that is missing.
    """
    cube = at_largest_n(evidence.cube)
    need(cube, *names)
    return at_widest(cube)


def at_widest(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset at its largest width."""
    return dataset.isel(width=int(dataset["width"].values.argmax()))


def places(values: xr.DataArray, dim: str = "depth") -> list[dict[str, int]]:
    """Places along `dim` and init_scale."""
    along, scales = (range(values.sizes.get(each, 0)) for each in (dim, "init_scale"))
    return [{dim: d, "init_scale": s} for s in scales for d in along]


def own(values: xr.DataArray, place: dict[str, int]) -> dict[str, int]:
    """The part of a place along dimensions that the values have."""
    return {dim: position for dim, position in place.items() if dim in values.dims}


def cell(values: xr.DataArray, place: dict[str, int]) -> str:
    """The cell at a place, in words."""
    return cell_text(values.coords.to_dataset(), place)


ONE_DRAW = "one draw: the interval is over networks only, of one split of the data"


def at_largest_n(cube: xr.Dataset) -> xr.Dataset:
    """The cube at its largest training set; what two draws share there is a coordinate of everything in it."""
    cube = cube.isel(n_train=int(cube["n_train"].values.argmax())) if "n_train" in cube.dims else cube
    return cube.set_coords(SHARED_TRAIN) if SHARED_TRAIN in cube else cube


def trained(cube: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """The values of networks that were trained to the end; others are NaN."""
    return values.where(~cube["status"].isin([int(Status.DIVERGED), *NOT_TRAINED]))


def final_values(cube: xr.Dataset, name: str) -> xr.DataArray:
    """A measure along training at the last checkpoint that each network has, those trained to the end only."""
    values = trained(cube, cube[name]).transpose(..., "epoch")
    last = values.notnull().cumsum("epoch").argmax("epoch")
    return values.isel(epoch=last).drop_vars("epoch", errors="ignore")


def replicates(values: xr.DataArray) -> np.ndarray:
    """One number a replicate of a cell with dimensions (draw, seed).

    A draw has data and networks of its own: its replicate is the mean of its seeds. With one draw, seeds are the
    replicates, and an interval of theirs is over networks only.
    """
    array = values.transpose("draw", "seed").values.astype(np.float64)
    return finite_mean(array) if len(array) > 1 else array[0]


def cell_estimate(values: xr.DataArray, *, logarithmic: bool = False) -> Estimate:
    """Mean over the replicates of a cell, with the variance that draws share.

    Args:
        values: a statistic over (draw, seed); over `left_out` too where it is made of `errors_without_folds`, and then
            with their coordinates.
        logarithmic: of the logarithms, so that the mean is the geometric one; for positive measures.

    Returns:
        The estimate.
    """
    values = values if LEFT_OUT in values.dims else values.expand_dims(LEFT_OUT)
    array = values.transpose(LEFT_OUT, "draw", "seed").values.astype(np.float64)
    array = np.log(array.clip(min=SMALLEST)) if logarithmic else array
    if array.shape[1] == 1:
        plain, common = from_replicates(array[0, 0]), 0.0
    else:
        means = finite_mean(array)
        common = common_variance(
            means, fold_shares(values), float(values.coords.get(SHARED_TRAIN, 0.0)), noise=_noise_of_seeds(array[0])
        )
        plain = from_replicates(means[0])
    return Estimate(
        plain.value, plain.error_low, plain.error_high, plain.n, plain.freedom, logarithmic=logarithmic, common=common
    )


def _noise_of_seeds(values: np.ndarray) -> float:
    """Variance of a draw's mean that its seeds alone make, (n_draws, n_seeds); 0 if each draw has a single one."""
    enough = values[np.isfinite(values).sum(-1) >= 2]
    return float(np.mean([np.nanvar(row, ddof=1) / np.isfinite(row).sum() for row in enough])) if len(enough) else 0.0


def ratio_estimate(values: xr.DataArray, reference: xr.DataArray) -> Estimate:
    """Geometric mean of values/reference, paired: the same draw and seed start from the same random numbers."""
    return cell_estimate(values.clip(min=SMALLEST) / reference.clip(min=SMALLEST), logarithmic=True)


def cell_median(values: xr.DataArray, *, logarithmic: bool = False) -> MedianEstimate:
    """The median over the replicates of a cell (draw, seed): a draw's is that of its seeds.

    With one draw, seeds are the replicates, and the interval is over networks only.
    """
    array = values.transpose("draw", "seed").values.astype(np.float64)
    if len(array) == 1:
        return median_of(array[0], logarithmic=logarithmic)
    finite = np.isfinite(array).any(1)
    medians = np.full(len(array), np.nan)
    medians[finite] = np.nanmedian(array[finite], axis=1)
    common = cell_estimate(values, logarithmic=logarithmic).common
    return median_of(medians, logarithmic=logarithmic, common=common)


def ratio_median(values: xr.DataArray, reference: xr.DataArray) -> MedianEstimate:
    """Median of values/reference, paired: the same draw and seed start from the same random numbers."""
    return cell_median(values.clip(min=SMALLEST) / reference.clip(min=SMALLEST), logarithmic=True)


def replicate_remark(cube: xr.Dataset) -> str:
    """What to say of intervals over a single draw; empty otherwise."""
    return ONE_DRAW if cube.sizes["draw"] == 1 else ""


def unfinished_remark(cube: xr.Dataset, settings: ExperimentSettings) -> str:
    """How many networks that should have been trained to the end were not; empty if none, or if they stop early."""
    above = int((cube["status"] == int(Status.BUDGET_SPENT)).sum())
    if not above or settings.training.selection != "final":
        return ""
    asked = settings.training.target_mse
    return f"{above} of {cube['status'].size} networks ended above the training MSE of {asked:g}"


def diverged_share(cube: xr.Dataset, place: dict[str, int]) -> float:
    """Share of diverged networks in a cell."""
    return float((cube["status"].isel(place) == int(Status.DIVERGED)).mean())
