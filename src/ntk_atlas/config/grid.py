"""Settings of the grid: the axes that every cube has."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from ntk_atlas.config.base import Count, Settings, Width

Depth = Annotated[int, Field(ge=0, le=10_000)]
InitScale = Annotated[float, Field(ge=1e-30, le=1e30)]
Repetitions = Annotated[int, Field(ge=1, le=1_000_000)]
_MOST_CELLS = 100_000
_LEAST_RATIO = 1 + 1e-9
"""Of two neighbouring init scales; closer ones differ by rounding."""


class GridSettings(Settings):
    """The values of each axis; their product is the set of cells. Order and repetition do not matter."""

    depth: Annotated[tuple[Depth, ...], Field(min_length=1)]
    """Hidden layers; 0 is a linear model."""
    width: Annotated[tuple[Width, ...], Field(min_length=1)]
    """Units of each hidden layer."""
    init_scale: Annotated[tuple[InitScale, ...], Field(min_length=1)]
    """σ_w²: weight variance times fan-in; 2 is critical for ReLU."""
    n_train: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Training samples; the samples of a smaller number are the first of the larger."""
    draws: Repetitions = 4
    """Draws of the data; the repetitions that intervals rest on, disjoint where there are enough samples
    (`dataset.draw_samples`)."""
    seeds: Repetitions = 4
    """Networks of each cell and draw."""

    @field_validator("depth", "width", "init_scale", "n_train")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))

    @field_validator("init_scale")
    @classmethod
    def _apart(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for low, high in pairwise(values):
            if high < low * _LEAST_RATIO:
                raise ValueError(f"{low!r} and {high!r} are one value but for rounding: remove one")
        return values

    @model_validator(mode="after")
    def _countable(self) -> "GridSettings":
        cells = len(self.depth) * len(self.width) * len(self.init_scale) * len(self.n_train)
        if cells > _MOST_CELLS:
            raise ValueError(f"{cells:,} cells (depth × width × init_scale × n_train): give at most {_MOST_CELLS:,}")
        return self
