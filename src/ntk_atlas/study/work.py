"""How long an experiment will take, roughly, known before it runs.

Trainings are optimizer steps, each with a cost of its own beside its arithmetic; kernels are matrix products. The two
constants were measured on one of two busy virtual cores, in the quick preset of the scaling laws: what they say lies
within a factor of two of what trainings and regressions took there. A GPU has not been measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ntk_atlas.config.predictors import EPOCHS, PRETRAINED, predictors_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.inspect import DatasetSize, inspect_dataset
from ntk_atlas.study.cells import Row, rows
from ntk_atlas.study.layer_sizes import layer_sizes
from ntk_atlas.study.own_cost import OwnCost, cost_at
from ntk_atlas.training.schedule import epoch_budget, scheduled_epochs, steps_per_epoch

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
        kernel_flops: of empirical kernels, and of all factorizations.
    """

    steps: int
    training_flops: float
    kernel_flops: float

    @property
    def training_hours(self) -> float:
        """Hours of one core."""
        return (self.steps * SECONDS_PER_STEP + self.training_flops / FLOPS_PER_SECOND) / 3600

    @property
    def kernel_hours(self) -> float:
        """Hours of one core."""
        return self.kernel_flops / FLOPS_PER_SECOND / 3600


def experiment_work(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> Work | None:
    """Counts the work of an experiment's trainings, empirical kernels and rivals.

    Kernels of infinite width, untrained networks and linearized ones are left out: the first say what they cost when
    they start, the others are small beside trainings.

    Args:
        experiment: its settings.
        costs: of networks of the user's own, measured at some cells.

    Returns:
        The work; None for a network of the user's own that was not measured.
    """
    own = experiment.network.factory is not None
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
    return Work(steps, training_flops, kernel_flops + grid.draws * _rival_flops(experiment))


@dataclass(frozen=True)
class _Network:
    """Arithmetic of one network a sample: of a training step, of its gradients, of a pair of samples in a kernel."""

    training_flops: float
    gradient_flops: float
    pair_flops: float


def _counted(experiment: ExperimentSettings, row: Row, size: DatasetSize) -> _Network:
    layers = layer_sizes(experiment.network, size.input_shape, row.depth, row.width, size.n_outputs or 10)
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


def work_estimate(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> str:
    """The estimate in words."""
    work = experiment_work(experiment, costs)
    if work is None:
        return "time unknown: a network of your own"
    total = work.training_hours + work.kernel_hours
    return (
        f"about {_readable(total)} of one core ({work.steps:,} training steps {_readable(work.training_hours)}, "
        f"empirical kernels and rivals {_readable(work.kernel_hours)})"
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
            flops += sum(_checkpoints(experiment, n) * of(n) for n in regression.epoch_sizes(sizes))
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


def _checkpoints(experiment: ExperimentSettings, n: int) -> int:
    training = experiment.training
    return len(scheduled_epochs(training.checkpoints, epoch_budget(training, n)))


def _readable(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1.0 else f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"
