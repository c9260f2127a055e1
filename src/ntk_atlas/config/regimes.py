"""Thresholds of the regimes: where a cell counts as described by NTK theory, each number with its reason."""

import hashlib
from typing import Annotated, Self

from pydantic import Field, model_validator

from ntk_atlas.config.base import Settings
from ntk_atlas.config.claims import Threshold


class RegimeThresholds(Settings):
    """A file of thresholds of regimes: `config/regimes.yaml`."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage of the two-sided intervals that regimes rest on."""
    distance: Threshold
    """τ: distance of a network from a predictor, in units of the predictor's own error, below which theory holds."""
    error_ratio: Threshold
    """ρ: ratio of two mean squared errors, either way, up to which they are no different."""
    most_diverged: Threshold
    """Share of diverged networks above which a cell is *diverged*."""
    most_unfinished: Threshold
    """Share of networks above the stated training error above which a cell was not trained to the end."""
    uneven: Threshold
    """p value of the test of equal spreads below which each cell is judged by its own spread, not the pooled one."""

    def digest(self) -> str:
        """16 hexadecimal digits over everything in the file but its formatting and comments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if self.distance.value <= 0.0:
            raise ValueError(f"distance: {self.distance.value:g} is no distance: give a number above 0")
        if self.error_ratio.value < 1.0:
            raise ValueError(
                f"error_ratio: {self.error_ratio.value:g} leaves no ratio that is no different: give 1 or more; it is "
                "taken either way, 1/ρ … ρ"
            )
        for name in ("most_diverged", "most_unfinished", "uneven"):
            if not 0.0 <= getattr(self, name).value <= 1.0:
                raise ValueError(f"{name}: {getattr(self, name).value:g} is no share: give a number from 0 to 1")
        return self
