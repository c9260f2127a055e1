"""Dispersion of the kernel at initialization for one depth and width: networks, the exact law and theory."""

import logging

import numpy as np

from ntk_atlas.arrays import LabelledArrays, UnitStore
from ntk_atlas.dispersion.exact_law import exact_moments
from ntk_atlas.dispersion.inputs import PARAMETERS
from ntk_atlas.dispersion.networks import CHUNK, initial_kernels
from ntk_atlas.dispersion.theory import exponential_ratio, finite_sum, ratio_limit
from ntk_atlas.statistics.moments import DispersionEstimates, DispersionMoments
from ntk_atlas.streams import numpy_stream
from ntk_atlas.study.dispersion_spec import DispersionSpec, architecture_name, scale_name

log = logging.getLogger(__name__)

Variables = dict[str, tuple[tuple[str, ...], object]]
"""Dimensions and values by name."""
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
    store.remove_temporaries()  # of chunks of networks, which are to this store what seeds are to the others
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
            contents = LabelledArrays.of({"kernels": (("seed", "network", *PAIR[1:]), of_scale)})
            store.save(scale_name(scale), digests[scale], [chunk], contents)
        log.info("chunk %d: %d networks at %d init scales", chunk, CHUNK, len(scales))
    moments = DispersionMoments(
        n_bootstrap=spec.n_bootstrap, generator=numpy_stream("dispersion bootstrap", spec.seed, spec.depth, spec.width)
    )
    for chunk in chunks:
        kernels = [store.load(scale_name(s), digests[s], [chunk], ("kernels",))["kernels"][0] for s in spec.init_scale]
        moments.add(np.stack(kernels, axis=1)[: spec.n_networks - chunk * CHUNK])
    found = _estimates(moments.estimates(spec.confidence)) | _theory(spec) | _exact(spec)
    labels = {"init_scale": spec.init_scale, "parameters": PARAMETERS, "correlation": spec.correlations}
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


def _theory(spec: DispersionSpec) -> Variables:
    lines = {
        name: [[line(spec.law, scale, weights_only=p == "weights") for p in PARAMETERS] for scale in spec.init_scale]
        for name, line in (("ntk_ratio_limit", ratio_limit), ("ntk_ratio_finite_sum", finite_sum))
    }
    arrays = {name: (CELL, values) for name, values in lines.items()}
    return arrays | {"ntk_ratio_exponential": ((), exponential_ratio(spec.law.n_layers / spec.law.width))}


def _exact(spec: DispersionSpec) -> Variables:
    names = ("ntk_ratio_exact", "ntk_ratio_exact_error", "log_ntk_variance_exact", "log_ntk_variance_exact_error")
    if not spec.law.has_exact_law:
        nothing = np.full((len(spec.init_scale), len(PARAMETERS)), np.nan)
        return {name: (CELL, nothing) for name in names}
    stream = numpy_stream("exact law", spec.seed, spec.depth, spec.width)
    exact = exact_moments(spec.law, spec.init_scale, spec.n_exact, stream)
    values = (exact.ratio, exact.ratio_error, exact.log_variance, exact.log_variance_error)
    return {name: (CELL, array) for name, array in zip(names, values, strict=True)}
