"""Checks across sections of the config, and of the config against the data, the values and the code that it names.

A value of the user's is asked where the user's code is tried (`study.trial`), for a run is planned without it.
"""

import ast
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ntk_atlas.config.analyses import DispersionSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED, STAND_IN, predictors_of, user_kernels
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.dataset import DataError, DatasetSize
from ntk_atlas.datasets.read import inspect_dataset, shares, training_samples
from ntk_atlas.dispersion.theory import InitialKernelLaw, finite_sum
from ntk_atlas.families import Family
from ntk_atlas.jobs import JOBS
from ntk_atlas.jobs.parts.slice import rows, user_code
from ntk_atlas.kernels.infinite.variants import variant_family, variant_network
from ntk_atlas.optimizers import optimizer
from ntk_atlas.parameterizations import parameterization
from ntk_atlas.registry import is_own
from ntk_atlas.statistics.moments import LARGEST_RELATIVE_ERROR, relative_error_of_ratio
from ntk_atlas.study.config_files import load_regime_thresholds, load_thresholds, seed_conflict
from ntk_atlas.study.problems import ConfigError, Problem, did_you_mean
from ntk_atlas.study.results import figure_problems
from ntk_atlas.training.schedule import scheduled_epochs, without_closed_form


def kernels_over_sizes_problems(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What `ntk_epochs` and `ntk_pretrained_<m>` lack: (key, message) of each problem."""
    regression, sizes = experiment.regression, experiment.grid.n_train
    given = ", ".join(map(str, sizes))
    if EPOCHS in regression.predictors:
        if experiment.training.checkpoints.weights != "scheduled":
            yield "regression.predictors", f"{EPOCHS} needs training.checkpoints.weights: scheduled"
        if not isinstance(regression.epoch_n_train, str):
            others = [str(n) for n in regression.epoch_n_train if n not in sizes]
            if others:
                yield "regression.epoch_n_train", f"{', '.join(others)} is not in grid.n_train: choose of {given}"
    for name in regression.predictors:
        if not name.startswith(PRETRAINED):
            continue
        m = int(name.removeprefix(PRETRAINED))
        if m not in sizes:
            yield "regression.predictors", f"no network is trained on {m} samples for {name}: add {m} to grid.n_train"
        elif m == max(sizes):
            yield (
                "regression.predictors",
                f"{name} has no n_train above {m} to be regressed on: choose a smaller one of {given}",
            )


def user_code_problems(
    network: NetworkSettings, predictors: Iterable[str] = (), optimizer: str | None = None
) -> Iterator[tuple[str, str]]:
    """What is wrong with the user's files, without running them: (key, message) of each problem."""
    for key, name in user_code(network, optimizer).items():
        yield from _problems_of(key, name)
    if network.initial_state is not None and not Path(network.initial_state).is_file():
        where = f"relative to {Path.cwd()} or beside the config"
        yield "network.initial_state", f"there is no file {network.initial_state} ({where}): correct the path"
    for kernel in user_kernels(predictors).values():
        yield from _problems_of("regression.predictors", kernel)


def _problems_of(key: str, spec: str) -> Iterator[tuple[str, str]]:
    name, _, function = spec.rpartition(":")
    file = Path(name)
    if not file.is_file():
        yield key, f"there is no file {file} (relative to {Path.cwd()} or beside the config): correct the path"
        return
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        yield key, f"{file}, line {error.lineno or 1}: {error.msg}"
        return
    except (OSError, ValueError) as error:  # rights; a null byte
        yield key, f"{file} cannot be read as Python code: {error}"
        return
    defined = _defined(tree.body)
    if not {function, "*", "__getattr__"} & defined:
        yield key, f"{file} has no function {function}: define it, or name the one that is there"


def _defined(body: list[ast.stmt]) -> set[str | None]:
    """Names that a module's statements give it, those inside `if`, `try` and `with` too; "*" for names not told."""
    defined: set[str | None] = set()
    for node in body:
        defined.add(getattr(node, "name", None))
        if isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            defined |= {name.id for name in stored}
            for inner in ("body", "orelse", "finalbody", "handlers"):
                parts = getattr(node, inner, [])
                blocks = [part.body for part in parts] if inner == "handlers" else [parts]
                for block in blocks:
                    defined |= _defined(block)
    return defined


def value_problems(experiment: ExperimentSettings, *, own: bool) -> Iterator[tuple[str, str]]:
    """What the parameterization and the optimizer lack: (key, message) of each problem.

    Args:
        experiment: the settings.
        own: ask values of the user's, else those that are built in.
    """
    if is_own(experiment.network.parameterization) == own:
        yield from _without_limit(experiment)
    if is_own(experiment.training.optimizer) == own and experiment.training.learning_rate.relative is not None:
        if reason := optimizer(experiment.training.optimizer).without_relative_rate():
            yield "training.learning_rate", reason
    yield from _closed_form(experiment, own=own)


def _without_limit(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    network, training = experiment.network, experiment.training
    reason = parameterization(network.parameterization).no_infinite_kernel()
    if not reason:
        return
    infinite = [
        name
        for name in predictors_of("infinite", experiment.regression.predictors)
        if variant_network(name, network, 1.0)[0].parameterization == network.parameterization
    ]
    if infinite:
        yield "regression.predictors", f"{', '.join(infinite)}: {reason}; remove them from the predictors"
    if training.target_scale == "initial_output":
        yield "training.target_scale", f"the size of f₀ at infinite width is not known: {reason}; use unit"
    if training.learning_rate.relative is not None and training.learning_rate.of == "infinite_ntk":
        yield "training.learning_rate.of", f"there is no infinite_ntk: {reason}; use of: network"
    for section in ("dispersion", "output_variance"):
        if getattr(experiment, section) is not None:
            yield section, f"its theory is that of networks with a kernel of infinite width: {reason}; remove it"


def _closed_form(experiment: ExperimentSettings, *, own: bool) -> Iterator[tuple[str, str]]:
    """What keeps the training from a closed form, where it takes one; `own`: of the user's optimizer alone."""
    training = experiment.training
    asks = is_own(training.optimizer) == own
    found = list(without_closed_form(training, optimizer(training.optimizer) if asks else None))
    if experiment.output_variance is None:
        return
    for key, lack in found:
        if key == "optimizer" or not own:
            reason = "output_variance compares training with its linearization in closed form"
            yield f"training.{key}", f"{reason}, {lack}, or remove output_variance"


_MOST_NAMED = 3
_HOPELESS = 1e50  # so that its powers are numbers


def dispersion_problems(experiment: ExperimentSettings) -> list[tuple[str, str]]:
    """What the section `dispersion` of an experiment asks that networks cannot give.

    Returns:
        Pairs of a key of the experiment and a message; empty if there is nothing.
    """
    settings, network = experiment.dispersion, experiment.network
    if settings is None:
        return []
    if reason := network.family.without_dispersion():
        return [("dispersion", f"{reason}: remove this section, or use fully connected networks")]
    if settings.squared_norm is None and experiment.dataset.normalization == "none":
        return [
            (
                "dispersion.squared_norm",
                "inputs that are not normalized have norms that only the data tell: give the ‖x‖² that is meant (such "
                "as the mean over the data), or set dataset.normalization",
            )
        ]
    n_inputs, squared_norm = JOBS.head("sample_initial_kernels").narrowed(experiment).values()
    law = partial(InitialKernelLaw, network, n_inputs=n_inputs, squared_norm=squared_norm)
    return [*_plane(settings, n_inputs), *_resolution(settings, law, experiment.grid.init_scale)]


def _plane(settings: DispersionSettings, n_inputs: int) -> Iterator[tuple[str, str]]:
    single = n_inputs == 1
    between = [r for r in settings.correlations if abs(r) < 1.0]
    if single and between:
        yield (
            "dispersion.correlations",
            f"{between[0]:g} is no cosine of inputs with a single feature: give n_inputs of 2 or more (default: the "
            "features of the data), or correlations 1 and −1 only",
        )


def _resolution(
    settings: DispersionSettings, law_of: Callable[..., InitialKernelLaw], init_scales: Sequence[float]
) -> Iterator[tuple[str, str]]:
    """Names the cells whose R, predicted where a theory is known, `n_networks` cannot tell to a factor."""
    found = []
    for depth in settings.depth:
        for width in settings.width:
            law = law_of(depth=depth, width=width)
            ratio, scale = max((min(finite_sum(law, scale), _HOPELESS), scale) for scale in init_scales)
            if relative_error_of_ratio(ratio, settings.n_networks) > LARGEST_RELATIVE_ERROR:
                needed = (ratio**4 - 1.0) / LARGEST_RELATIVE_ERROR**2
                found.append((needed, depth, width, scale, ratio))
    if not found:
        return
    found.sort(reverse=True)
    cells = "; ".join(
        f"depth {depth}, width {width} (λ = {(depth + 1) / width:.2g}, init_scale {scale:g}): R ≈ {ratio:.3g} needs "
        f"{_rounded_up(needed)} networks"
        for needed, depth, width, scale, ratio in found[:_MOST_NAMED]
    )
    more = f"; and {len(found) - _MOST_NAMED} cells more" if len(found) > _MOST_NAMED else ""
    yield (
        "dispersion.n_networks",
        f"{settings.n_networks} networks cannot resolve R = E[Θ²]/E[Θ]², whose estimate has a relative error of "
        f"√((R⁴ − 1)/n): {cells}{more}. Raise n_networks, lower dispersion.depth, or widen dispersion.width",
    )


def _rounded_up(number: float) -> str:
    """Two digits are enough, and never too few networks."""
    step = 10.0 ** max(math.floor(math.log10(number)) - 1, 0)
    count = math.ceil(number / step) * step
    return f"{count:,.0f}" if count < 1e9 else f"{count:.1e}"


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
