"""The work of an experiment in numbers, known before it runs: optimizer steps, and arithmetic of trainings and kernels.

Trainings are optimizer steps, each with a cost of its own beside its arithmetic; kernels are matrix products. A network
of the user's own costs what was measured when it was tried.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ntk_atlas.config.predictors import EPOCHS, PRETRAINED, predictors_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.dataset import DatasetSize
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.jobs.parts.slice import Row, rows
from ntk_atlas.training.schedule import epoch_budget, scheduled_epochs, steps_per_epoch


@dataclass(frozen=True)
class OwnCost:
    """CPU time and size of one network.

    Attributes:
        depth: of the cell.
        width: of the cell.
        parameters: trainable ones.
        step_seconds: of a forward and a backward pass, a sample.
        kernel_seconds: of the gradients of all outputs, a sample.
    """

    depth: int
    width: int
    parameters: int
    step_seconds: float
    kernel_seconds: float


def cost_at(costs: Sequence[OwnCost], depth: int, width: int) -> OwnCost:
    """The cost at another cell, between the measured ones: a power of depth · width², through both.

    Args:
        costs: of the smallest cell, and of the largest if there is another.
        depth: of the cell.
        width: of the cell.

    Returns:
        Its cost; that of the smallest alone grows in proportion to depth · width².
    """
    small, large = costs[0], costs[-1]
    here = math.log(depth * width**2) - _size(small)
    share = here / span if (span := _size(large) - _size(small)) > 0 else None

    def between(name: str) -> float:
        low, high = (max(getattr(cost, name), 1e-9) for cost in (small, large))
        return low * math.exp(here) if share is None else low * (high / low) ** share

    return OwnCost(depth, width, round(between("parameters")), between("step_seconds"), between("kernel_seconds"))


def _size(cost: OwnCost) -> float:
    return math.log(cost.depth * cost.width**2)


SECONDS_PER_STEP = 5e-3
"""Of an optimizer step, whatever its arithmetic."""
FLOPS_PER_SECOND = 2e10
"""Of one core, in the products that training and kernels are made of."""


@dataclass(frozen=True)
class Work:
    """Work of an experiment.

    Attributes:
        steps: optimizer steps of stacks of networks.
        training_flops: arithmetic of these steps.
        empirical_flops: of empirical kernels and their factorizations.
        rival_flops: of the factorizations of rivals.
    """

    steps: int
    training_flops: float
    empirical_flops: float
    rival_flops: float

    @property
    def kernel_flops(self) -> float:
        """Of empirical kernels, and of all factorizations."""
        return self.empirical_flops + self.rival_flops


def experiment_work(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> Work | None:
    """Counts the work of an experiment's trainings, empirical kernels and rivals.

    Args:
        experiment: its settings.
        costs: of networks of the user's own, measured at some cells.

    Returns:
        The work; None for a network of the user's own that was not measured.
    """
    own = experiment.network.family.measured
    if own and not costs:
        return None
    grid, training = experiment.grid, experiment.training
    size = inspect_dataset(experiment.dataset)
    relative = training.learning_rate.relative
    n_runs = grid.draws * grid.seeds * (len(relative) if isinstance(relative, tuple) else 1)
    blocks = grid.draws * -(-grid.seeds // training.seeds_per_unit)
    steps, training_flops, kernel_flops = 0, 0.0, 0.0
    for row in rows(grid):
        scales = len(row.init_scale)
        network = _measured(costs, row, size) if own else _counted(experiment, row, size)
        for n in grid.n_train:
            epochs = epoch_budget(training, n)
            steps += scales * blocks * epochs * steps_per_epoch(training, n)
            training_flops += scales * n_runs * epochs * n * network.training_flops
        kernel_flops += scales * grid.draws * grid.seeds * _empirical_flops(experiment, network)
    return Work(steps, training_flops, kernel_flops, grid.draws * _rival_flops(experiment))


@dataclass(frozen=True)
class _Network:
    """Arithmetic of one network a sample: of a training step, of its gradients, of a pair of samples in a kernel."""

    training_flops: float
    gradient_flops: float
    pair_flops: float


def _counted(experiment: ExperimentSettings, row: Row, size: DatasetSize) -> _Network:
    network, n_outputs = experiment.network, size.n_outputs or 10
    layers = network.family.layers(network, size.input_shape, row.depth, row.width, n_outputs)
    # A layer seen once a sample goes by its inputs and signals, a convolution by its gradients.
    numbers = sum(layer.fan_in + layer.fan_out if layer.positions == 1 else layer.parameters for layer in layers)
    return _Network(6.0 * sum(layer.multiply_adds for layer in layers), 0.0, 2.0 * numbers)


def _measured(costs: Sequence[OwnCost], row: Row, size: DatasetSize) -> _Network:
    cost = cost_at(costs, row.depth, row.width)
    return _Network(
        cost.step_seconds * FLOPS_PER_SECOND,
        cost.kernel_seconds * FLOPS_PER_SECOND,
        2.0 * cost.parameters * (size.n_outputs or 10),
    )


def _empirical_flops(experiment: ExperimentSettings, network: _Network) -> float:
    """Of all empirical kernels of one network over n_train, regressed with at every ridge."""
    sizes, regression = experiment.grid.n_train, experiment.regression
    evaluated = experiment.dataset.n_validation + experiment.dataset.n_test

    def of(n: int) -> float:
        kernel = network.pair_flops * n * (0.5 * n + evaluated) + network.gradient_flops * (n + evaluated)
        return kernel + (1 + len(regression.ridge_grid)) * n**3 / 3

    flops = 0.0
    for name in predictors_of("empirical", regression.predictors):
        if name == EPOCHS:
            flops += sum(checkpoints_of(experiment, n) * of(n) for n in regression.epoch_sizes(sizes))
        elif name == "ntk_init" or name.startswith(PRETRAINED):
            flops += of(max(sizes))
        else:
            flops += sum(map(of, sizes))
    return flops


def _rival_flops(experiment: ExperimentSettings) -> float:
    """Of the factorizations of all rivals on one draw."""
    regression, n = experiment.regression, max(experiment.grid.n_train)
    n_kernels = len(predictors_of("rival", regression.predictors)) * len(regression.length_scales)
    return n_kernels * (1 + len(regression.ridge_grid)) * n**3 / 3


def checkpoints_of(experiment: ExperimentSettings, n: int) -> int:
    """Checkpoints of one training on n samples."""
    training = experiment.training
    return len(scheduled_epochs(training.checkpoints, epoch_budget(training, n)))
