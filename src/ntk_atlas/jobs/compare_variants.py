"""Empirical NTKs of untrained networks beside the infinite-width kernel of each variant of the NTK."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntk_atlas.jobs import Job

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


def _problems(experiment: "ExperimentSettings") -> Iterator[tuple[str, str]]:
    """What the settings lack for the comparison."""
    if experiment.kernel_variants is None:
        return
    network = experiment.network
    if reason := network.family.without_variants():
        yield "kernel_variants", f"{reason}: remove kernel_variants"
    elif network.bias_variance == 0.0:
        yield (
            "network.bias_variance",
            "with 0 the variants with and without bias are the same: set it above 0, or remove kernel_variants",
        )


JOB = Job(
    reads=("dataset", "network", "grid.init_scale", "kernel_variants"),
    folder="kernel_variants",
    kind="kernel_variants",
    made_of=("prepare_dataset",),
    wanted=lambda experiment: experiment.kernel_variants is not None,
    problems=_problems,
    message="networks beside the variants of the NTK",
)

import logging

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.arrays import LabelledArrays
from ntk_atlas.cubes.variables import KERNEL_VARIANTS
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.families import build_networks
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.row_networks import as_tensor
from ntk_atlas.kernels.empirical.ntk import empirical_ntk
from ntk_atlas.kernels.infinite.variants import VARIANTS, variant_family, variant_network
from ntk_atlas.streams import torch_stream

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Networks in a stack, all of which are held in memory."""


def compute(part: Slice, given: Given) -> LabelledArrays:
    """See `compare_variants`; the file is one that users read, so its variables say what they are."""
    found = compare_variants(part, given.dataset)
    return found.described(KERNEL_VARIANTS.attributes_of(found.arrays)).with_attributes(**KERNEL_VARIANTS.head)


def compare_variants(spec: Slice, dataset: Dataset) -> LabelledArrays:
    """Relative Frobenius distance ‖Θ̂ − Θ‖/‖Θ‖ of each network from each variant, whose parameters it trains.

    Args:
        spec: depths, widths, networks.
        dataset: gives the inputs.

    Returns:
        `variant_distance` over (variant, depth, init_scale, width, network).
    """
    settings = spec.kernel_variants
    x = as_tensor(make_draw(dataset, spec.dataset, 0).training_set(settings.n_samples)[0]).flatten(1)
    shape = (len(VARIANTS), len(settings.depth), len(spec.grid.init_scale), len(settings.width), settings.n_networks)
    distance = np.empty(shape)
    for place in np.ndindex(shape[:-1]):
        name, depth, scale, width = (
            values[i]
            for values, i in zip((VARIANTS, settings.depth, spec.grid.init_scale, settings.width), place, strict=True)
        )
        distance[place] = _distances(spec, x, name, depth, scale, width)
    log.info("%d networks compared with %d variants", distance[0].size, len(VARIANTS))
    dims = {"variant": VARIANTS, "depth": settings.depth, "init_scale": spec.grid.init_scale}
    dims |= {"width": settings.width, "network": range(settings.n_networks)}
    found = LabelledArrays.of({"variant_distance": (tuple(dims), distance)}, **dims)
    return found.with_attributes(spec=spec.canonical_json())


def _distances(spec: Slice, x: Tensor, name: str, depth: int, init_scale: float, width: int) -> np.ndarray:
    network, sigma_w2, kernel = variant_network(name, spec.network, init_scale)
    choice = {"settings": network, "init_scale": sigma_w2, "width": width}
    limit = network.family.infinite_kernels(x, depths=[depth], **choice)
    expected = getattr(limit, kernel)[0]
    found, n_networks = [], spec.kernel_variants.n_networks
    for first in range(0, n_networks, AT_ONCE):
        stack = build_networks(
            network,
            depth=depth,
            width=width,
            init_scale=sigma_w2,
            input_shape=tuple(x.shape[1:]),
            n_outputs=1,
            generators=[
                torch_stream("variants", spec.kernel_variants.seed, depth, width, i)
                for i in range(first, min(first + AT_ONCE, n_networks))
            ],
            dtype=x.dtype,
        )
        if variant_family(name) == "last_layer":
            for layer in stack.layers[:-1]:
                layer.requires_grad_(False)
        found.append((empirical_ntk(stack, x) - expected).norm(dim=(1, 2)) / expected.norm())
    return torch.cat(found).numpy()
