"""Checks across sections of the config, and of the config against the data it names."""

import math
from collections.abc import Iterator
from pathlib import Path

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import STAND_IN, predictors_of
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.dataset import DataError, DatasetSize
from ntk_atlas.datasets.read import inspect_dataset, shares
from ntk_atlas.families import Family
from ntk_atlas.jobs import JOBS
from ntk_atlas.jobs.parts.cells import rows
from ntk_atlas.jobs.parts.draw_shares import training_samples
from ntk_atlas.kernels.infinite.variants import variant_family, variant_network
from ntk_atlas.study.checkpoint_checks import kernels_over_sizes_problems
from ntk_atlas.study.dispersion_checks import dispersion_problems
from ntk_atlas.study.outputs import figure_problems
from ntk_atlas.study.problems import ConfigError, Problem, did_you_mean
from ntk_atlas.study.thresholds import load_regime_thresholds, load_thresholds, seed_conflict
from ntk_atlas.study.user_code_problems import user_code_problems
from ntk_atlas.study.value_checks import value_problems
from ntk_atlas.training.schedule import scheduled_epochs

_LONGEST_NAME = 220  # file systems take 255 bytes, and files under way have a longer name


def consistency_problems(study: StudySettings) -> list[Problem]:
    """What the sections of a valid config do not agree on, and what the data cannot give.

    Args:
        study: settings that passed validation one by one.

    Returns:
        All problems found; empty when there are none.
    """
    problems = []
    for name, experiment in study.active().items():
        for section, message in _experiment(experiment):
            problems.append(Problem(("experiments", name, *section.split(".")), message))
        problems += _row_names(name, experiment, study.jobs.init_scales_per_job)
    if not study.active() and all(name in study.experiments for name in study.only or ()):
        problems.append(Problem(("experiments",), "all experiments are switched off: nothing to do"))
    for name in study.only or ():
        if name not in study.experiments:
            known = did_you_mean(name, [other for other, settings in study.experiments.items() if settings])
            problems.append(Problem(("only",), f"there is no experiment {name!r}; {known}"))
    return [*problems, *_claims(study), *_regimes(study)]


def _claims(study: StudySettings) -> Iterator[Problem]:
    if study.claims is None:
        return
    try:
        thresholds = load_thresholds(Path(study.claims))
    except ConfigError as error:
        yield from (Problem(("claims",), line) for line in error.lines)
        return
    for name, experiment in study.active().items():
        if conflict := seed_conflict(experiment, thresholds):
            yield Problem(("experiments", name, *conflict[0].split(".")), conflict[1])


def _regimes(study: StudySettings) -> Iterator[Problem]:
    if study.regimes is not None:
        try:
            load_regime_thresholds(Path(study.regimes))
        except ConfigError as error:
            yield from (Problem(("regimes",), line) for line in error.lines)


def _row_names(name: str, experiment: ExperimentSettings, init_scales_per_job: int) -> list[Problem]:
    longest = max(len(row.name) for row in rows(experiment.grid, init_scales_per_job))
    if longest <= _LONGEST_NAME:
        return []
    message = (
        f"{init_scales_per_job} init scales a job give {name} file names of {longest} characters, which list them all, "
        f"and there may be {_LONGEST_NAME}: lower it"
    )
    return [Problem(("jobs", "init_scales_per_job"), message)]


