"""The jobs of an experiment: which there are, and the spec of each."""

from pathlib import Path

from ntk_atlas.config.predictors import EPOCHS, PredictorKind, predictors_of, user_kernels
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.kernels.infinite.variants import depends_on_the_width
from ntk_atlas.study.cells import Row
from ntk_atlas.study.prediction_specs import EmpiricalSpec, InfiniteSpec, RivalSpec
from ntk_atlas.study.specs import TrainSpec
from ntk_atlas.study.user_files import code_file_digest, user_file_digest


def predictors(experiment: ExperimentSettings, kind: PredictorKind) -> tuple[str, ...]:
    """The configured predictors of one kind, whatever their order."""
    return predictors_of(kind, experiment.regression.predictors)


def train_spec(experiment: ExperimentSettings, row: Row) -> TrainSpec:
    """Spec of `train_networks`."""
    training = experiment.training
    return TrainSpec(**_networks(experiment, row), training=training, optimizer_digest=user_file_digest(None, training))


def empirical_spec(experiment: ExperimentSettings, row: Row) -> EmpiricalSpec:
    """Spec of `regress_empirical`."""
    regression, training = experiment.regression, experiment.training
    around = {}
    if regression.predictor_center != "zero":
        around = {"initial_output": training.initial_output, "target_scale": training.target_scale}
    return EmpiricalSpec(
        **_networks(experiment, row),
        **around,
        predictors=predictors(experiment, "empirical"),
        predictor_center=regression.predictor_center,
        epoch_sizes=regression.epoch_sizes(experiment.grid.n_train) if EPOCHS in regression.predictors else (),
        kernel_dtype=regression.kernel_dtype,
        solve=regression.solve(experiment.grid.n_train),
    )


def infinite_spec(experiment: ExperimentSettings, init_scale: float) -> InfiniteSpec:
    """Spec of `regress_infinite`, with the widths if one of its kernels depends on them."""
    names = predictors(experiment, "infinite")
    depends_on_width = any(depends_on_the_width(name, experiment.network) for name in names)
    return InfiniteSpec(
        **_data(experiment),
        network=experiment.network,
        activation_digest=user_file_digest(experiment.network),
        predictors=names,
        init_scale=init_scale,
        depth=experiment.grid.depth,
        width=experiment.grid.width if depends_on_width else (),
        solve=experiment.regression.solve(experiment.grid.n_train),
    )


def rival_spec(experiment: ExperimentSettings, kernels: tuple[str, ...]) -> RivalSpec:
    """Spec of `regress_rivals`."""
    own = user_kernels(experiment.regression.predictors)
    return RivalSpec(
        **_data(experiment),
        kernels=kernels,
        user_kernels={name: own[name] for name in kernels if name in own},
        kernel_digests={name: code_file_digest(Path(own[name].rpartition(":")[0])) for name in kernels if name in own},
        solve=experiment.regression.rivals(experiment.grid.n_train),
    )


def rival_groups(experiment: ExperimentSettings, per_job: int) -> tuple[str, ...]:
    """Names of the jobs of rivals, each the kernels it regresses with, joined by `+`."""
    names = predictors(experiment, "rival")
    return tuple("+".join(names[start : start + per_job]) for start in range(0, len(names), per_job))


def _data(experiment: ExperimentSettings) -> dict:
    return {
        "dataset": experiment.dataset,
        "n_train": experiment.grid.n_train,
        "draws": experiment.grid.draws,
    }


def _networks(experiment: ExperimentSettings, row: Row) -> dict:
    return _data(experiment) | {
        "network": experiment.network,
        "factory_digest": user_file_digest(experiment.network),
        "network_seed": experiment.training.seed,
        "dtype": experiment.training.dtype,
        "depth": row.depth,
        "width": row.width,
        "init_scale": row.init_scale,
        "seeds": experiment.grid.seeds,
        "seeds_per_unit": experiment.training.seeds_per_unit,
    }
