"""What an experiment will take, known before it runs: work, CPU seconds by rule, disk, and whether so much is meant.

Trainings are optimizer steps, each with a cost of its own beside its arithmetic; kernels are matrix products. A network
of the user's own costs what was measured when it was tried. Times are counts of what jobs do, times what each of it
costs. `benchmarks/estimates.py` holds the estimates to the CPU time that jobs took. Rates were measured on one core of
a busy machine; wall time is longer where cores are shared, and a GPU has not been measured. Years of computing and
terabytes are asked about at the start.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ntk_atlas.activations import built_in
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED, STAND_IN, predictors_of
from ntk_atlas.config.study import ExperimentSettings, JobSettings, StudySettings
from ntk_atlas.datasets.dataset import DataError, DatasetSize
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.dispersion.theory import has_exact_law
from ntk_atlas.families import LayerSize
from ntk_atlas.families.fully_connected import fully_connected
from ntk_atlas.jobs.parts.results import has_regimes, has_scaling_laws
from ntk_atlas.jobs.parts.slice import Row, rows
from ntk_atlas.networks.convolutional_architecture import NetworkShapeError
from ntk_atlas.registry import is_own
from ntk_atlas.study.problems import Problem
from ntk_atlas.study.results import figures_of
from ntk_atlas.training.schedule import epoch_budget, has_closed_form, scheduled_epochs, steps_per_epoch


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


START = {
    "prepare_dataset": 2.3,
    "train_networks": 2.6,
    "regress_empirical": 1.8,
    "linearize_networks": 1.8,
    "regress_infinite": 1.9,
    "regress_rivals": 1.8,
    "sample_initial_kernels": 1.6,
    "predict_output_variance": 1.8,
    "compare_variants": 1.8,
    "assemble_cube": 2.3,
    "assemble_functions": 1.8,
    "assemble_dispersion": 1.8,
    "assemble_output_variance": 1.9,
    "map_regimes": 1.5,
    "fit_scaling_laws": 0.9,
    "summarize_cube": 0.55,
    "plot_figure": 2.0,
    "judge_claims": 1.5,
    "plot_claims": 2.0,
    "join_claims": 1.0,
    "compare_layer_changes": 2.7,
    "tabulate_costs": 0.6,
    "write_page": 2.5,
}
"""Of a job, whatever it does: a process, its imports, its data."""
TRAINING_FLOPS = 1e11
"""Per second, in the products of a training."""
ACTIVATION = 1.0e-8
"""Of a hidden unit's activation of one sample in a training step, forth and back."""
PROBE_LAYER = 2.5e-3
"""Of a layer in the kernel of a stack at one checkpoint, whatever its arithmetic."""
KERNEL_FLOPS = 1.5e10
"""Per second, in kernels and in factorizations of double precision."""
PAIR_LAYER = 2.5e-8
"""Of a pair of samples, or of two of their pixels, in a layer of an infinite kernel."""
INTEGRATED, STEEP = 1e-4, 6e-6
"""Of a sample in a layer of an infinite kernel whose activation has no closed form: its series, and what a unit of σ_w²
adds."""
LINEAR_STEP = 2.2
"""Of the training of a linearized network, in units of the network's own: 1.5 to 2.7, the more the smaller it is."""
SOLVE = 0.01
"""Of a regression, whatever its size: checks, spectra, and the choice of its ridge."""
RIVAL_PAIR = 3e-8
"""Of a pair of samples in a rival at one length scale."""
INITIAL_WEIGHT = 2.5e-9
"""Of a weight of an untrained network whose kernel is sampled."""
EXACT_LAYER = 1.0e-7
"""Of a layer of one sample of the exact law."""
VARIANT_WEIGHT = 2.6e-8
"""Of a weight of an untrained network that is held against the variants of the NTK."""
NUMBER_READ = 3e-8
"""Of a number of the data, read and checked."""
NETWORK = 9e-4
"""Of a network in the cube."""
FUNCTION = 1e-4
"""Of what a predictor says of the test samples on one draw, joined with the others."""
REGIME = 5e-3
"""Of a cell whose regime is told."""
SUMMED = 5e-5
"""Of a network in the summary."""
DRAWN, MOST_DRAWN = 0.04, 50
"""Of a depth, width and init scale in a figure, which shows no more of them than so many."""
LAYERS_SHOWN = 0.5
"""Of an experiment in the figure of what adding a layer does."""
JUDGED = 3e-4
"""Of a network that is judged."""
_MOST_NAMED = 4
_CLASSES = 10
"""Of data whose classes only their labels tell."""
LAW = 0.017
"""Of the law of one curve, its intervals included, for each n_train beyond three."""


