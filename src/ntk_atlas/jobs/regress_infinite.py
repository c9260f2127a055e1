"""Kernel regression with kernels of infinite width at one init scale, all depths in one pass."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ntk_atlas.config.predictors import predictors_of
from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.jobs import DROPPED, INIT_SCALE, Job
from ntk_atlas.kernels.infinite.variants import depends_on_the_width

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


def _narrowed(experiment: "ExperimentSettings") -> Mapping[str, object]:
    names = predictors_of("infinite", experiment.regression.predictors)
    of_widths = any(depends_on_the_width(name, experiment.network) for name in names)
    return {
        "regression.predictors": names,
        "regression.solver": experiment.regression.chosen_solver(experiment.grid.n_train)[0],
        **({} if of_widths else {"grid.width": DROPPED}),
    }


JOB = Job(
    reads=(
        "dataset",
        *(f"grid.{axis}" for axis in ("depth", "width", "init_scale", "n_train", "draws")),
        "network",
        "regression.predictors",
        *(f"regression.{key}" for key in SolveSettings.model_fields),
    ),
    folder="predictions/infinite",
    kind="infinite",
    made_of=("prepare_dataset",),
    per=INIT_SCALE,
    wanted=lambda experiment: bool(predictors_of("infinite", experiment.regression.predictors)),
    narrowed=_narrowed,
    message="regression with the infinite kernels, init_scale {init_scale}",
    minutes=240,
)

import logging
from collections.abc import Sequence

import torch

from ntk_atlas.activations import ActivationOverflowError
from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.predictors import STAND_IN
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.jobs.parts.row_networks import as_tensor
from ntk_atlas.kernels.infinite.kernels import InfiniteKernels
from ntk_atlas.kernels.infinite.variants import variant_network
from ntk_atlas.regression.regress import NestedRegression, regress_nested

log = logging.getLogger(__name__)


def compute(part: Slice, given: Given) -> LabelledArrays:
    """See `regress_infinite`."""
    return regress_infinite(part, given.dataset)


def regress_infinite(spec: Slice, dataset: Dataset) -> LabelledArrays:
    """Regression at every depth (and width, where the kernel depends on it), n_train and draw.

    Args:
        spec: the grid at one init_scale.
        dataset: the data.

    Returns:
        `<field>_<predictor>` over (depth, n_train, draw, ridge), with the width for those that depend on it.
    """
    names, grid = spec.regression.predictors, spec.grid
    of_widths = any(depends_on_the_width(name, spec.network) for name in names)
    widths: tuple[int | None, ...] = grid.width if of_widths else (None,)
    pieces = []
    for number in range(grid.draws):
        draw = make_draw(dataset, spec.dataset, number)
        if number == 0 and set(names) != {STAND_IN}:
            _tell_cost(spec, draw, repeats=grid.draws * len(widths))
        for width in widths:
            log.info("infinite kernels at init_scale %s, draw %d, width %s", spec.only_init_scale, number, width)
            wanted = [n for n in names if width == widths[0] or depends_on_the_width(n, spec.network)]
            for name, per_depth in _regress(spec, draw, width, wanted).items():
                place = {"width": width} if depends_on_the_width(name, spec.network) else {}
                found = regression_arrays(per_depth, name, spec.grid.n_train, depth=spec.grid.depth)
                pieces.append(found.at(**place, draw=number))
    axes = {"width": grid.width} if of_widths else {}
    labels = {"depth": grid.depth, **axes, "n_train": grid.n_train, "draw": range(grid.draws)}
    return join(pieces, labels).with_attributes(spec=spec.canonical_json())


def _regress(spec: Slice, draw: Draw, width: int | None, wanted: list[str]) -> dict[str, list[NestedRegression]]:
    n_train = max(spec.grid.n_train)
    x_train, targets = as_tensor(draw.training_set(n_train)[0]), regression_targets(draw, n_train)
    x_rest = torch.cat([as_tensor(draw.x_validation), as_tensor(draw.x_test)])
    n_validation = len(draw.x_validation)
    results: dict[str, list[NestedRegression]] = {}
    networks = {name: variant_network(name, spec.network, spec.only_init_scale) for name in wanted}
    for network, init_scale in dict.fromkeys((network, scale) for network, scale, _ in networks.values()):
        choice = {"depths": spec.grid.depth, "settings": network, "init_scale": init_scale, "width": width}
        train, rest = _kernels(x_train, **choice), _kernels(x_rest, x_train, **choice)
        for name in [name for name in wanted if networks[name][:2] == (network, init_scale)]:
            within, across = (getattr(kernels, networks[name][2]) for kernels in (train, rest))
            results[name] = [
                regress_nested(
                    within[depth],
                    across[depth, :n_validation],
                    across[depth, n_validation:],
                    **targets,
                    sizes=spec.grid.n_train,
                    settings=_solve(spec, name),
                )
                for depth in range(len(spec.grid.depth))
            ]
    return results


def _solve(spec: Slice, name: str) -> SolveSettings:
    """How systems are solved; predictions of the NTK are always kept, with which networks are compared as functions."""
    kept = spec.regression.keep_predictions or name == "infinite_ntk"
    return spec.regression.solve(spec.grid.n_train).model_copy(update={"keep_predictions": kept})


def _kernels(x1: torch.Tensor, x2: torch.Tensor | None = None, *, depths: Sequence[int], **choice) -> InfiniteKernels:
    """The network's kernels, NaN at depths at which the activation leaves the range of numbers: SINGULAR then."""
    try:
        return choice["settings"].family.infinite_kernels(x1, x2, depths=depths, **choice)
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


def _tell_cost(spec: Slice, draw: Draw, repeats: int) -> None:
    seconds = spec.network.family.infinite_cost(
        max(spec.grid.n_train), len(draw.x_validation) + len(draw.x_test), input_shape=draw.x_test.shape[1:],
        depths=spec.grid.depth, settings=spec.network,
    )  # fmt: skip
    if seconds > 0.0:
        log.warning(
            "infinite kernels of %s: about %.3g minutes in all on %d threads (%d times %.3g s)",
            spec.network.family.title, repeats * seconds / 60, torch.get_num_threads(), repeats, seconds,
        )  # fmt: skip
