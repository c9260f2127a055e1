"""Kernel regression with kernels of infinite width at one init_scale, all depths in one pass."""

import logging
from collections.abc import Sequence

import torch

from ntk_atlas.activations import ActivationOverflowError
from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.predictors import STAND_IN
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.kernels.infinite.kernels import InfiniteKernels
from ntk_atlas.kernels.infinite.network_kernels import network_kernel_cost, network_kernels
from ntk_atlas.kernels.infinite.variants import depends_on_the_width, variant_network
from ntk_atlas.regression.regress import NestedRegression, regress_nested
from ntk_atlas.stages.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.study.prediction_specs import InfiniteSpec

log = logging.getLogger(__name__)


def regress_infinite(spec: InfiniteSpec, dataset: Dataset) -> LabelledArrays:
    """Regression at every depth (and width, where the kernel depends on it), n_train and draw.

    Args:
        spec: the grid at one init_scale.
        dataset: the data.

    Returns:
        `<field>_<predictor>` over (depth, n_train, draw, ridge), with the width for those that depend on it.
    """
    widths: tuple[int | None, ...] = spec.width or (None,)
    pieces = []
    for number in range(spec.draws):
        draw = make_draw(dataset, spec.dataset, number)
        own = [name for name in spec.predictors if name != STAND_IN]
        if number == 0 and own and spec.network.architecture == "convolutional":
            _tell_cost(spec, draw, repeats=spec.draws * len(widths))
        for width in widths:
            log.info("infinite kernels at init_scale %s, draw %d, width %s", spec.init_scale, number, width)
            wanted = [n for n in spec.predictors if width == widths[0] or depends_on_the_width(n, spec.network)]
            for name, per_depth in _regress(spec, draw, width, wanted).items():
                place = {"width": width} if depends_on_the_width(name, spec.network) else {}
                found = regression_arrays(per_depth, name, spec.n_train, depth=spec.depth)
                pieces.append(found.at(**place, draw=number))
    grid = {"depth": spec.depth, "width": spec.width, "n_train": spec.n_train, "draw": range(spec.draws)}
    return join(pieces, grid).with_attributes(spec=spec.canonical_json())


def _regress(spec: InfiniteSpec, draw: Draw, width: int | None, wanted: list[str]) -> dict[str, list[NestedRegression]]:
    n_train = max(spec.n_train)
    x_train, targets = as_tensor(draw.training_set(n_train)[0]), regression_targets(draw, n_train)
    x_rest = torch.cat([as_tensor(draw.x_validation), as_tensor(draw.x_test)])
    n_validation = len(draw.x_validation)
    results: dict[str, list[NestedRegression]] = {}
    networks = {name: variant_network(name, spec.network, spec.init_scale) for name in wanted}
    for network, init_scale in dict.fromkeys((network, scale) for network, scale, _ in networks.values()):
        choice = {"depths": spec.depth, "settings": network, "init_scale": init_scale, "width": width}
        train, rest = _kernels(x_train, **choice), _kernels(x_rest, x_train, **choice)
        for name in [name for name in wanted if networks[name][:2] == (network, init_scale)]:
            within, across = (getattr(kernels, networks[name][2]) for kernels in (train, rest))
            results[name] = [
                regress_nested(
                    within[depth],
                    across[depth, :n_validation],
                    across[depth, n_validation:],
                    **targets,
                    sizes=spec.n_train,
                    settings=spec.solve,
                )
                for depth in range(len(spec.depth))
            ]
    return results


def _kernels(x1: torch.Tensor, x2: torch.Tensor | None = None, *, depths: Sequence[int], **choice) -> InfiniteKernels:
    """`network_kernels`, NaN at depths at which the activation leaves the range of numbers: they are SINGULAR then."""
    try:
        return network_kernels(x1, x2, depths=depths, **choice)
    except ActivationOverflowError as error:
        if len(depths) > 1:
            found = [_kernels(x1, x2, depths=[depth], **choice) for depth in depths]
            return InfiniteKernels(
                torch.cat([kernels.nngp for kernels in found]),
                torch.cat([kernels.ntk for kernels in found]),
                torch.cat([kernels.error_bound for kernels in found], dim=1),
            )
        log.warning("no infinite kernels at depth %d: %s", depths[0], error)
        lost = torch.full((1, len(x1), len(x1 if x2 is None else x2)), torch.nan, dtype=torch.float64)
        return InfiniteKernels(lost, lost, torch.full((2, 1), torch.inf, dtype=torch.float64))


def _tell_cost(spec: InfiniteSpec, draw: Draw, repeats: int) -> None:
    seconds = network_kernel_cost(
        max(spec.n_train), len(draw.x_validation) + len(draw.x_test), image_shape=draw.x_test.shape[1:],
        depths=spec.depth, settings=spec.network,
    )  # fmt: skip
    log.warning(
        "infinite kernels of convolutional networks: about %.3g minutes in all on %d threads (%d times %.3g s)",
        repeats * seconds / 60, torch.get_num_threads(), repeats, seconds,
    )  # fmt: skip