def job_seconds(
    experiment: ExperimentSettings, jobs: JobSettings | None = None, costs: Sequence[OwnCost] = ()
) -> dict[str, float] | None:
    """CPU seconds, by rule, of an experiment's NetCDF files and of all that they are made of.

    Args:
        experiment: its settings.
        jobs: how work is cut into jobs; by default as `JobSettings` have it.
        costs: of networks of the user's own, measured at some cells.

    Returns:
        Rule → seconds; None for a network of the user's own that was not measured.
    """
    work = experiment_work(experiment, costs)
    if work is None:
        return None
    jobs = jobs or JobSettings()
    n_rows = len(rows(experiment.grid, jobs.init_scales_per_job))
    found = {"train_networks": n_rows * START["train_networks"] + _training(experiment, work)}
    predictors = experiment.regression.predictors
    if predictors_of("empirical", predictors):
        rate = KERNEL_FLOPS * (2.0 if experiment.regression.kernel_dtype == "float32" else 1.0)
        seconds = work.empirical_flops / rate + SOLVE * _empirical_regressions(experiment)
        found["regress_empirical"] = n_rows * START["regress_empirical"] + seconds
    if "linearized" in predictors or experiment.output_variance is not None:
        found["linearize_networks"] = n_rows * START["linearize_networks"] + _linearized(experiment, work, costs)
    infinite = predictors_of("infinite", predictors)
    if infinite:
        n_jobs = len(experiment.grid.init_scale)
        found["regress_infinite"] = n_jobs * START["regress_infinite"] + _infinite(experiment, infinite)
    rivals = predictors_of("rival", predictors)
    if rivals:
        n_jobs = math.ceil(len(rivals) / jobs.rivals_per_job)
        found["regress_rivals"] = n_jobs * START["regress_rivals"] + _rivals(experiment, len(rivals))
    found |= _untrained(experiment)
    size = inspect_dataset(experiment.dataset)
    found["prepare_dataset"] = START["prepare_dataset"] + NUMBER_READ * size.n_samples * math.prod(size.input_shape)
    found["assemble_cube"] = START["assemble_cube"] + NETWORK * _networks(experiment)
    if experiment.regression.keep_predictions:
        functions = (1 + len(predictors)) * _networks(experiment)
        found["assemble_functions"] = START["assemble_functions"] + FUNCTION * functions
    if has_regimes(experiment):
        cells = len(rows(experiment.grid)) * len(experiment.grid.n_train)
        found["map_regimes"] = START["map_regimes"] + REGIME * cells
    if has_scaling_laws(experiment):
        cells = len(rows(experiment.grid))
        sizes = sum(n >= experiment.scaling.n_train_min for n in experiment.grid.n_train)
        laws = cells * (1 + len(predictors))
        found["fit_scaling_laws"] = START["fit_scaling_laws"] + LAW * laws * max(sizes - 3, 0)
    return found


def seconds_after_cubes(experiment: ExperimentSettings, *, claims: bool) -> dict[str, float]:
    """CPU seconds, by rule, of what reads the files of an experiment: its summary, its figures, and its verdicts.

    Args:
        experiment: its settings; figures of the user's have been found.
        claims: whether the study judges claims.

    Returns:
        Rule → seconds.
    """
    n_rows, networks = len(rows(experiment.grid)), _networks(experiment)
    found = {"summarize_cube": START["summarize_cube"] + SUMMED * networks}
    data = inspect_dataset(experiment.dataset)
    shown = figures_of(experiment, has_classes=data.task != "regression", one_feature=data.input_shape == (1,))
    if shown:
        found["plot_figure"] = len(shown) * (START["plot_figure"] + DRAWN * min(n_rows, MOST_DRAWN))
    if claims:
        found["judge_claims"] = START["judge_claims"] + JUDGED * networks
        found["plot_claims"] = START["plot_claims"]
    return found


