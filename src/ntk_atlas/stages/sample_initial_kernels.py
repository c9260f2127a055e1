"""Dispersion of the kernel at initialization for one depth and width: networks, the exact law and theory."""

import logging

import numpy as np

from ntk_atlas.dispersion.exact_law import exact_moments
from ntk_atlas.dispersion.inputs import PARAMETERS
from ntk_atlas.dispersion.networks import CHUNK, initial_kernels
from ntk_atlas.dispersion.statistics import DispersionEstimates, DispersionMoments
from ntk_atlas.dispersion.theory import exponential_ratio, finite_sum, ratio_limit
from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.streams import numpy_stream
from ntk_atlas.study.dispersion_spec import DispersionSpec, architecture_name, scale_name
from ntk_atlas.unit_store import UnitStore

log = logging.getLogger(__name__)

SCALE, CELL, PAIR = ("init_scale",), ("init_scale", "parameters"), ("init_scale", "parameters", "correlation")


def sample_initial_kernels(spec: DispersionSpec, store: UnitStore, source: str) -> LabelledArrays:
    """Samples what is missing and sums up; each finished chunk of networks is in the store at once.

    Args:
        spec: depth, width, init scales and their settings.
        store: where finished chunks lie.
        source: digest of the code that samples.

    Returns:
        Estimates with intervals, and theory beside them, over (init_scale, parameters, correlation).
    """
    store.remove_temporaries()
    digests = spec.unit_digests(source)
    chunks = range(-(-spec.n_networks // CHUNK))
    missing = {scale: set(store.missing(scale_name(scale), digests[scale], chunks)) for scale in spec.init_scale}
    todo = sorted(set().union(*missing.values()))
    log.info(
        "%s: %d of %d chunks of %d networks to sample, the others are finished",
        architecture_name(spec.depth, spec.width), len(todo), len(chunks), CHUNK,
    )  # fmt: skip
    for chunk in todo:
        scales = [scale for scale in spec.init_scale if chunk in missing[scale]]
        kernels = initial_kernels(spec.law, scales, seed=spec.seed, chunks=[chunk])
        for scale, of_scale in zip(scales, kernels, strict=True):
            store.save(scale_name(scale), digests[scale], [chunk], {"kernels": of_scale})
        log.info("chunk %d: %d networks at %d init scales", chunk, CHUNK, len(scales))
    moments = DispersionMoments(
        n_bootstrap=spec.n_bootstrap, generator=numpy_stream("dispersion bootstrap", spec.seed, spec.depth, spec.width)
    )
    for chunk in chunks:
        kernels = [store.load(scale_name(s), digests[s], [chunk], ("kernels",))["kernels"][0] for s in spec.init_scale]
        moments.add(np.stack(kernels, axis=1)[: spec.n_networks - chunk * CHUNK])
    arrays = _estimates(moments.estimates(spec.confidence)) | _theory(spec) | _exact(spec)
    for name, values in (
        ("init_scale", spec.init_scale), ("parameters", PARAMETERS), ("correlation", spec.correlations),
    ):  # fmt: skip
        arrays[name] = LabelledArray((name,), np.array(values, dtype=object if name == "parameters" else np.float64))
    return LabelledArrays(arrays, {"spec": spec.canonical_json()})


def _estimates(estimates: DispersionEstimates) -> dict[str, LabelledArray]:
    arrays = {}
    for name, interval, dims in (
        ("ntk_ratio", estimates.ratio, PAIR),
        ("ntk_mean", estimates.mean, PAIR),
        ("log_ntk_variance", estimates.log_variance, CELL),
    ):
        arrays[name] = LabelledArray(dims, interval.value)
        arrays[f"{name}_low"], arrays[f"{name}_high"] = (
            LabelledArray(dims, end) for end in (interval.low, interval.high)
        )
    arrays["n_finite"] = LabelledArray(SCALE, estimates.n_finite)
    arrays["ntk_ratio_reliable"] = LabelledArray(CELL, estimates.reliable.astype(np.int8))
    return arrays


def _theory(spec: DispersionSpec) -> dict[str, LabelledArray]:
    lines = {
        name: [[line(spec.law, scale, weights_only=p == "weights") for p in PARAMETERS] for scale in spec.init_scale]
        for name, line in (("ntk_ratio_limit", ratio_limit), ("ntk_ratio_finite_sum", finite_sum))
    }
    arrays = {name: LabelledArray(CELL, np.array(values)) for name, values in lines.items()}
    exponential = exponential_ratio(spec.law.n_layers / spec.law.width)
    return arrays | {"ntk_ratio_exponential": LabelledArray((), np.array(exponential))}


def _exact(spec: DispersionSpec) -> dict[str, LabelledArray]:
    names = ("ntk_ratio_exact", "ntk_ratio_exact_error", "log_ntk_variance_exact", "log_ntk_variance_exact_error")
    if not spec.law.has_exact_law:
        nothing = np.full((len(spec.init_scale), len(PARAMETERS)), np.nan)
        return {name: LabelledArray(CELL, nothing) for name in names}
    stream = numpy_stream("exact law", spec.seed, spec.depth, spec.width)
    exact = exact_moments(spec.law, spec.init_scale, spec.n_exact, stream)
    values = (exact.ratio, exact.ratio_error, exact.log_variance, exact.log_variance_error)
    return {name: LabelledArray(CELL, array) for name, array in zip(names, values, strict=True)}
