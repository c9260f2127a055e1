"""Data and networks of a row, as every stage that needs them must build them: the same streams, the same split."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.networks.build import build_networks
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.streams import torch_stream
from ntk_atlas.study.specs import NetworksSpec


def row_networks(spec: NetworksSpec, dataset: Dataset, draw: int, seeds: Sequence[int]) -> StackedNetwork:
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
    """
    return build_networks(
        spec.network,
        depth=spec.depth,
        width=spec.width,
        init_scale=spec.only_init_scale,
        input_shape=dataset.x.shape[1:],
        n_outputs=dataset.y.shape[1],
        generators=[torch_stream("weights", spec.network_seed, spec.depth, spec.width, draw, seed) for seed in seeds],
        dtype=getattr(torch, spec.dtype),
    )


def batch_stream_labels(spec: NetworksSpec, n_train: int, draw: int, seed: int) -> tuple:
    """Labels of the stream of a network's minibatch order."""
    return ("batches", spec.network_seed, spec.depth, spec.width, spec.only_init_scale, n_train, draw, seed)


def as_tensor(array: np.ndarray, dtype: str = "float64") -> Tensor:
    """A tensor of the given precision."""
    return torch.as_tensor(array, dtype=getattr(torch, dtype))


def target_scale(spec: NetworksSpec, kind: str, draw: Draw) -> float:
    """The factor on the targets: 1 for `unit`; for `initial_output`, √K(x,x), the size of f₀ at infinite width.

    It is averaged over the whole training pool, so that it is the same at every n_train.
    """
    if kind == "unit":
        return 1.0
    from ntk_atlas.kernels.infinite.network_kernels import network_output_variance

    x = as_tensor(draw.x_pool)
    variance = network_output_variance(x, depth=spec.depth, settings=spec.network, init_scale=spec.only_init_scale)
    return math.sqrt(float(variance.mean()))
