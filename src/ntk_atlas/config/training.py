"""Settings of the training and of what is kept of it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from ntk_atlas.config.base import Count, CountOrZero, Scale, Seed, Settings
from ntk_atlas.optimizers import OPTIMIZERS, optimizer
from ntk_atlas.registry import Named, is_own

Selection = Literal["final", "best_validation"]
_MOST_CHECKPOINTS = 100_000
_DEFAULT_PROBES = 40


class LearningRateSettings(Settings):
    """Either a number, or a share of the stability limit of gradient descent."""

    relative: Scale | Annotated[tuple[Scale, ...], Field(min_length=1)] | None = None
    """η₀: the learning rate is η₀ · 2n/λ_max(Θ₀); below 1 is stable. With several, each network is trained with each
    of them, and the training that ends with the lowest training error is the one that counts."""
    of: Literal["network", "infinite_ntk"] = "network"
    """Whose Θ₀: each network's own initial NTK, or the infinite-width NTK, which gives all networks of a cell one
    rate, as theory about their spread has it."""
    absolute: Scale | None = None
    """The learning rate itself (divided by output_scale²)."""

    @model_validator(mode="before")
    @classmethod
    def _of_which_kind(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(
                f"is a number, {value:g}: write {{absolute: {value:g}}}, or {{relative: {value:g}}} for a share of the "
                "stability limit"
            )
        return value

    @field_validator("relative")
    @classmethod
    def _several(cls, value: float | tuple[float, ...] | None) -> float | tuple[float, ...] | None:
        if isinstance(value, tuple):
            value = tuple(sorted(set(value)))
            return value[0] if len(value) == 1 else value
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> "LearningRateSettings":
        if (self.relative is None) == (self.absolute is None):
            raise ValueError("give exactly one of `relative` and `absolute`")
        return self


class CheckpointSettings(Settings):
    """Which epochs are checkpointed and what a checkpoint holds."""

    epochs: Literal["every", "log"] | Annotated[tuple[CountOrZero, ...], Field(min_length=1)] = "log"
    """`every` epoch, `log`-spaced epochs, or a list. 0 (initialization) and the last are always among them."""
    n_log: Annotated[int, Field(ge=2, le=10_000)] = 10
    """How many log-spaced epochs (0 apart)."""
    probe: Literal["train", "test", "both"] = "train"
    """Whose kernel is kept at every checkpoint: that of the first samples of the training set (the same at every
    n_train; theory and its experiments are about them), that of the first test samples, or `both`, and then measures
    on test samples stand beside the others in the cube."""
    n_probe: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Probe samples of each of these sets, sorted by class; by default 40, or as many as the smallest training set
    has. Outputs are kept too, of as many test samples."""
    weights: Literal["scheduled", "ends"] = "ends"
    """Keep the weights of every `scheduled` epoch, or of the first and the last only."""

    @property
    def probed_parts(self) -> tuple[Literal["train", "test"], ...]:
        """Parts of the data whose kernel is kept, in the order of the probe samples."""
        return ("train", "test") if self.probe == "both" else (self.probe,)

    def probe_count(self, n_train: Sequence[int]) -> int:
        """Probe samples of each part on a grid with these sizes of the training set."""
        if self.n_probe is not None:
            return self.n_probe
        return _DEFAULT_PROBES if self.probe == "test" else min(_DEFAULT_PROBES, *n_train)

    @field_validator("epochs")
    @classmethod
    def _ascending(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        return tuple(sorted({0, *value})) if isinstance(value, tuple) else value


class TrainingSettings(Settings):
    """How networks are trained."""

    loss: Literal["mse", "cross_entropy"] = "mse"
    """`mse` is 1/(2n) Σ‖f(x_i) − y_i‖², summed over outputs; kernels cannot predict under `cross_entropy`."""
    optimizer: Annotated[str, Named(OPTIMIZERS)] = "momentum"
    """`sgd` is gradient descent, with `batch_size: full` that of the theory; `momentum` is heavy ball; or your own,
    `my_file.py:name`."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Heavy ball's β."""
    learning_rate: LearningRateSettings = LearningRateSettings(relative=0.5)
    """`{relative: η₀}` of the stability limit, or `{absolute: η}`; optimizers without such a limit (`adam`) need the
    latter."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on: `cosine` brings it to 0 over the steps of the budget, ½(1 + cos πs/S) of its value
    at step s of S, so that the noise of minibatches does not keep a network from fitting its training set."""
    batch_size: Literal["full"] | Count = "full"
    """Samples a step."""
    max_epochs: Count = 300
    """Epoch budget; with a full batch, an epoch is a step."""
    min_steps: CountOrZero = 0
    """Small n_train get more epochs until they have this many steps."""
    stop_loss: PositiveFloat | None = None
    """A network whose training MSE is at or below this at the end of an epoch stops there."""
    target_mse: PositiveFloat = 1e-2
    """The training MSE a network should reach (under cross-entropy: no training sample wrong); those that do not
    are flagged and their share is reported."""
    divergence_factor: Annotated[float, Field(gt=1.0)] = 1e4
    """A network diverged when its loss is not finite or this many times its first one."""
    initial_output: Literal["keep", "subtract"] = "keep"
    """`subtract`: the network's initial output is subtracted from it, as theory about f − f₀ has it."""
    target_scale: Literal["unit", "initial_output"] = "unit"
    """`initial_output`: targets are multiplied by √K(x,x), the size of f₀ at infinite width."""
    selection: Selection = "final"
    """Which checkpoint is the predictor `network`: the last, or the best on the validation samples."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of the training."""
    seed: Seed = 0
    """Seed of all networks of this experiment."""
    seeds_per_unit: Annotated[int, Field(ge=1, le=100_000)] = 4
    """How many seeds are trained as one stacked ensemble."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of a training job; fixed here, so that numbers do not depend on `--cores`."""
    max_seconds: PositiveFloat | None = None
    """Seconds that one unit of training (a cell in one draw, a block of seeds) may take, those of killed runs included;
    one that takes longer is `timed_out` in the cube and keeps its state, so that a higher limit lets it go on. None by
    default."""
    checkpoints: CheckpointSettings = CheckpointSettings()
    """When kernel and weights are checkpointed."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingSettings":
        relative = self.learning_rate.relative is not None
        # A user's file is not run here: `study.consistency`.
        if relative and not is_own(self.optimizer) and (reason := optimizer(self.optimizer).without_relative_rate()):
            raise ValueError(reason)
        longest = max(self.max_epochs, self.min_steps)
        if self.checkpoints.epochs == "every" and longest > _MOST_CHECKPOINTS:
            raise ValueError(
                f"checkpoints.epochs: every makes up to {longest:,} checkpoints, and there may be "
                f"{_MOST_CHECKPOINTS:,}: set it to log or to a list, or lower max_epochs and min_steps"
            )
        if isinstance(self.checkpoints.epochs, tuple):
            beyond = [epoch for epoch in self.checkpoints.epochs if epoch > self.max_epochs]
            if beyond:
                raise ValueError(
                    f"checkpoints.epochs has {', '.join(map(str, beyond))} beyond the end of training: "
                    f"remove them or raise max_epochs ({self.max_epochs})"
                )
        return self
