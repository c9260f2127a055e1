"""Measures all rows side by side and prints each ratio with its bars: `python benchmarks/run.py --help`."""

import argparse
import json
import re
import sys
from pathlib import Path

from bars import BARS, ROWS
from machine import machine, versions
from measure import PEERS, measure
from sweep import sweep
from tables import HEADER, SWEEP_HEADER, cells, sweep_cells, terminal_line

HERE = Path(__file__).parent
ROOT = HERE.parent
_WIDTHS = (3, 58, 40, 12, 12, 9, 9, 9, 10, 9)
_OURS = ("ntk-atlas", "torch", "numpy", "scipy", "scikit-learn")
_THEIRS = ("neural-tangents", "jax", "jaxlib")


def rows(text: str) -> tuple[int, ...]:
    """Returns the rows that `1,6` or `1 6` names.

    Raises:
        argparse.ArgumentTypeError: a row does not exist.
    """
    try:
        chosen = tuple(int(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of rows: write 1,6") from None
    unknown = sorted(set(chosen) - set(ROWS))
    if unknown:
        raise argparse.ArgumentTypeError(f"there are no rows {unknown}; rows are {ROWS[0]} to {ROWS[-1]}")
    return chosen


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=rows, help="rows to measure, e.g. 1,6; all of them and the sweep by default")
    parser.add_argument("--sweep", action="store_true", help="with --rows: measure the cost as work grows, too")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all works, measures nothing")
    peers = ROOT / ".venv-peers" / "bin" / "python"
    parser.add_argument("--peers", type=Path, default=peers, help="interpreter that has neural-tangents")
    parser.add_argument("--results", type=Path, help="JSON file to write (default: benchmarks/results/...)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs; returns 1 if a row failed, that is, its two sides disagree or one broke; a bar not met is no failure."""
    settings = arguments(argv)
    bars = [bar for bar in BARS if settings.rows is None or bar.row in settings.rows]
    if any(PEERS in (bar.theirs or "") for bar in bars) and not settings.peers.exists():
        sys.exit("neural-tangents' environment is not there: `make benchmark` builds it, or choose rows without it")
    pythons = {"default": Path(sys.executable), PEERS: settings.peers}
    measured = []
    if settings.quick:
        print("quick: sizes are tiny, not those of the titles, and ratios mean nothing")
    print(terminal_line(HEADER, _WIDTHS), flush=True)
    for bar in bars:
        result = measure(bar, pythons, quick=settings.quick)
        print(terminal_line(cells(result), _WIDTHS), flush=True)
        if "reason" in result:
            print(f"     {result['reason']}", flush=True)
        measured.append(result)
    points = _sweep(pythons, settings.quick) if settings.sweep or settings.rows is None else []
    found = versions(pythons["default"], _OURS)
    if settings.peers.exists():
        found |= versions(settings.peers, _THEIRS)
    results = {"machine": machine(), "versions": found, "rows": measured, "sweep": points}
    _keep(results, settings)
    return int(any(result["outcome"] == "failed" for result in measured))


def _sweep(pythons: dict, quick: bool) -> list[dict]:
    widths = (16, 8, 10, 10, 14)
    print(
        "\ncost of the empirical NTK beside the least it could be\n" + terminal_line(SWEEP_HEADER, widths), flush=True
    )
    points = []
    for point in sweep(pythons, quick=quick):
        points.append(point)
        print(point.get("reason") or terminal_line(sweep_cells(point), widths), flush=True)
    return points


def _keep(results: dict, settings: argparse.Namespace) -> None:
    """Writes the JSON; a complete run at full size writes the page and the figure too."""
    complete = settings.rows is None and not settings.quick
    name = "complete.json" if complete else "quick.json" if settings.quick else "part.json"
    path = settings.results or HERE / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))
    if complete:
        import report

        report.write(results)
        print(f"\nwrote {report.PAGE.relative_to(ROOT)} and {report.FIGURE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
