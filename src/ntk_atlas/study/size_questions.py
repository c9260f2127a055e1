"""Whether a study is meant to be as large as it is: years of computing and terabytes are asked about at the start."""

import contextlib
import math
from collections.abc import Iterator

from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.networks.convolutional_architecture import NetworkShapeError
from ntk_atlas.study.disk import BYTES, probe_kernel_bytes, weight_bytes
from ntk_atlas.study.job_times import job_seconds
from ntk_atlas.study.problems import Problem
from ntk_atlas.study.work import FLOPS_PER_SECOND, SECONDS_PER_STEP, experiment_work
from ntk_atlas.training.schedule import epoch_budget, scheduled_epochs, steps_per_epoch

MOST_HOURS = 365.25 * 24
"""Of one core, for an experiment."""
MOST_HOURS_OF_A_TRAINING = 1000
"""Of one network, whose steps nothing can do at the same time."""
MOST_DISK, MOST_MEMORY = 2**40, 128 * 2**30
"""Bytes of an experiment's results, and of what one of its jobs holds."""
_MOST_LAYERS = 5_000_000
_ASK = "lower them, or set jobs.allow_huge: true if it is meant"
_COPIES = 4  # weights, gradients, momentum, and what an update makes


def size_problems(study: StudySettings) -> list[Problem]:
    """Experiments that take more than a year of one core, a TiB of disk or 128 GiB of memory, or train for six weeks.

    Args:
        study: settings whose sections are valid.

    Returns:
        A problem for each quantity of each such experiment, with the numbers; none if the config allows it, or if the
        experiment's data or network do not go together and its size is not known.
    """
    problems = []
    for name, experiment in study.active().items() if not study.jobs.allow_huge else ():
        with contextlib.suppress(DataError, NetworkShapeError):
            problems += [Problem(("experiments", name), text) for text in _questions(experiment)]
    return problems


def _questions(experiment: ExperimentSettings) -> Iterator[str]:
    grid, training = experiment.grid, experiment.training
    rows = len(grid.depth) * len(grid.width) * len(grid.init_scale)
    networks = rows * len(grid.n_train) * grid.draws * grid.seeds
    of_networks = f"for {networks:,} networks (depth × width × init_scale × n_train × draws × seeds)"
    layers = len(grid.width) * len(grid.init_scale) * sum(depth + 1 for depth in grid.depth)
    if layers > _MOST_LAYERS:  # too many to count what they cost
        yield f"its networks have {layers:,} layers in all, of {rows:,} depths, widths and init scales: {_ASK}"
        return
    budgets = [epoch_budget(training, n) for n in grid.n_train]
    steps = max(epochs * steps_per_epoch(training, n) for epochs, n in zip(budgets, grid.n_train, strict=True))
    if (longest := steps * SECONDS_PER_STEP / 3600) > MOST_HOURS_OF_A_TRAINING:
        yield f"would train for about {_number(longest / 24)} days, {steps:,} steps one after the other: {_ASK}"
    if (hours := _hours(experiment)) > MOST_HOURS:
        years = _number(hours / MOST_HOURS)
        yield f"would take about {years} years of one core, {of_networks}{_beside(experiment)}: {_ASK}"
    disk = probe_kernel_bytes(experiment) + (weight_bytes(experiment) or 0)
    if disk > MOST_DISK:
        epochs = max(len(scheduled_epochs(training.checkpoints, budget)) for budget in budgets)
        yield (
            f"would fill about {_number(disk / 2**40)} TiB of disk, {of_networks}{_beside(experiment)}, {epochs:,} "
            f"checkpoints of each and {training.checkpoints.probe_count(grid.n_train):,} probe samples: {_ASK}"
        )
    memory, of_what = max(_memory(experiment))
    if memory > MOST_MEMORY:
        yield f"would take about {_number(memory / 2**30)} GiB of memory in one job, for {of_what}: {_ASK}"


def _hours(experiment: ExperimentSettings) -> float:
    """Of one core, for trainings, kernels and untrained networks."""
    grid, training = experiment.grid, experiment.training
    work = experiment_work(experiment)
    if work is None:
        cells = len(grid.depth) * len(grid.width) * len(grid.init_scale) * grid.draws
        units = cells * -(-grid.seeds // training.seeds_per_unit)
        steps = sum(epoch_budget(training, n) * steps_per_epoch(training, n) for n in grid.n_train)
        hours = units * steps * SECONDS_PER_STEP / 3600
    else:
        hours = sum((job_seconds(experiment) or {}).values()) / 3600
    return hours + _untrained_flops(experiment) / FLOPS_PER_SECOND / 3600


def _untrained_flops(experiment: ExperimentSettings) -> float:
    """Of networks that are drawn for their kernels alone, at least: their weights are drawn, and used once."""
    flops, scales = 0.0, len(experiment.grid.init_scale)
    for section in (experiment.dispersion, experiment.kernel_variants):
        if section is not None:
            weights = sum(depth * width**2 for depth in section.depth for width in section.width)
            flops += 2.0 * scales * section.n_networks * weights
    if experiment.dispersion is not None:
        layers = len(experiment.dispersion.width) * sum(experiment.dispersion.depth)
        flops += 10.0 * scales * layers * experiment.dispersion.n_exact
    return flops


def _memory(experiment: ExperimentSettings) -> Iterator[tuple[float, str]]:
    """Bytes that a job holds at least, and what for."""
    size, training = inspect_dataset(experiment.dataset), experiment.training
    numbers = size.n_samples * math.prod(size.input_shape)
    yield 8.0 * numbers, f"{size.n_samples:,} samples of {math.prod(size.input_shape):,} numbers"
    parameters = _parameters(experiment)
    if parameters:
        stack = min(experiment.grid.seeds, training.seeds_per_unit)
        bytes_ = float(_COPIES * stack * parameters * BYTES[training.dtype])
        yield bytes_, f"{stack} networks of {parameters:,} parameters that train as one stack"


def _parameters(experiment: ExperimentSettings) -> int:
    """Of the largest network; 0 for a network of the user's own, whose size is not known beforehand."""
    network = experiment.network
    if network.family.measured:
        return 0
    size, grid = inspect_dataset(experiment.dataset), experiment.grid
    depths = {min(grid.depth), max(grid.depth)}
    outputs = size.n_outputs or 10
    sizes = (network.family.layers(network, size.input_shape, d, max(grid.width), outputs) for d in depths)
    return max(sum(layer.parameters for layer in layers) for layers in sizes)


def _beside(experiment: ExperimentSettings) -> str:
    """What else the numbers are large by: the size of networks, and the untrained ones."""
    said = f" of up to {parameters:,} parameters" if (parameters := _parameters(experiment)) else ""
    for name in ("dispersion", "kernel_variants"):
        if (section := getattr(experiment, name)) is not None:
            said += f", {section.n_networks:,} untrained ones a cell of {name}"
    return said


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
