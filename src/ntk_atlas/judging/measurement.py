"""What measuring a claim gives: comparisons, the variables they came from, and what else to say."""

from collections.abc import Sequence
from dataclasses import dataclass

from ntk_atlas.judging.decision import Comparison


@dataclass(frozen=True)
class Measurement:
    """Everything that a claim says to hold, or of which it says that something does, in the cells of one experiment.

    Attributes:
        comparisons: estimates with their regions.
        variables: variables of the files that they were computed from.
        remark: what else the reader should know.
        any_of: whether the claim holds if one of the comparisons does; else all of them must.
    """

    comparisons: Sequence[Comparison]
    variables: Sequence[str]
    remark: str = ""
    any_of: bool = False


def remarks(*parts: str) -> str:
    """The parts that say something, joined."""
    return "; ".join(part for part in parts if part)
