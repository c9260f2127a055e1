"""The files that are generated from the code: `python -m ntk_atlas.study.documents` writes them anew."""

import sys
from pathlib import Path

from ntk_atlas.config.claims import CLAIMS, Claim
from ntk_atlas.cubes.dispersion_schema import DISPERSION_COORDINATES, DISPERSION_ESTIMATES, DISPERSION_THEORY
from ntk_atlas.cubes.functions_schema import FUNCTION_VARIABLES
from ntk_atlas.cubes.kernel_variants_schema import KERNEL_VARIANTS_VARIABLES
from ntk_atlas.cubes.output_variance_schema import OUTPUT_VARIANCE_COORDINATES, OUTPUT_VARIANCE_VARIABLES
from ntk_atlas.cubes.scaling_schema import LAW_COORDINATES, LAW_VARIABLES
from ntk_atlas.cubes.schema import dictionary_markdown, tables_markdown
from ntk_atlas.regimes.schema import REGIME_VARIABLES
from ntk_atlas.study.effects import effects_markdown
from ntk_atlas.study.reference import json_schema, keys_markdown

OTHER_FILES = (
    ("Coordinates of `scaling_laws.nc`", LAW_COORDINATES),
    ("Scaling laws, in `scaling_laws.nc`", LAW_VARIABLES),
    ("Predictions on test samples, in `functions.nc` (`regression.keep_predictions`)", FUNCTION_VARIABLES),
    ("Where NTK theory holds, in `regimes.nc` ([what it says](regimes.md))", REGIME_VARIABLES),
    ("Coordinates of `dispersion.nc`", DISPERSION_COORDINATES),
    ("Kernels of untrained networks, in `dispersion.nc`", DISPERSION_ESTIMATES),
    ("Theory beside them", DISPERSION_THEORY),
    ("Coordinates of `output_variance.nc`", OUTPUT_VARIANCE_COORDINATES),
    ("Spread of outputs over initializations, in `output_variance.nc`", OUTPUT_VARIANCE_VARIABLES),
    ("Untrained networks beside the variants of the NTK, in `kernel_variants.nc`", KERNEL_VARIANTS_VARIABLES),
)
MARKERS = "<!-- generated: begin -->", "<!-- generated: end -->"
EFFECT_MARKERS = "<!-- generated, effects: begin -->", "<!-- generated, effects: end -->"


def generated_documents(repository: Path) -> dict[Path, str]:
    """What each generated file should contain.

    Args:
        repository: folder of the repository, whose documents have hand-written parts around the markers.

    Returns:
        File → text.
    """
    keys, cube = repository / "config" / "README.md", repository / "docs" / "cube.md"
    claims = repository / "docs" / "claims.md"
    return {
        repository / "config" / "schema.json": json_schema(),
        keys: _between(EFFECT_MARKERS, _between(MARKERS, keys.read_text(), keys_markdown()), effects_markdown()),
        cube: _between(MARKERS, cube.read_text(), dictionary_markdown() + "\n" + tables_markdown(OTHER_FILES)),
        claims: _with_claims(claims.read_text()),
    }


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
