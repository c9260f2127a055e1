"""Checks of the kernels that need trained networks' weights: those of all checkpoints, those trained on m samples."""

from collections.abc import Iterator

from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.config.study import ExperimentSettings


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
