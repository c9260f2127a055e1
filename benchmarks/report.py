"""The page and the figure, from the JSON of one complete run: `report.py RESULTS.json`."""

import json
import re
import sys
from pathlib import Path

from figure import cost_figure
from tables import HEADER, SWEEP_HEADER, cells, markdown, sweep_cells

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
FIGURE = ROOT / "docs" / "figures" / "performance.png"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def measured_section(results: dict) -> str:
    """What was measured, as Markdown.

    Args:
        results: `machine`, `versions`, `rows` and `sweep` of a run.

    Returns:
        The text between the markers.
    """
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        f"Measured on {machine['cores']} cores of {machine['cpu']}, with {versions}.",
        markdown(HEADER, [cells(row) for row in results["rows"]]),
    ]
    reasons = [
        f"- Row {row['row']} ({row['outcome']}): {_last_line(row)}" for row in results["rows"] if "reason" in row
    ]
    if reasons:
        parts.append("\n".join(reasons))
    points = [point for point in results["sweep"] if "seconds" in point]
    if points:
        rates = sorted(point["gflops"] for point in points)
        parts += [
            "## Cost as work grows",
            f"Seconds of the empirical NTK (float32, best of the repeats) beside the floor. The matrix product ran at "
            f"{rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s.",
            f"![Cost of the empirical NTK as samples, width, depth and outputs grow](figures/{FIGURE.name})",
            markdown(SWEEP_HEADER, [sweep_cells(point) for point in points]),
        ]
    return "\n\n".join(parts)


def _last_line(row: dict) -> str:
    """Returns the end of a reason, without folders of this machine."""
    return re.sub(r"/[^\s/()]+(?:/[^\s/()]+)*/", "", row["reason"].strip().splitlines()[-1])


def between_markers(page: str, section: str) -> str:
    """Returns the page with the text between the markers replaced.

    Raises:
        ValueError: the page does not have the two markers in order.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{section}\n\n{END}{tail}"


def write(results: dict, page: Path = PAGE, figure: Path = FIGURE) -> None:
    """Writes page and figure."""
    page.write_text(between_markers(page.read_text(), measured_section(results)))
    points = [point for point in results["sweep"] if "seconds" in point]
    if points:
        cost_figure(points, figure)


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()))
