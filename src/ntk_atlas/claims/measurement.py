"""What measuring a claim gives: comparisons, the variables they came from, and what else to say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ntk_atlas.claims.decide import Comparison
from ntk_atlas.claims.evidence import Evidence
from ntk_atlas.config.claims.threshold import ClaimSettings


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


@dataclass(frozen=True)
class Claim:
    """A claim that single experiments can support.

    Attributes:
        name: `A1`, …
        statement: the claim in one sentence of our own.
        measure: from evidence and thresholds to comparisons; raises `NotJudgedError` where there is nothing to compare.
        source: where the statement stands: the paper's abstract or introduction, its released code, a paper that cites
            it, a third party's summary; or that it is our reading.
    """

    name: str
    statement: str
    measure: Callable[[Evidence, ClaimSettings], Measurement]
    source: str


def remarks(*parts: str) -> str:
    """The parts that say something, joined."""
    return "; ".join(part for part in parts if part)
