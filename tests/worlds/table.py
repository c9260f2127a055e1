"""The published table of worlds: counts on disk, and as Markdown in docs/claims.md."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from worlds.registry import MODULES, WORLDS
from worlds.world import N_FIRST, POWER_BAR, REPOSITORY, Counts, World, broken_bars, interval

from ntk_atlas.provenance import SourceMemory, source_digest

RESULTS, PAGE = Path(__file__).parent / "results.csv", REPOSITORY / "docs" / "claims.md"
MARKERS = "<!-- generated, worlds: begin -->", "<!-- generated, worlds: end -->"
_COUNTS = [field.name for field in fields(Counts)]
_HEAD = ["claim", "world", *_COUNTS, "code"]
_MISSED = 1e-3
"""Level at which the table says that a bar is missed."""


@dataclass(frozen=True)
class Result:
    """Counts of one world, and a digest of the code behind them: the world, the judge and all that they import."""

    counts: Counts
    digest: str


Results = Mapping[tuple[str, str], Result]


def code_digests() -> list[str]:
    """The digest of each world's code, in the order of `WORLDS`."""
    memory, package = SourceMemory(), REPOSITORY / "src" / "ntk_atlas"
    judge = source_digest(Path(__file__).parent / "world.py", package, memory)
    helpers = [
        source_digest(file, package, memory) for file in sorted(Path(__file__).parents[1].glob("synthetic_*.py"))
    ]
    common = hashlib.sha256("".join([judge, *helpers]).encode()).hexdigest()
    own = {module: source_digest(Path(module.__file__), package, memory) for module in MODULES}
    return [f"{common[:8]}{own[module][:8]}" for module in MODULES for _ in module.WORLDS]


def still_holds(world: World, known: Result, digest: str, n_studies: int) -> bool:
    """Whether a row on disk needs no new count: enough studies, of the same code or of code that says the same words.

    Code has changed in words alone, or in what this world does not meet, if the judge says the words of the row's
    first studies again (a tenth of all studies at least would change their word, for 88 % to be noticed).
    """
    counts = known.counts
    if counts.studies < round(world.share * n_studies):
        return False
    return known.digest == digest or (
        len(counts.first) == min(N_FIRST, counts.studies)
        and counts.first == "".join(word[0] for word in world.said(range(len(counts.first))))
    )


def read_results(path: Path) -> Results:
    """The results on disk, by (claim, name of the world)."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["claim"], row["world"]): Result(
            Counts(*(int(row[name]) for name in _COUNTS[:-1]), row.get("first", "")), row["code"]
        )
        for row in rows
    }


def write_results(path: Path, results: Results, world: World, counts: Counts, digest: str) -> Results:
    """The results with those of one world, also on disk; worlds that are no more are left out."""
    results = {**results, (world.claim, world.name): Result(counts, digest)}
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_HEAD)
        for key in [(world.claim, world.name) for world in WORLDS]:
            if key in results:
                table.writerow([*key, *astuple(results[key].counts), results[key].digest])
    return results


def markdown(results: Results) -> str:
    """The table: a row each world, the rates of the three words, and the interval of the rate that has a bar."""
    lines = [
        "| claim | what is true | supported, % | not supported, % | open, % | wrong words, % [95 %] | bar | studies |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    claim = None
    for world in WORLDS:
        result = results.get((world.claim, world.name))
        if result is None:
            continue
        counts, n = result.counts, result.counts.studies
        wrong = counts.of(world.wrong)
        low, high = interval(wrong, n)
        rates = [
            f"**{_percent(counts.of([word]) / n)}**" if word in world.wrong else _percent(counts.of([word]) / n)
            for word in ("supported", "not supported", "inconclusive")
        ]
        bar = world.beyond or f"≤ {world.bar:.0%}" + (f", {world.right[0]} ≥ {POWER_BAR:.0%}" if world.powerful else "")
        missed = " missed" if broken_bars(world, counts, _MISSED) else ""
        cells = [
            "" if world.claim == claim else world.claim, world.name, *rates,
            f"{_percent(wrong / n)} [{_percent(low)}, {_percent(high)}]{missed}", bar.replace("%", " %"), str(n),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
        claim = world.claim
    return "\n".join(lines)


def with_table(page: str, results: Results) -> str:
    """The page with the table between its markers.

    Raises:
        ValueError: if the page has no markers.
    """
    begin, end = MARKERS
    if begin not in page or end not in page:
        raise ValueError(f"the page has no {begin}")
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n\n{markdown(results)}\n\n{end}{after}"


def write_documents(results: Results) -> None:
    """Writes the table into docs/claims.md."""
    PAGE.write_text(with_table(PAGE.read_text(), results))


def _percent(rate: float) -> str:
    return f"{100.0 * rate:.1f}"