def _experiment(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    yield from _kernels(experiment)
    yield from _solver(experiment)
    yield from _cross_entropy(experiment)
    yield from _checkpoints(experiment)
    yield from _factory(experiment)
    yield from _last_layer(experiment)
    yield from _learning_rate(experiment)
    for name in JOBS.names():
        yield from JOBS.head(name).problems(experiment)
    yield from value_problems(experiment, own=False)
    if experiment.dispersion is not None:
        yield from dispersion_problems(experiment)
    try:
        size = inspect_dataset(experiment.dataset)
    except DataError as error:
        yield "dataset", str(error)
    else:
        yield from _data(experiment, size)
        network, grid = experiment.network, experiment.grid
        yield from network.family.problems(network, size.input_shape, grid.depth, min(grid.width))


def _kernels(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    predictors, network = experiment.regression.predictors, experiment.network
    if experiment.training.loss == "cross_entropy" and predictors:
        yield (
            "regression.predictors",
            "kernel regression predicts networks trained on squared error; under cross_entropy there is no "
            "linear solve that it equals: set predictors to [] or training.loss to mse",
        )
    rivals = predictors_of("rival", predictors)
    if rivals and max(experiment.grid.n_train) < 2:
        yield "grid.n_train", f"{', '.join(rivals)} need distances between samples: give an n_train of 2 or more"
    infinite = predictors_of("infinite", predictors)
    reason = network.family.without_infinite_kernel()
    none = [
        n for n in infinite if not network.applies("activation") or _family_of(n, network).without_infinite_kernel()
    ]
    if none:
        yield "regression.predictors", f"{', '.join(none)}: {reason}; remove them"
    biased = [name for name in infinite if name.endswith("_with_bias") and variant_family(name) != "standard"]
    if biased and network.applies("bias_variance") and network.bias_variance == 0.0:
        yield (
            "regression.predictors",
            f"{', '.join(biased)}: with network.bias_variance 0 they are the same kernels as without bias; set it "
            "above 0, or remove them",
        )
    if STAND_IN in infinite and _family_of(STAND_IN, network) is network.family:
        yield (
            "regression.predictors",
            f"{STAND_IN} is the NTK of fully connected networks, which these are: take infinite_ntk",
        )


def _family_of(predictor: str, network: NetworkSettings) -> Family:
    """The family of the networks whose kernel of infinite width a predictor is."""
    return variant_network(predictor, network, 1.0)[0].family


def _solver(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    regression = experiment.regression
    if regression.chosen_solver(experiment.grid.n_train)[0] == "iterative" and regression.select_ridge != "validation":
        yield (
            "regression.solver",
            f"iterative has no factor of the kernel, which select_ridge: {regression.select_ridge} takes: set "
            "select_ridge: validation, or solver: direct",
        )


def _cross_entropy(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    training = experiment.training
    if training.loss != "cross_entropy":
        return
    reason = "is about squared error, which says little of a network trained on cross_entropy"
    if experiment.scaling.metric == "mse":
        yield "scaling.metric", f"mse {reason}: set it to error"
    if training.stop_loss is not None:
        yield "training.stop_loss", f"{reason}: remove it"
    if training.selection == "best_validation":
        yield "training.selection", f"best_validation {reason}: use final"
    if training.target_scale == "initial_output":
        yield "training.target_scale", f"initial_output {reason}: use unit"


def _checkpoints(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    training = experiment.training
    epochs = scheduled_epochs(training.checkpoints, training.max_epochs)
    yield from kernels_over_sizes_problems(experiment)
    for name in experiment.regression.predictors:
        if not name.startswith("ntk_epoch_"):
            continue
        epoch = int(name.removeprefix("ntk_epoch_"))
        if epoch > training.max_epochs:
            yield (
                "regression.predictors",
                f"{name} is a checkpoint epoch beyond training, which ends at max_epochs = {training.max_epochs}",
            )
        elif epoch not in epochs:
            yield "regression.predictors", f"{name} is not among the checkpointed epochs {list(epochs)}"
        elif training.checkpoints.weights != "scheduled":
            yield "regression.predictors", f"{name} needs training.checkpoints.weights: scheduled"
        elif training.min_steps:
            yield (
                "regression.predictors",
                f"{name} needs the same epochs at every n_train: set min_steps to 0",
            )


def _factory(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    yield from user_code_problems(experiment.network, experiment.regression.predictors, experiment.training.optimizer)
    yield from (("show", problem) for problem in figure_problems(experiment))
    reason = experiment.network.family.without_infinite_kernel()
    if reason and experiment.training.target_scale == "initial_output":
        yield "training.target_scale", f"initial_output needs the infinite-width output variance: {reason}; use unit"


def _learning_rate(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What a learning rate of the infinite NTK needs."""
    rate = experiment.training.learning_rate
    reason = experiment.network.family.without_infinite_kernel()
    if reason and rate.of == "infinite_ntk" and rate.relative is not None:
        yield "training.learning_rate.of", f"there is no infinite_ntk: {reason}; use of: network"


def _last_layer(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What is about networks whose layers are all drawn at one init scale."""
    scale, rate = experiment.network.last_layer_scale, experiment.training.learning_rate
    if scale == 1.0:
        return
    reason = f"is known for network.last_layer_scale: 1 only, and it is {scale:g}"
    if infinite := predictors_of("infinite", experiment.regression.predictors):
        yield "regression.predictors", f"the infinite-width limit ({', '.join(infinite)}) {reason}: remove it"
    if experiment.training.target_scale == "initial_output":
        yield "training.target_scale", f"the size of f₀ {reason}: use unit"
    if rate.relative is not None and rate.of == "infinite_ntk":
        yield "training.learning_rate.of", f"the infinite NTK {reason}: use of: network"
    for section in ("dispersion", "output_variance"):
        if getattr(experiment, section) is not None:
            yield section, f"what it compares with {reason}: remove it"


def _data(experiment: ExperimentSettings, size: DatasetSize) -> Iterator[tuple[str, str]]:
    largest = max(experiment.grid.n_train)
    if largest > size.n_pool:
        yield (
            "grid.n_train",
            f"{largest} is larger than the training pool of {size.n_pool}, which validation and test leave of "
            f"{size.n_samples} samples; lower n_train, dataset.n_validation or, unless the data bring a test set of "
            "their own, dataset.n_test",
        )
    else:
        try:
            shares(size, experiment.dataset, draws=experiment.grid.draws, n_train=training_samples(experiment))
        except DataError as error:
            yield "dataset.draw_samples", str(error)
    if math.prod(size.input_shape) == 1 and experiment.dataset.normalization in ("unit_norm", "center_unit_norm"):
        yield (
            "dataset.normalization",
            f"{experiment.dataset.normalization} leaves nothing of a single feature but its sign: use standardize or "
            "none",
        )
    yield from _probes(experiment, size)
    if size.task == "regression":
        if experiment.training.loss == "cross_entropy":
            yield (
                "training.loss",
                "cross_entropy needs classes, and these data are a regression task: use mse",
            )
        if experiment.scaling.metric == "error":
            yield (
                "scaling.metric",
                "`error` counts wrong classes, and these data are a regression task: use mse",
            )
    elif experiment.training.loss == "cross_entropy" and size.task == "binary":
        yield "training.loss", "cross_entropy needs one output a class: use dataset.task: classes"


def _probes(experiment: ExperimentSettings, size: DatasetSize) -> Iterator[tuple[str, str]]:
    """Every network of the grid is observed on the same samples: each training set has them, or the test set."""
    checkpoints, key = experiment.training.checkpoints, "training.checkpoints.n_probe"
    n_probe, smallest = checkpoints.probe_count(experiment.grid.n_train), min(experiment.grid.n_train)
    if "train" in checkpoints.probed_parts and n_probe > smallest:
        yield (
            key,
            f"{n_probe} probe samples of the training set, but the smallest n_train is {smallest}: lower it to "
            f"{smallest}, or leave it out (40, or the smallest n_train)",
        )
    if n_probe > size.n_test and ("test" in checkpoints.probed_parts or experiment.output_variance is not None):
        yield key, f"{n_probe} probe samples, but only {size.n_test} test samples: lower it"
