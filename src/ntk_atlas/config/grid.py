"""Settings of the grid: the axes that every cube has."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from ntk_atlas.config.base import Settings


class GridSettings(Settings):
    """The values of each axis; their product is the set of cells. Order and repetition do not matter."""

    depth: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """Hidden layers; 0 is a linear model."""
    width: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Units of each hidden layer."""
    init_scale: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    """σ_w²: weight variance times fan-in; 2 is critical for ReLU."""
    n_train: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Training samples; the samples of a smaller number are the first of the larger."""
    draws: PositiveInt = 4
    """Permutations of the data; the independent repetitions that intervals rest on."""
    seeds: PositiveInt = 4
    """Networks of each cell and draw."""

    @field_validator("depth", "width", "init_scale", "n_train")
    @classmethod
    def _ascending(cls, values: tuple) -> tuple:
        return tuple(sorted(set(values)))
