"""What an experiment asks of its parameterization and its optimizer that these cannot give, before any work.

A value of the user's is asked where the user's code is tried (`study.trial`), for a run is planned without it.
"""

from collections.abc import Iterator

from ntk_atlas.config.predictors import predictors_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.kernels.infinite.variants import variant_network
from ntk_atlas.optimizers import optimizer
from ntk_atlas.parameterizations import parameterization
from ntk_atlas.registry import is_own
from ntk_atlas.training.schedule import without_closed_form


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
    """What keeps the training from its linearization, where that is asked for; `own`: of the user's optimizer alone."""
    training = experiment.training
    asks = is_own(training.optimizer) == own
    found = list(without_closed_form(training, optimizer(training.optimizer) if asks else None))
    asked = []
    if "linearized" in experiment.regression.predictors:
        asked.append(("the predictor `linearized` is solved in closed form", "it from predictors"))
    if experiment.output_variance is not None:
        asked.append(("output_variance compares training with its linearization in closed form", "output_variance"))
    for reason, instead in asked:
        for key, lack in found:
            if key == "optimizer" or not own:
                yield f"training.{key}", f"{reason}, {lack}, or remove {instead}"
