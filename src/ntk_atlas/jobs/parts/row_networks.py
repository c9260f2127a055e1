"""Data and networks of a row, as every stage that needs them must build them: the same streams, the same split."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.datasets.dataset import Dataset, DatasetBase
from ntk_atlas.datasets.draws import Draw, make_draw, split_indices
from ntk_atlas.families import build_networks
from ntk_atlas.jobs.parts.slice import Slice
from ntk_atlas.networks.module_checks import FactoryError
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.streams import torch_stream


def row_networks(spec: Slice, dataset: Dataset, draw: int, seeds: Sequence[int]) -> StackedNetwork:
    """The untrained networks of a row, one member a seed.

    The stream of a network's weights is named by everything but n_train and init_scale: networks of one seed start
    equal at every n_train, and in proportion at every init_scale, which pairs the phases.

    Args:
        spec: the row, at one init scale.
        dataset: gives the shapes of inputs and targets.
        draw: the draw; its networks are independent of those of other draws.
        seeds: the members.

    Returns:
        The stack.

    Raises:
        FactoryError: if a user's networks cannot be used on these data.
    """
    samples = None
    if spec.network.family.measured:
        samples = tried_samples(spec.dataset, dataset, draw)
        _check_whole_numbers(samples, spec)
    return build_networks(
        spec.network,
        depth=spec.row.depth,
        width=spec.row.width,
        init_scale=spec.only_init_scale,
        input_shape=dataset.x.shape[1:],
        n_outputs=dataset.y.shape[1],
        generators=[
            torch_stream("weights", spec.training.seed, spec.row.depth, spec.row.width, draw, seed) for seed in seeds
        ],
        dtype=getattr(torch, spec.training.dtype),
        samples=samples,
    )


def tried_samples(settings: DatasetBase, dataset: Dataset, draw: int) -> Tensor:
    """The training samples on which a user's networks are tried, `(n, *input_shape)`, float64, as networks get them.

    The first two of the draw's training pool, and those with the largest and the smallest entry: an embedding that has
    too few rows fails on them.

    Args:
        settings: of the data set.
        dataset: all samples.
        draw: the draw.

    Returns:
        Two to four samples; one alone if the pool has no other.
    """
    key = (id(dataset), settings.model_dump_json(), draw)
    if key not in _tried:
        pool = split_indices(dataset, settings, draw).pool
        flat = dataset.x[pool].reshape(len(pool), -1)
        chosen = dict.fromkeys([0, min(1, len(pool) - 1), int(flat.max(1).argmax()), int(flat.min(1).argmin())])
        normalizer = make_draw(dataset, settings, draw).normalizer
        _tried.clear()  # the draws of a job come one after another
        _tried[key] = (dataset, as_tensor(normalizer(dataset.x[pool[list(chosen)]])))
    return _tried[key][1]


def _check_whole_numbers(samples: Tensor, spec: Slice) -> None:
    # Networks of tokens read whole numbers; those of measurements are not hurt by rounding.
    rounded = samples.to(getattr(torch, spec.training.dtype)).double()
    if bool((samples == samples.floor()).all()) and not torch.equal(rounded, samples):
        largest = float(samples.abs().max())
        raise FactoryError(
            f"network factory {spec.network.factory!r}: inputs are whole numbers of up to {largest:.0f}, which "
            f"{spec.training.dtype} rounds to others: set training.dtype: float64, or number tokens from 0"
        )


_tried: dict[tuple, tuple[Dataset, Tensor]] = {}


def batch_stream_labels(spec: Slice, n_train: int, draw: int, seed: int) -> tuple:
    """Labels of the stream of a network's minibatch order."""
    return ("batches", spec.training.seed, spec.row.depth, spec.row.width, spec.only_init_scale, n_train, draw, seed)


def as_tensor(array: np.ndarray, dtype: str = "float64") -> Tensor:
    """A tensor of the given precision."""
    return torch.as_tensor(array, dtype=getattr(torch, dtype))


def target_scale(spec: Slice, kind: str, draw: Draw) -> float:
    """The factor on the targets: 1 for `unit`; for `initial_output`, √K(x,x), the size of f₀ at infinite width.

    It is averaged over the whole training pool, so that it is the same at every n_train.
    """
    if kind == "unit":
        return 1.0
    x, choice = as_tensor(draw.x_pool), {"settings": spec.network, "init_scale": spec.only_init_scale}
    variance = spec.network.family.output_variance(x, depth=spec.row.depth, **choice)
    return math.sqrt(float(variance.mean()))