def all_seconds(
    experiment: ExperimentSettings,
    jobs: JobSettings | None = None,
    costs: Sequence[OwnCost] = (),
    *,
    claims: bool = False,
) -> dict[str, float] | None:
    """`job_seconds` and `seconds_after_cubes` together; None for a network of the user's own that was not measured."""
    found = job_seconds(experiment, jobs, costs)
    return None if found is None else found | seconds_after_cubes(experiment, claims=claims)


def seconds_of_study(*, claims: bool, layers: int) -> dict[str, float]:
    """CPU seconds, by rule, of the page and the tables over all experiments.

    Args:
        claims: whether the study judges claims.
        layers: how many experiments are in the figure of what adding a layer does; 0 if there is none.

    Returns:
        Rule → seconds.
    """
    found = {"tabulate_costs": START["tabulate_costs"], "write_page": START["write_page"]}
    if claims:
        found["join_claims"] = START["join_claims"]
    if layers:
        found["compare_layer_changes"] = START["compare_layer_changes"] + LAYERS_SHOWN * layers
    return found


def time_estimate(
    experiment: ExperimentSettings,
    jobs: JobSettings | None = None,
    costs: Sequence[OwnCost] = (),
    *,
    claims: bool = False,
) -> str:
    """The estimate in words; arguments as for `all_seconds`."""
    seconds, work = all_seconds(experiment, jobs, costs, claims=claims), experiment_work(experiment, costs)
    if seconds is None or work is None:
        return "time unknown: a network of your own"
    parts = [
        f"{rule} {_readable(taken)}" + (f" for {work.steps:,} steps" if rule == "train_networks" else "")
        for rule, taken in sorted(seconds.items(), key=lambda part: -part[1])
    ]
    return f"about {_readable(sum(seconds.values()))} of CPU time ({', '.join(parts[:_MOST_NAMED])})"


def study_estimate(experiments: Sequence[Mapping[str, float] | None], *, claims: bool, layers: int) -> str:
    """The estimate of a study of several experiments in words.

    Args:
        experiments: of each, seconds by rule (`job_seconds` and `seconds_after_cubes` together); None if not known.
        claims: see `seconds_of_study`.
        layers: see `seconds_of_study`.
    """
    known = [sum(seconds.values()) for seconds in experiments if seconds is not None]
    total = sum(known) + sum(seconds_of_study(claims=claims, layers=layers).values())
    unknown = len(experiments) - len(known)
    beside = f", and {unknown} of unknown time" if unknown else ""
    return f"all {len(experiments)} experiments: about {_readable(total)} of CPU time{beside}"


