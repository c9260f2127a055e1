"""What the claims of all studies share: thresholds with their reasons, and names."""

from typing import Annotated

from pydantic import ConfigDict, Field

from ntk_atlas.config.base import Settings

Sentence = Annotated[str, Field(min_length=10)]


class Threshold(Settings):
    """One number that a verdict turns on, and why it is that number."""

    value: float
    """The number."""
    reason: Sentence
    """Why this one."""


class ClaimSettings(Settings):
    """What every claim has; the thresholds are added by each."""

    statistic: Sentence
    """What is measured, in words; it stands beside the verdict."""


def claim_name(field: str) -> str:
    """Name of a claim as it is written: `a1` → `A1`, `a_prime_1` → `A'1`, `b1_infinite` → `B1∞`."""
    return field.upper().replace("_PRIME_", "'").replace("_INFINITE", "∞")


class StudyThresholds(Settings):
    """The claims of one study: a field a claim, None where it is not judged."""

    model_config = ConfigDict(alias_generator=claim_name)
