"""Settings of the comparison of networks with each variant of the NTK."""

from typing import Annotated

from pydantic import Field, field_validator

from ntk_atlas.config.base import Seed, Settings, Width


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
