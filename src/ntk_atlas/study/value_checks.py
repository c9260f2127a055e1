"""What an experiment asks of its parameterization and its optimizer that these cannot give, before any work.

A value of the user's is asked where the user's code is tried (`stages.trial`), for a run is planned without it.
"""

from collections.abc import Iterator

from ntk_atlas.config.predictors import predictors_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.kernels.infinite.variants import variant_network
from ntk_atlas.optimizers import optimizer
from ntk_atlas.parameterizations import parameterization
from ntk_atlas.registry import is_own


def value_problems(experiment: ExperimentSettings, *, own: bool) -> Iterator[tuple[str, str]]:
    """What the parameterization and the optimizer lack: (key, message) of each problem.

    Args:
        experiment: the settings.
        own: ask values of the user's, else those that are built in.
    """
    if experiment.network.factory is None and is_own(experiment.network.parameterization) == own:
        yield from _without_limit(experiment)
    if is_own(experiment.training.optimizer) == own:
        yield from _of_the_optimizer(experiment)


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
        yield "regression.predictors", f"there are no kernels of infinite width ({', '.join(infinite)}): {reason}"
    if training.target_scale == "initial_output":
        yield "training.target_scale", f"f₀ has no size at infinite width: {reason}; use unit"
    if training.learning_rate.relative is not None and training.learning_rate.of == "infinite_ntk":
        yield "training.learning_rate.of", f"there is no infinite_ntk: {reason}; use of: network"
    for section in ("dispersion", "output_variance"):
        if getattr(experiment, section) is not None:
            yield section, f"its theory is that of networks with a kernel of infinite width: {reason}; remove it"


def _of_the_optimizer(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    training = experiment.training
    chosen = optimizer(training.optimizer)
    if training.learning_rate.relative is not None and (reason := chosen.without_relative_rate()):
        yield "training.learning_rate", reason
    if chosen.linearization() is not None:
        return
    lacks = f"{training.optimizer} does not have: use sgd or momentum"
    if "linearized" in experiment.regression.predictors:
        yield (
            "training.optimizer",
            f"the predictor `linearized` is solved in closed form, which {lacks}, or remove it from predictors",
        )
    if experiment.output_variance is not None:
        yield "training.optimizer", f"output_variance compares training with its linearization, which {lacks}"
