"""Worlds whose truth is known, to count how often the judge's words are wrong in them.

A world makes one study of planted numbers from a generator and has the project's own judge say a word on it. Its i-th
study has a random stream of its own, named by claim, world and i, so that 400 studies are the first of 2,000.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import beta, binom

from ntk_atlas.config import Thresholds, claim_head
from ntk_atlas.judging import Comparison, Decision, Evidence, Word, decide, decide_any, judge
from ntk_atlas.statistics import Estimate
from ntk_atlas.streams import numpy_stream
from ntk_atlas.study import load_thresholds

REPOSITORY = Path(__file__).parents[2]
WORDS: tuple[Word, ...] = ("supported", "not supported", "inconclusive")
DEFINITE = WORDS[:2]
WRONG_BAR, SKEWED_BAR, POWER_BAR = 0.05, 0.07, 0.8
N_FIRST = 20
"""Studies of a row that are judged again when code has changed; the row is kept if the judge says the same words."""
THRESHOLD = ()
"""`right` of a world whose truth lies at the threshold: neither definite word is right there."""


@dataclass(frozen=True)
class World:
    """One row of the table.

    Attributes:
        claim: the claim that is judged.
        name: what is true there, in words; unique within the claim.
        word: the judge's word on one study, from its generator.
        right: the definite words that are right; *inconclusive* is never wrong.
        powerful: the right word must come in four of five studies.
        skewed: noise is skewed, where t intervals cannot hold their level to the digit.
        share: share of the studies asked for that this row takes, for rows whose studies are slow.
        beyond: why no bar is promised in this world, which is published all the same; empty if one is.
    """

    claim: str
    name: str
    word: Callable[[np.random.Generator], str]
    right: tuple[Word, ...]
    powerful: bool = False
    skewed: bool = False
    share: float = 1.0
    beyond: str = ""

    @property
    def wrong(self) -> tuple[Word, ...]:
        """The definite words that are wrong here."""
        return tuple(word for word in DEFINITE if word not in self.right)

    @property
    def bar(self) -> float:
        """Largest rate of wrong words."""
        return SKEWED_BAR if self.skewed else WRONG_BAR

    def said(self, studies: range) -> list[str]:
        """The judge's word on each of these studies.

        Raises:
            ValueError: if it says a word that no world asks for: the world is not what the claim is about.
        """
        words = [self.word(numpy_stream("world", self.claim, self.name, i)) for i in studies]
        if set(words) - set(WORDS):
            raise ValueError(f"{self.claim}, {self.name}: the judge says {set(words) - set(WORDS)}")
        return words

    def count(self, n_studies: int) -> "Counts":
        """What the judge says in the first `share` × `n_studies` studies of this world.

        Raises:
            ValueError: as `said`.
        """
        words = self.said(range(max(1, round(self.share * n_studies))))
        first = "".join(word[0] for word in words[:N_FIRST])
        return Counts(len(words), *(words.count(word) for word in WORDS), first)


@dataclass(frozen=True)
class Counts:
    """How often each word was said in how many studies, and the initials of the words on the first of them."""

    studies: int
    supported: int
    not_supported: int
    inconclusive: int
    first: str = ""

    def of(self, words: Sequence[Word]) -> int:
        """How often one of these words was said."""
        return sum(getattr(self, word.replace(" ", "_")) for word in words)


def interval(count: int, studies: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a rate."""
    tail = 0.5 * (1.0 - confidence)
    low = beta.ppf(tail, count, studies - count + 1) if count else 0.0
    high = beta.ppf(1.0 - tail, count + 1, studies - count) if count < studies else 1.0
    return float(low), float(high)


def broken_bars(world: World, counts: Counts, level: float) -> list[str]:
    """The bars that the counts exclude, each by a one-sided binomial test at `level`, as sentences."""
    n, wrong, broken = counts.studies, counts.of(world.wrong), []
    if world.beyond:
        return []
    if world.wrong and binom.sf(wrong - 1, n, world.bar) < level:
        broken.append(
            f"{world.claim}, {world.name}: {' or '.join(world.wrong)} in {wrong} of {n}, {world.bar:.0%} allowed"
        )
    right = counts.of(world.right)
    if world.powerful and binom.cdf(right, n, POWER_BAR) < level:
        broken.append(
            f"{world.claim}, {world.name}: {' or '.join(world.right)} in {right} of {n}, {POWER_BAR:.0%} asked"
        )
    return broken


@cache
def thresholds_of(study: str) -> Thresholds:
    """The thresholds of a shipped file: `finite_width`, `scaling_laws`, `equivalence` or `laziness`."""
    return load_thresholds(REPOSITORY / "config" / "claims" / f"{study}.yaml")


def judged(claim: str, study: str, evidence: Evidence) -> str:
    """The judge's word on planted evidence, by the shipped thresholds.

    Raises:
        ValueError: if the claim cannot be judged on it, with the judge's reason.
    """
    thresholds = thresholds_of(study)
    verdict = judge(claim_head(claim), evidence, thresholds.claims.by_name()[claim], thresholds)
    if verdict.verdict not in WORDS:
        raise ValueError(f"{claim} is {verdict.verdict} on planted evidence: {verdict.reason}")
    return verdict.verdict


def decided(estimates: Sequence[Estimate], region, *, any_of: bool = False) -> str:
    """The word on planted estimates that a claim says to lie in one region, all of them or one at least."""
    named = [Comparison(f"number {i}", estimate, region, trained=True) for i, estimate in enumerate(estimates)]
    found: Decision = (decide_any if any_of else decide)(named, confidence=0.95, least_replicates=5)
    return found.word
