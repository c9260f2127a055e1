"""The judge keeps its bars in worlds whose truth is known, and the published table is that of this code."""

import hashlib
from collections import Counter

import pytest
from scipy.stats import binom, hypergeom
from worlds.registry import WORLDS
from worlds.table import PAGE, RESULTS, read_results, with_table
from worlds.world import REPOSITORY, WORDS, Counts, World, broken_bars, interval

STUDIES, PARTS = 400, 8
FALSE_ALARM = 1e-3
"""Chance that a right judge fails a run of `test_the_judge_keeps_its_bars`, all of its rows together."""


def rotating_part() -> list[World]:
    """Every eighth world, from a place that the code of claims and laws decides: another after each change."""
    source = REPOSITORY / "src" / "ntk_atlas"
    files = sorted(file for room in ("claims", "scaling_laws", "statistics") for file in (source / room).glob("*.py"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()
    return list(WORLDS[digest[0] % PARTS :: PARTS])


@pytest.mark.slow
def test_the_judge_keeps_its_bars():
    """Fails where a binomial test excludes a bar, or the rates that are published, at 1 in 1,000 over all rows."""
    part, results, broken = rotating_part(), read_results(RESULTS), []
    level = FALSE_ALARM / (4 * len(part))
    for world in part:
        counts = world.count(STUDIES)
        broken += broken_bars(world, counts, level)
        published = results[world.claim, world.name].counts
        broken += [
            f"{world.claim}, {world.name}: {word} in {counts.of([word])} of {counts.studies}, published as "
            f"{published.of([word])} of {published.studies}"
            for word in WORDS
            if not agrees(counts, published, word, level)
        ]
    assert not broken, "\n".join(broken)


def agrees(counts: Counts, published: Counts, word: str, level: float) -> bool:
    """Whether two counts of a word can have the same rate (Fisher's exact test, two-sided)."""
    found, there = counts.of([word]), published.of([word])
    law = hypergeom(counts.studies + published.studies, found + there, counts.studies)
    return min(law.sf(found - 1), law.cdf(found)) >= 0.5 * level


def test_every_world_is_published_and_the_page_shows_it():
    results = read_results(RESULTS)
    missing = [f"{w.claim}, {w.name}" for w in WORLDS if (w.claim, w.name) not in results]
    assert not missing, f"run: python tests/worlds/run.py: {missing}"
    assert len(results) == len(WORLDS), "results of worlds that are no more"
    assert PAGE.read_text() == with_table(PAGE.read_text(), results), "run: python tests/worlds/run.py"


def test_names_are_unique_and_every_row_has_a_bar():
    names = Counter((world.claim, world.name) for world in WORLDS)
    assert max(names.values()) == 1
    assert all(world.wrong or world.powerful for world in WORLDS)
    assert all(world.right for world in WORLDS if world.powerful)


def test_no_bar_is_promised_beyond_what_is_promised():
    world = World("X", "planted", str, (), beyond="why")
    assert not broken_bars(world, Counts(400, 200, 200, 0), 1e-4)
    assert len([world for world in WORLDS if world.beyond]) <= 0.1 * len(WORLDS), "an exception, and no way out"


def test_a_judge_that_is_right_at_the_bar_fails_as_rarely_as_promised():
    """The chance of a false alarm of one row at its bar, summed over all counts, is below its share."""
    world, level = World("X", "planted", lambda _: "supported", ("not supported",)), FALSE_ALARM / 40
    chance = sum(
        binom.pmf(k, STUDIES, world.bar)
        for k in range(STUDIES + 1)
        if broken_bars(world, Counts(STUDIES, k, 0, STUDIES - k), level)
    )
    assert 0.0 < chance < level


@pytest.mark.parametrize(
    ("right", "powerful", "counts", "n_broken"),
    [
        (("not supported",), False, Counts(400, 60, 0, 340), 1),
        (("not supported",), False, Counts(400, 20, 0, 380), 0),
        (("supported",), False, Counts(400, 400, 0, 0), 0),
        ((), False, Counts(400, 30, 30, 340), 1),
        (("supported",), True, Counts(400, 250, 0, 150), 1),
        (("supported",), True, Counts(400, 310, 0, 90), 0),
        (("supported",), True, Counts(400, 200, 100, 100), 2),
    ],
)
def test_bars_by_hand(right, powerful, counts, n_broken):
    assert len(broken_bars(World("X", "planted", str, right, powerful=powerful), counts, 1e-4)) == n_broken


def test_the_interval_of_a_rate_is_clopper_and_pearsons():
    low, high = interval(10, 400)
    assert binom.sf(9, 400, low) == pytest.approx(0.025) and binom.cdf(10, 400, high) == pytest.approx(0.025)
    assert interval(0, 100)[0] == 0.0 and interval(100, 100)[1] == 1.0


def test_a_world_is_the_same_whatever_is_counted_with_it():
    world = World("X", "coin", lambda g: "supported" if g.random() < 0.5 else "inconclusive", ())
    first = [world.count(n).supported for n in (50, 200)]
    assert first == [world.count(n).supported for n in (50, 200)]
    assert 0 <= first[1] - first[0] <= 150
    with pytest.raises(ValueError, match=r"the judge says \{'not run'\}"):
        World("X", "none", lambda _: "not run", ()).count(3)


def test_agreement_with_what_is_published():
    published = Counts(2000, 100, 0, 1900)
    assert agrees(Counts(400, 20, 0, 380), published, "supported", 1e-4)
    assert not agrees(Counts(400, 60, 0, 340), published, "supported", 1e-4)
    assert not agrees(Counts(400, 0, 0, 400), published, "supported", 1e-4)
