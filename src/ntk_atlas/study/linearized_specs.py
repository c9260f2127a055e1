"""What the jobs of linearized networks depend on, and the settings under which there are any."""

from collections.abc import Iterator

from ntk_atlas.arrays import unit_digest
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.study.cells import Row, Unit, units
from ntk_atlas.study.jobs import predictors, train_spec
from ntk_atlas.study.specs import TrainSpec


class LinearizeSpec(TrainSpec):
    """Spec of `linearize_networks`: one row of trained networks, linearized where they started."""

    on_test: bool = False
    """Whether they predict the validation and test samples too, as the predictor `linearized`; the output variance
    needs the probe samples only."""

    def linearized_digests(self, trained: dict[Unit, str], source: str) -> dict[Unit, str]:
        """The digest of each unit; that of the `trained` network says all else that it depends on."""
        return {
            unit: unit_digest("linearized", trained[unit], self.on_test, source)
            for unit in units(self.n_train, self.draws)
        }


def linearize_spec(experiment: ExperimentSettings, row: Row) -> LinearizeSpec:
    """Spec of `linearize_networks`."""
    on_test = bool(predictors(experiment, "linearized"))
    return LinearizeSpec.model_validate(train_spec(experiment, row).model_dump() | {"on_test": on_test})


def linearized_problems(experiment: ExperimentSettings) -> Iterator[tuple[str, str]]:
    """What the predictor `linearized` lacks beside a closed form (`value_checks`): (key, message) of each problem."""
    if not predictors(experiment, "linearized"):
        return
    if experiment.training.stop_loss is not None:
        yield (
            "training.stop_loss",
            "the predictor `linearized` is compared at equal steps, and a network that stopped has left it: remove "
            "stop_loss, or `linearized` from predictors",
        )
