"""Sections of what is measured and fitted besides: untrained networks, variance of outputs, scaling laws, movement."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ntk_atlas.config.base import CountOrZero, Scale, Seed, Settings, Width

Correlation = Annotated[float, Field(ge=-1.0, le=1.0)]
_MOST_LAYERS = 20_000


class DispersionSettings(Settings):
    """Thousands of untrained networks a cell; the cell is (depth, width, init_scale), with depths and widths of its
    own and the init scales of the grid. Of the data only their number of features and their norm enter: by the rotation
    invariance of Gaussian weights, the law of the kernel depends on the inputs' norms and correlations only.
    """

    depth: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)]
    """Hidden layers."""
    width: Annotated[tuple[Width, ...], Field(min_length=1)]
    """Units of each hidden layer."""
    n_networks: Annotated[int, Field(ge=100, le=1_000_000_000)] = 2000
    """Untrained networks a cell."""
    correlations: Annotated[tuple[Correlation, ...], Field(min_length=1)] = (1.0, 0.9, 0.5, 0.0)
    """Cosines r of x and x′ at which Θ(x, x′) is taken; 1 is the diagonal and always among them."""
    n_inputs: Width | None = None
    """Input features n₀; by default those of the experiment's data, so that the networks are those that are trained."""
    squared_norm: Scale | None = None
    """Squared norm ‖x‖² of the inputs; by default n₀, which every input has under `unit_norm` and `center_unit_norm`
    and which is the mean over inputs under `standardize`; inputs that are not normalized need a number here. Weights
    outweigh biases in the kernel of ReLU networks if width · ‖x‖² / n₀ is far above 1; then the critical and the
    chaotic phase coincide."""
    n_exact: Annotated[int, Field(ge=1000, le=1_000_000_000)] = 200_000
    """Draws of the exact law (ReLU, one output, biases 0 at initialization), in the same cells."""
    n_bootstrap: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Bootstrap resamples of the networks."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage that the intervals promise."""
    seed: Seed = 0
    """Seed of all untrained networks."""

    @field_validator("depth", "width")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _countable(self) -> "DispersionSettings":
        layers = len(self.width) * sum(self.depth)
        if layers > _MOST_LAYERS:
            raise ValueError(f"{layers:,} layers in all depths and widths: give at most {_MOST_LAYERS:,}")
        return self

    @field_validator("correlations")
    @classmethod
    def _with_the_diagonal(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({1.0, *values}, reverse=True))


class KernelVariantsSettings(Settings):
    """Untrained networks of growing width beside the infinite-width kernel of each variant of the NTK."""

    depth: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)]
    """Hidden layers."""
    width: Annotated[tuple[Width, ...], Field(min_length=2)]
    """Units of each hidden layer, two widths or more: the distance must shrink as they grow."""
    n_networks: Annotated[int, Field(ge=4, le=1_000_000)] = 24
    """Networks a cell."""
    n_samples: Annotated[int, Field(ge=2, le=1_000_000)] = 16
    """Training samples of the first draw whose kernel is compared."""
    seed: Seed = 0
    """Seed of the networks."""

    @field_validator("depth", "width")
    @classmethod
    def _ascending(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(values)))


class OutputVarianceSettings(Settings):
    """Variance of the outputs over seeds on the probe samples at every checkpoint: of trained networks, of the same
    networks linearized at their initialization, and of the theory at infinite width.
    """

    n_bootstrap: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Bootstrap resamples of the seeds."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage that the intervals promise."""


class ScalingSettings(Settings):
    """Which learning curves are fitted, where, and how sure the intervals are."""

    metric: Literal["mse", "error"] = "mse"
    """Test error whose laws the figures show: mean squared error, or share of wrong classes. Both are fitted."""
    ridge: Literal["tuned", "zero"] = "tuned"
    """Which of the two ridges the kernels' learning curves have."""
    n_train_min: CountOrZero = 0
    """The fit range rule, stated beforehand: only n_train from here on are fitted."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage that the intervals promise."""
    floor_exponent_max: Annotated[float, Field(gt=0.0, le=1000.0)] = 5.0
    """Largest exponent tried in the law with an irreducible error; an interval that reaches it is unbounded."""
    floor_width_max: Annotated[float, Field(gt=1.0, le=1e10)] = 10.0
    """High over low end of that exponent's interval beyond which the irreducible error is not identifiable."""


class MovementSettings(Settings):
    """Kernels of different networks are compared at equal epochs, and at equal training error."""

    equal_loss: Scale = 0.1
    """Training MSE, over that of predicting zero, at which movement is measured besides: the first checkpoint at or
    below it. A network that never gets there has none."""