def _readable(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours >= 1.0 else f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{seconds:.0f} s"


def _is_integrated(network: NetworkSettings) -> bool:
    """Whether infinite kernels have no closed form; of an activation of the user's none is known."""
    value = built_in(network.activation)
    return value is None or value.dual() is None


def _networks(experiment: ExperimentSettings) -> int:
    grid = experiment.grid
    return len(rows(grid)) * len(grid.n_train) * grid.draws * grid.seeds


def _layers(experiment: ExperimentSettings, depth: int, width: int) -> tuple[LayerSize, ...]:
    size = inspect_dataset(experiment.dataset)
    network = experiment.network
    return network.family.layers(network, size.input_shape, depth, width, size.n_outputs or 10)


def _training(experiment: ExperimentSettings, work: Work) -> float:
    """Steps, their arithmetic, and kernels along the way."""
    grid, training, network = experiment.grid, experiment.training, experiment.network
    if network.family.measured:
        return work.training_flops / FLOPS_PER_SECOND + work.steps * SECONDS_PER_STEP
    seconds = work.training_flops / TRAINING_FLOPS
    relative = training.learning_rate.relative
    n_rates = len(relative) if isinstance(relative, tuple) else 1
    blocks = grid.draws * -(-grid.seeds // training.seeds_per_unit)
    for row in rows(grid):
        layers = _layers(experiment, row.depth, row.width)
        units = sum(layer.fan_out * layer.positions for layer in layers[:-1])
        for n in grid.n_train:
            epochs = epoch_budget(training, n)
            steps, runs = epochs * steps_per_epoch(training, n), grid.draws * grid.seeds * n_rates
            seconds += blocks * steps * len(layers) * network.family.layer_step
            seconds += runs * epochs * n * units * ACTIVATION
            seconds += blocks * checkpoints_of(experiment, n) * len(layers) * PROBE_LAYER
    return seconds


def _empirical_regressions(experiment: ExperimentSettings) -> int:
    """With the kernels of all networks: before training one serves all n_train, after it each has its own."""
    grid, regression = experiment.grid, experiment.regression
    each = {EPOCHS: sum(checkpoints_of(experiment, n) for n in regression.epoch_sizes(grid.n_train)), "ntk_init": 1}
    found = sum(
        1 if name.startswith(PRETRAINED) else each.get(name, len(grid.n_train))
        for name in predictors_of("empirical", regression.predictors)
    )
    return found * len(rows(grid)) * grid.draws * grid.seeds


def _evaluated(experiment: ExperimentSettings) -> int:
    return experiment.dataset.n_validation + experiment.dataset.n_test


def _solve_flops(experiment: ExperimentSettings, n: int) -> float:
    """Of a factorization for each ridge, and of predictions."""
    return (1 + len(experiment.regression.ridge_grid)) * (n**3 / 3 + 2 * n * _evaluated(experiment))


def _linearized(experiment: ExperimentSettings, work: Work, costs: Sequence[OwnCost]) -> float:
    """Full kernels of all networks, whose outputs mix, and their spectra; without a closed form, a training of each."""
    training = experiment.training
    if is_own(training.optimizer) or not has_closed_form(training):
        return LINEAR_STEP * _training(experiment, work)
    grid, own, flops = experiment.grid, experiment.network.family.measured, 0.0
    outputs = inspect_dataset(experiment.dataset).n_outputs or _CLASSES
    for row in rows(grid):
        if own:
            cost = cost_at(costs, row.depth, row.width)
            numbers, gradients = outputs**2 * cost.parameters, cost.kernel_seconds * KERNEL_FLOPS
        else:
            layers, gradients = _layers(experiment, row.depth, row.width), 0.0
            numbers = sum(
                layer.fan_in + outputs**2 * layer.fan_out if layer.positions == 1 else outputs**2 * layer.parameters
                for layer in layers
            )
        for n in grid.n_train:
            predicted = n + _evaluated(experiment)
            flops += 2.0 * numbers * n * predicted + gradients * predicted + 12.0 * (n * outputs) ** 3
    return grid.draws * grid.seeds * flops / KERNEL_FLOPS


def _pairs(experiment: ExperimentSettings) -> float:
    n = max(experiment.grid.n_train)
    return n * (0.5 * n + _evaluated(experiment))


def _infinite(experiment: ExperimentSettings, names: Sequence[str]) -> float:
    """Kernels of all depths, and their solves."""
    if set(names) == {STAND_IN}:
        experiment = experiment.model_copy(update={"network": fully_connected.of(experiment.network)})
    grid, network, per_draw = experiment.grid, experiment.network, 0.0
    for depth in network.family.kernel_sweeps(grid.depth):
        layers = _layers(experiment, depth, min(grid.width))
        pairs = (network.family.kernel_pairs(network, layer) for layer in layers)
        per_draw += _pairs(experiment) * sum(PAIR_LAYER * of_layer for of_layer in pairs)
        if _is_integrated(network):
            samples = 2 * max(grid.n_train) + _evaluated(experiment)
            steep = INTEGRATED + STEEP * sum(grid.init_scale) / len(grid.init_scale)
            per_draw += samples * steep * sum(layer.positions for layer in layers)
    n = max(grid.n_train)
    per_draw += len(names) * len(grid.depth) * (SOLVE + _solve_flops(experiment, n) / KERNEL_FLOPS)
    return len(grid.init_scale) * grid.draws * per_draw


def _rivals(experiment: ExperimentSettings, n_rivals: int) -> float:
    n, regression = max(experiment.grid.n_train), experiment.regression
    one = SOLVE + _solve_flops(experiment, n) / KERNEL_FLOPS + _pairs(experiment) * RIVAL_PAIR
    return experiment.grid.draws * n_rivals * len(regression.length_scales) * one


def _untrained(experiment: ExperimentSettings) -> dict[str, float]:
    """Networks that are drawn for their kernels alone, and theory of outputs."""
    found, scales = {}, len(experiment.grid.init_scale)
    if (section := experiment.dispersion) is not None:
        weights = sum(depth * width**2 for depth in section.depth for width in section.width)
        exact = section.n_exact * len(section.width) * sum(section.depth) * has_exact_law(experiment.network)
        found["assemble_dispersion"] = START["assemble_dispersion"]
        found["sample_initial_kernels"] = len(section.depth) * len(section.width) * START["sample_initial_kernels"] + (
            scales * (section.n_networks * weights * INITIAL_WEIGHT + exact * EXACT_LAYER)
        )
    if (section := experiment.kernel_variants) is not None:
        weights = sum(depth * width**2 for depth in section.depth for width in section.width)
        found["compare_variants"] = START["compare_variants"] + (
            8 * scales * section.n_networks * weights * VARIANT_WEIGHT
        )
    if experiment.output_variance is not None:
        found["assemble_output_variance"] = START["assemble_output_variance"]
        found["predict_output_variance"] = scales * START["predict_output_variance"] + _infinite(
            experiment, ("infinite_ntk", "nngp")
        )
    return found


BYTES = {"float32": 4, "float64": 8}


def probe_kernel_bytes(experiment: ExperimentSettings) -> int:
    """Bytes of all probe kernels: once in the store of units and once, before compression, in the rows' files."""
    training, grid = experiment.training, experiment.grid
    checkpoints = sum(
        len(scheduled_epochs(training.checkpoints, epoch_budget(training, n_train))) for n_train in grid.n_train
    )
    networks = len(rows(grid)) * grid.draws * grid.seeds
    n_probe = training.checkpoints.probe_count(grid.n_train) * len(training.checkpoints.probed_parts)
    return 2 * networks * checkpoints * n_probe**2 * BYTES[training.dtype]


def weight_bytes(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> int | None:
    """Bytes of all weights kept; None for a network of the user's own that was not measured (`costs`)."""
    own = experiment.network.family.measured
    if own and not costs:
        return None
    training, grid = experiment.training, experiment.grid
    size = inspect_dataset(experiment.dataset)
    total = 0
    for row in rows(grid):
        if own:
            parameters = cost_at(costs, row.depth, row.width).parameters
        else:
            network, n_outputs = experiment.network, size.n_outputs or 10
            layers = network.family.layers(network, size.input_shape, row.depth, row.width, n_outputs)
            parameters = sum(layer.parameters for layer in layers)
        for n_train in grid.n_train:
            epochs = scheduled_epochs(training.checkpoints, epoch_budget(training, n_train))
            kept = len(epochs) if training.checkpoints.weights == "scheduled" else 2
            total += parameters * kept
    return total * grid.draws * grid.seeds * BYTES[training.dtype]


def disk_estimate(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> str:
    """The estimate in words."""
    kernels, weights = probe_kernel_bytes(experiment), weight_bytes(experiment, costs)
    said = "weights of unknown size" if weights is None else f"weights {_bytes(weights)}"
    return f"disk: probe kernels {_bytes(kernels)}, {said}"


def _bytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


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
