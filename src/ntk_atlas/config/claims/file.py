"""A file of thresholds: the claims of all studies, and the seeds that chose them."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from ntk_atlas.config.base import Settings
from ntk_atlas.config.claims.equivalence import EquivalenceThresholds
from ntk_atlas.config.claims.finite_width import FiniteWidthThresholds
from ntk_atlas.config.claims.scaling_laws import ScalingLawThresholds
from ntk_atlas.config.claims.threshold import ClaimSettings, Sentence, claim_name


class ClaimThresholds(EquivalenceThresholds, ScalingLawThresholds, FiniteWidthThresholds):
    """Thresholds by claim; a claim that is not here is not judged."""

    def by_name(self) -> dict[str, ClaimSettings]:
        """The claims that have thresholds, by name."""
        given = {claim_name(field): getattr(self, field) for field in type(self).model_fields}
        return {name: settings for name, settings in given.items() if settings is not None}


class ChosenWithSettings(Settings):
    """On which networks the thresholds were chosen; they judge others."""

    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """Values of `training.seed` and `dispersion.seed`; experiments with one of them are refused."""
    note: Sentence
    """What was looked at."""


class Thresholds(Settings):
    """A file of thresholds: `config/claims/<study>.yaml`."""

    chosen_with: ChosenWithSettings
    """How the thresholds came about."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage of the two-sided intervals that verdicts rest on."""
    least_replicates: Annotated[int, Field(ge=2)] = 5
    """Replicates (draws; networks if there is one draw) below which a claim about trained networks stays open."""
    claims: ClaimThresholds
    """The claims."""

    def digest(self) -> str:
        """16 hexadecimal digits over everything in the file but its formatting and comments."""
        import hashlib

        text = self.model_dump_json(by_alias=True, exclude_none=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
