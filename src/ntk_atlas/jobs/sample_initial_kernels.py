"""Dispersion of the kernel at initialization for one depth and width: networks, the exact law and theory."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ntk_atlas.families import FAMILIES
from ntk_atlas.jobs import ARCHITECTURE, Job, planning
from ntk_atlas.registry import value_files

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


def _inputs(experiment: "ExperimentSettings") -> Mapping[str, object]:
    """n₀ and ‖x‖² of the inputs of untrained networks: as set, else those that networks are trained on.

    Normalized inputs have ‖x‖² = n₀, each of them or (`standardize`) in the mean over the training pool.
    """
    settings = experiment.dispersion
    if settings is None:
        return {}
    inspect_dataset = planning("ntk_atlas.datasets.read").inspect_dataset
    n_inputs = settings.n_inputs or math.prod(inspect_dataset(experiment.dataset).input_shape)
    squared_norm = float(n_inputs) if settings.squared_norm is None else settings.squared_norm
    return {"dispersion.n_inputs": n_inputs, "dispersion.squared_norm": squared_norm}


JOB = Job(
    reads=("network", "grid.init_scale", "dispersion"),
    folder="dispersion",
    kind="dispersion",
    per=ARCHITECTURE,
    wanted=lambda experiment: experiment.dispersion is not None,
    narrowed=_inputs,
    looked_up=("dataset.side", "dataset.dimension"),
    stores=("initial_kernels",),
    message="untrained networks, {architecture}",
    memory_mb=1000,
    # Networks are drawn here, by no code of their family.
    code=lambda part: value_files(part, without=FAMILIES),
)

import logging

import numpy as np

from ntk_atlas.arrays import LabelledArrays, UnitStore
from ntk_atlas.dispersion.networks import CHUNK, initial_kernels
from ntk_atlas.dispersion.theory import (
    PARAMETERS,
    InitialKernelLaw,
    exact_moments,
    exponential_ratio,
    finite_sum,
    ratio_limit,
)
from ntk_atlas.jobs import Given, Slice, architecture_name
from ntk_atlas.jobs.parts.finished import initial_kernel_digests, scale_name
from ntk_atlas.statistics.moments import DispersionEstimates, DispersionMoments
from ntk_atlas.streams import numpy_stream

log = logging.getLogger(__name__)


Variables = dict[str, tuple[tuple[str, ...], object]]
"""Dimensions and values by name."""
SCALE, CELL, PAIR = ("init_scale",), ("init_scale", "parameters"), ("init_scale", "parameters", "correlation")


def compute(part: Slice, given: Given) -> LabelledArrays:
    """See `sample_initial_kernels`."""
    (depth,), (width,) = part.dispersion.depth, part.dispersion.width
    store = UnitStore(given.units / "initial_kernels" / architecture_name(depth, width))
    return sample_initial_kernels(part, store, given.source)


def law_of(spec: Slice) -> InitialKernelLaw:
    """The law of the kernel that is sampled."""
    settings = spec.dispersion
    (depth,), (width,) = settings.depth, settings.width
    assert settings.n_inputs is not None and settings.squared_norm is not None
    return InitialKernelLaw(
        network=spec.network,
        depth=depth,
        width=width,
        n_inputs=settings.n_inputs,
        squared_norm=settings.squared_norm,
        correlations=settings.correlations,
    )


def sample_initial_kernels(spec: Slice, store: UnitStore, source: str) -> LabelledArrays:
    """Samples what is missing and sums up; each finished chunk of networks is in the store at once.

    Args:
        spec: depth, width, init scales and their settings.
        store: where finished chunks lie.
        source: digest of the code that samples.

    Returns:
        Estimates with intervals, and theory beside them, over (init_scale, parameters, correlation).
    """
    store.remove_temporaries()  # of chunks of networks, which are to this store what seeds are to the others
    digests, law, settings = initial_kernel_digests(spec, source), law_of(spec), spec.dispersion
    chunks = range(-(-settings.n_networks // CHUNK))
    missing = {scale: set(store.missing(scale_name(scale), digests[scale], chunks)) for scale in spec.grid.init_scale}
    todo = sorted(set().union(*missing.values()))
    log.info(
        "%s: %d of %d chunks of %d networks to sample, the others are finished",
        architecture_name(law.depth, law.width), len(todo), len(chunks), CHUNK,
    )  # fmt: skip
    for chunk in todo:
        scales = [scale for scale in spec.grid.init_scale if chunk in missing[scale]]
        kernels = initial_kernels(law, scales, seed=settings.seed, chunks=[chunk])
        for scale, of_scale in zip(scales, kernels, strict=True):
            contents = LabelledArrays.of({"kernels": (("seed", "network", *PAIR[1:]), of_scale)})
            store.save(scale_name(scale), digests[scale], [chunk], contents)
        log.info("chunk %d: %d networks at %d init scales", chunk, CHUNK, len(scales))
    moments = DispersionMoments(
        n_bootstrap=settings.n_bootstrap,
        generator=numpy_stream("dispersion bootstrap", settings.seed, law.depth, law.width),
    )
    for chunk in chunks:
        kernels = [
            store.load(scale_name(s), digests[s], [chunk], ("kernels",))["kernels"][0] for s in spec.grid.init_scale
        ]
        moments.add(np.stack(kernels, axis=1)[: settings.n_networks - chunk * CHUNK])
    found = _estimates(moments.estimates(settings.confidence)) | _theory(spec) | _exact(spec)
    labels = {"init_scale": spec.grid.init_scale, "parameters": PARAMETERS, "correlation": settings.correlations}
    return LabelledArrays.of(found, **labels).with_attributes(spec=spec.canonical_json())


def _estimates(estimates: DispersionEstimates) -> Variables:
    arrays = {}
    for name, interval, dims in (
        ("ntk_ratio", estimates.ratio, PAIR),
        ("ntk_mean", estimates.mean, PAIR),
        ("log_ntk_variance", estimates.log_variance, CELL),
    ):
        ends = {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        arrays |= {end: (dims, values) for end, values in ends.items()}
    arrays["n_finite"] = SCALE, estimates.n_finite
    arrays["ntk_ratio_reliable"] = CELL, estimates.reliable.astype(np.int8)
    return arrays


def _theory(spec: Slice) -> Variables:
    lines = {
        name: [
            [line(law_of(spec), scale, weights_only=p == "weights") for p in PARAMETERS]
            for scale in spec.grid.init_scale
        ]
        for name, line in (("ntk_ratio_limit", ratio_limit), ("ntk_ratio_finite_sum", finite_sum))
    }
    arrays = {name: (CELL, values) for name, values in lines.items()}
    return arrays | {"ntk_ratio_exponential": ((), exponential_ratio(law_of(spec).n_layers / law_of(spec).width))}


def _exact(spec: Slice) -> Variables:
    names = ("ntk_ratio_exact", "ntk_ratio_exact_error", "log_ntk_variance_exact", "log_ntk_variance_exact_error")
    law, settings = law_of(spec), spec.dispersion
    if not law.has_exact_law:
        nothing = np.full((len(spec.grid.init_scale), len(PARAMETERS)), np.nan)
        return {name: (CELL, nothing) for name in names}
    stream = numpy_stream("exact law", settings.seed, law.depth, law.width)
    exact = exact_moments(law, spec.grid.init_scale, settings.n_exact, stream)
    values = (exact.ratio, exact.ratio_error, exact.log_variance, exact.log_variance_error)
    return {name: (CELL, array) for name, array in zip(names, values, strict=True)}
