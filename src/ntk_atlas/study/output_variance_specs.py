"""What the jobs of the output variance depend on, and the checks of the settings that it needs."""

from collections.abc import Iterator

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.training import CheckpointSettings, TrainingSettings
from ntk_atlas.kernels.infinite.variants import depends_on_the_width
from ntk_atlas.study.specs import DataSpec
from ntk_atlas.study.user_files import user_file_digest

_MIN_SEEDS = 8
_OF_THE_THEORY = ("optimizer", "momentum", "learning_rate", "max_epochs", "min_steps", "target_scale")


class VarianceTheorySpec(DataSpec):
    """Spec of `predict_output_variance`: all depths (and widths, where kernels depend on them), one init_scale."""

    network: NetworkSettings
    activation_digest: str = ""
    """Digest of the files of the user's activation, parameterization and optimizer; empty for built-in ones."""
    init_scale: float
    depth: tuple[int, ...]
    width: tuple[int, ...]
    training: TrainingSettings
    """Optimizer, learning rate, epochs and targets; all else has its default."""
    n_probe: int
    """Test samples at which the outputs are predicted."""


def output_variance_spec(experiment: ExperimentSettings) -> ExperimentSettings:
    """Spec of `assemble_output_variance`: the settings without what other files are made of."""
    return experiment.model_copy(update={"show": None, "dispersion": None, "kernel_variants": None})


def variance_theory_spec(experiment: ExperimentSettings, init_scale: float) -> VarianceTheorySpec:
    """Spec of `predict_output_variance`; widths are those of the kernels that grow with them."""
    grid, training = experiment.grid, experiment.training
    checkpoints = CheckpointSettings(**training.checkpoints.model_dump(include={"epochs", "n_log"}))
    return VarianceTheorySpec(
        dataset=experiment.dataset,
        n_train=grid.n_train,
        draws=grid.draws,
        network=experiment.network,
        activation_digest=user_file_digest(experiment.network, training),
        init_scale=init_scale,
        depth=grid.depth,
        width=grid.width if depends_on_the_width("infinite_ntk", experiment.network) else (),
        training=TrainingSettings(
            **{name: getattr(training, name) for name in _OF_THE_THEORY}, checkpoints=checkpoints
        ),
        n_probe=training.checkpoints.probe_count(grid.n_train),
    )


def learning_rate_problems(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What a learning rate of the infinite NTK needs: (key, message) of each problem."""
    rate = experiment.training.learning_rate
    if rate.of == "infinite_ntk" and rate.relative is not None and experiment.network.factory is not None:
        yield (
            "training.learning_rate.of",
            "infinite_ntk needs a built-in network: the infinite-width NTK of a network of your own is not known; use "
            "of: network",
        )


def output_variance_problems(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What a comparison of variances lacks beside a closed form (`value_checks`): (key, message) of each problem.

    Theory and linearization are about training at one learning rate for all networks, to the end, with f₀ left in.
    """
    if experiment.output_variance is None:
        return
    training, rate = experiment.training, experiment.training.learning_rate
    if experiment.network.factory is not None:
        yield "output_variance", "theory at infinite width needs a built-in network: remove output_variance"
    if training.initial_output == "subtract":
        yield (
            "training.initial_output",
            "without f₀ the variance that theory predicts is 0 at all times: use keep, or remove output_variance",
        )
    if training.stop_loss is not None:
        yield (
            "training.stop_loss",
            "output_variance compares training with its linearization at equal times, and a network that stopped has "
            "left it: remove it",
        )
    if rate.relative is not None and (rate.of != "infinite_ntk" or isinstance(rate.relative, tuple)):
        yield (
            "training.learning_rate",
            "output_variance needs one learning rate for all networks of a cell: give {relative: η₀, of: infinite_ntk} "
            "with a single η₀, or {absolute: η}",
        )
    if experiment.grid.seeds < _MIN_SEEDS:
        yield (
            "grid.seeds",
            f"a variance over {experiment.grid.seeds} networks says nothing: give at least {_MIN_SEEDS} (50 for an "
            "interval of ± 40 %), or remove output_variance",
        )
