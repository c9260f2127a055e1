"""Settings of the dispersion of the kernel at initialization: how random is the NTK of an untrained network?"""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from ntk_atlas.config.base import Scale, Seed, Settings, Width

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
