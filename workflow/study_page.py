"""Writes the measured parts of docs/studies and the lines of README from the results of a study that has run."""

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "src"), str(HERE)]

from benchmarks.machine import machine  # noqa: E402
from ntk_atlas.judging.study_page import headlines, measured_part, readme_markers, study_page  # noqa: E402
from ntk_atlas.provenance import provenance_attributes  # noqa: E402
from ntk_atlas.study.load import read_study  # noqa: E402
from ntk_atlas.study.results import study_folder  # noqa: E402


def main() -> None:
    """Rewrites docs/studies/<study>.md and the lines of README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="name of a file of config/studies, or `digits` for the default study")
    parser.add_argument("--wall", default="", help="how long the run took, in words: '8 min on two cores'")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the study was run")
    asked = parser.parse_args()
    default = HERE / "config" / "config.yaml"
    files = [default] if asked.study == "digits" else [default, HERE / "config" / "studies" / f"{asked.study}.yaml"]
    page = HERE / "docs" / "studies" / f"{asked.study}.md"
    here, versions = machine(), provenance_attributes(HERE)["versions"]
    experiments, results, tables = (
        read_study(files).active(),
        asked.folder / "results",
        asked.folder / study_folder(files),
    )
    text = study_page(
        page.read_text(),
        experiments,
        results,
        tables,
        f"{here['cores']} cores of {here['cpu']}, with {versions}",
        asked.wall,
    )
    page.write_text(text)
    readme = HERE / ("README.md" if asked.study == "digits" else "docs/studies/README.md")
    drawn = results / asked.study / "figures" / "regime_map.png"
    if asked.study == "digits" and drawn.is_file():
        shutil.copy(drawn, HERE / "docs" / "figures" / "regime_map_digits.png")
    readme.write_text(
        measured_part(readme.read_text(), headlines(experiments, results, tables), readme_markers(asked.study))
    )
    print(f"{page.relative_to(HERE)}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
