"""The files that are generated from the code: `python -m ntk_atlas.study.documents` writes them anew."""

import sys
from pathlib import Path

from ntk_atlas.config.claims import CLAIMS, Claim
from ntk_atlas.cubes.dictionary.cube import CUBE, FUNCTIONS
from ntk_atlas.cubes.dictionary.laws import LAWS
from ntk_atlas.cubes.dictionary.output_variance import OUTPUT_VARIANCE
from ntk_atlas.cubes.dictionary.untrained import DISPERSION, KERNEL_VARIANTS
from ntk_atlas.cubes.dictionary.variable import COORDINATES, SCHEMA_VERSION, Variable
from ntk_atlas.regimes.map_file import REGIMES
from ntk_atlas.study.effects import effects_markdown, jobs_mermaid
from ntk_atlas.study.reference import json_schema, keys_markdown

FILES = (CUBE, LAWS, FUNCTIONS, REGIMES, DISPERSION, OUTPUT_VARIANCE, KERNEL_VARIANTS)
"""Kinds of NetCDF files that are results."""
MARKERS = "<!-- generated: begin -->", "<!-- generated: end -->"
JOB_MARKERS = "<!-- generated, jobs: begin -->", "<!-- generated, jobs: end -->"
EFFECT_MARKERS = "<!-- generated, effects: begin -->", "<!-- generated, effects: end -->"


def generated_documents(repository: Path) -> dict[Path, str]:
    """What each generated file should contain.

    Args:
        repository: folder of the repository, whose documents have hand-written parts around the markers.

    Returns:
        File → text.
    """
    keys, cube = repository / "config" / "README.md", repository / "docs" / "cube.md"
    claims, architecture = repository / "docs" / "claims.md", repository / "docs" / "architecture.md"
    return {
        repository / "config" / "schema.json": json_schema(),
        keys: _between(EFFECT_MARKERS, _between(MARKERS, keys.read_text(), keys_markdown()), effects_markdown()),
        cube: _between(MARKERS, cube.read_text(), dictionary_markdown()),
        claims: _with_claims(claims.read_text()),
        architecture: _between(JOB_MARKERS, architecture.read_text(), jobs_mermaid()),
    }


def dictionary_markdown() -> str:
    """The dictionary of variables and coordinates as Markdown tables."""
    of_file = {row.name: [file.name for file in FILES if row.name in file.coordinates] for row in COORDINATES.values()}
    lines = [
        f"The schema version of these files is {SCHEMA_VERSION}.",
        "",
        "### Coordinates",
        "",
        "| coordinate | dimensions | meaning | unit | type | in |",
        "|---|---|---|---|---|---|",
    ]
    for row in COORDINATES.values():
        files = "all files" if len(of_file[row.name]) == len(FILES) else ", ".join(f"`{f}`" for f in of_file[row.name])
        lines.append(f"| {' | '.join(_cells(row))} | {files} |")
    for title, rows in (table for file in FILES for table in file.tables.items()):
        heads = "| variable | dimensions | meaning | unit | type | NaN (−1 in integers) means |"
        lines += ["", f"### {title}", "", heads, "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(_cells(row))} | {row.missing} |" for row in rows]
    return "\n".join(lines)


def _cells(row: Variable) -> tuple[str, ...]:
    flags = ", ".join(f"{int(flag)} {flag.name.lower()}" for flag in row.flags).replace("-", "−")
    meaning = f"{row.long_name}: {flags}" if flags else row.long_name
    return f"`{row.name}`", ", ".join(row.dims), meaning, row.units, row.dtype


def claims_markdown(study: str) -> str:
    """What the claims of a study compare, by their files: those whose names begin with a letter."""
    found = [CLAIMS.head(name) for name in CLAIMS.names() if name.startswith(study.lower())]
    return "\n".join(
        [
            "| claim | what is compared | threshold | where the claim stands |",
            "| --- | --- | --- | --- |",
            *map(_rows, found),
        ]
    )


def _rows(claim: Claim) -> str:
    numbers = ", ".join(f"`{name}` {threshold.value:g}" for name, threshold in claim.thresholds.items())
    rows = claim.compared or ((claim.statistic, numbers),)
    heads, sources = (claim.label, *[""] * len(rows)), (claim.source, *[""] * len(rows))
    cells = [(head, *row, source) for head, row, source in zip(heads, rows, sources, strict=False)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _with_claims(page: str) -> str:
    for study in "ABC":
        markers = f"<!-- generated, claims {study}: begin -->", f"<!-- generated, claims {study}: end -->"
        page = _between(markers, page, claims_markdown(study))
    return page


def _between(markers: tuple[str, str], page: str, text: str) -> str:
    begin, end = markers
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


if __name__ == "__main__":
    for path, content in generated_documents(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        path.write_text(content)
