"""The benchmarks: the table of bars is complete, disagreement is an error, and rows run without the peers."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

EXPECTED = {
    1: [("speedup", "wall", 3.5, 5)],
    2: [("speedup", "cpu", 2.5, 3.5)],
    3: [("speedup", "cpu", 1.8, 2.5)],
    4: [("speedup", "cpu", 4, 7)],
    5: [("speedup", "wall", 3, 5)],
    6: [("efficiency", "wall", 0.5, 0.7)] * 2,
    7: [("speedup", "wall", 50, 80)],
    8: [("memory", "wall", 250, 150)],
    9: [("speedup", "wall", 1.4, 2)] * 2,
    10: [("speedup", "wall", 3.5, 5)],
    11: [("memory_ratio", "wall", 0.5, 0.3)],
    12: [("speedup", "cpu", 2.5, 4)] * 2,
    13: [("speedup", "cpu", 1.5, 2)],
    14: [("time_ratio", "wall", 1.15, 1.15), ("speedup", "wall", 2, 4)],
    15: [("speedup", "wall", 6, 12), ("speedup", "wall", 13, 25)],
    16: [("speedup", "wall", 6, 9)],
    17: [("speedup", "wall", 1.7, 2.4)],
    18: [("speedup", "cpu", 3, 6), ("speedup", "cpu", 3, 8)],
    19: [("speedup", "cpu", 2, 4)],
    20: [("speedup", "cpu", 1.5, 3)] * 2,
    21: [("speedup", "cpu", 0.95, 1.5)] * 20,
}
"""Quantity, clock, hold and stretch of each row's cases."""


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_every_row_has_its_bars(load):
    bars = load("bars").BARS
    found = {}
    for bar in bars:
        found.setdefault(bar.row, []).append((bar.quantity, bar.clock, bar.hold, bar.stretch))
    assert found == EXPECTED
    assert {bar.row for bar in bars if bar.threads != 2} == {17, 18, 19, 20, 21}


def test_every_case_exists_on_both_sides(load):
    sources = {path.stem: path.read_text() for path in (BENCHMARKS / "sides").glob("*.py")}
    for bar in load("bars").BARS:
        for name in (f"atlas:{bar.ours}", bar.theirs):
            side, _, case = (name or f"atlas:{bar.ours}").partition(":")
            assert f"\ndef {case}(" in sources[side], f"row {bar.row}: {side} has no {case}"


def test_threads_and_waiting_are_set_for_both_sides(load, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "{\\"wait\\": \\"$OMP_WAIT_POLICY\\", \\"threads\\": \\"$OMP_NUM_THREADS\\"}"\n')
    python.chmod(0o755)
    with load("client").Worker(python, "atlas", 2) as worker:
        assert worker.ask("time") == {"wait": "PASSIVE", "threads": "2"}


def test_floors_are_those_of_a_count_by_hand(load):
    flops = load("floors").dense_ntk_flops
    size = {"n": 10, "n_inputs": 5, "width": 4, "depth": 2, "n_outputs": 3}
    # 5·4 + 4·4 + 4·3 weights; inputs 5 + 4 + 4; signals of the trace: 3 outputs of the first layer, one of the second.
    assert flops(**size) == 100 * (13 + 4 * 3 + 4) + 20 * 48 + 60 * 28
    assert flops(**size, output_reduction="full") == 100 * (13 + 9 * 8) + 20 * 48 + 60 * 28
    assert flops(**(size | {"depth": 0})) == 100 * 5 + 20 * 15


class Side:
    """A worker that has its arrays already."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def ask(self, do, key, path):
        np.savez(path, **self.arrays)


def test_sides_that_disagree_are_an_error(load):
    measure = load("measure")
    kernel = np.eye(3) + 1.0
    near, far = {"ours": Side(k=kernel * (1 + 1e-7))}, {"ours": Side(k=kernel * 1.01)}
    theirs = {"theirs": Side(k=kernel)}
    assert 0 < measure.compare(near | theirs, 1e-6) < 1e-6
    with pytest.raises(measure.DisagreementError, match="k differs by 1"):
        measure.compare(far | theirs, 1e-3)
    with pytest.raises(measure.DisagreementError, match="differs by nan"):
        measure.compare({"ours": Side(k=kernel * np.nan)} | theirs, 1e-3)
    with pytest.raises(measure.DisagreementError, match="ours has the arrays"):
        measure.compare({"ours": Side(k=kernel[:2])} | theirs, 1e-3)
    with pytest.raises(measure.DisagreementError, match="nothing to compare"):
        measure.compare({"ours": Side(k=0 * kernel), "theirs": Side(k=0 * kernel)}, 1e-3)
    with pytest.raises(measure.DisagreementError, match="ours has the arrays"):
        measure.compare({"ours": Side(), "theirs": Side()}, 1e-3)


def test_a_missing_import_is_skipped_and_a_broken_side_failed(load):
    measure, bar = load("measure"), load("bars").BARS[-2]
    pythons = {"default": Path(sys.executable)}
    # This environment has no neural-tangents, on purpose.
    missing = dataclasses.replace(bar, theirs="neural_tangents:structured")
    result = measure.measure(missing, pythons, quick=True)
    assert result["outcome"] == "skipped"
    assert "No module named" in result["reason"]
    broken = measure.measure(dataclasses.replace(bar, ours="no_such_case"), pythons, quick=True)
    assert broken["outcome"] == "failed"
    assert "no_such_case" in broken["reason"]


@pytest.mark.parametrize(
    ("quantity", "value", "expected"),
    [
        ("speedup", 5.0, "stretch"),
        ("speedup", 4.9, "hold"),
        ("speedup", 3.4, "BELOW HOLD"),
        ("memory", 100, "BELOW HOLD"),
        ("memory", 3.5, "stretch"),
    ],
)
def test_verdicts(load, quantity, value, expected):
    result = {"outcome": "measured", "quick": False, "quantity": quantity, "value": value, "hold": 3.5, "stretch": 5}
    assert load("tables").verdict(result) == expected


def test_the_page_names_no_folder_and_keeps_what_is_written_by_hand(load, tmp_path):
    report = load("report")
    row = {"row": 1, "title": "NTK", "rival": "them", "quantity": "speedup", "clock": "wall", "quick": False}
    row |= {"hold": 3.5, "stretch": 5, "outcome": "skipped", "reason": "atlas: cannot import x (/home/me/x/y.py)"}
    points = [
        {"axis": axis, "value": value, "seconds": 2.0 * value, "floor": 1.0 * value, "gflops": 100.0}
        for axis in ("n", "width", "depth", "n_outputs")
        for value in (1, 2)
    ]
    results = {"machine": {"cores": 2, "cpu": "CPU"}, "versions": {"torch": "1"}, "rows": [row], "sweep": points}
    page, figure = tmp_path / "page.md", tmp_path / "figures" / "cost.png"
    page.write_text(f"by hand\n{report.BEGIN}\nstale text\n{report.END}\nafter\n")
    report.write(results, page, figure)
    text = page.read_text()
    assert text.startswith("by hand\n") and text.endswith("\nafter\n")
    assert (
        "/home" not in text
        and "SKIPPED" in text
        and "stale text" not in text
        and "| samples | 2 | 4 | 2 | 50 % |" in text
    )
    assert figure.stat().st_size > 10_000
    with pytest.raises(ValueError, match="the page has no"):
        report.between_markers("no markers", "text")
    report.between_markers(report.PAGE.read_text(), "the real page has markers")


def test_unknown_rows_are_refused():
    run = subprocess.run([sys.executable, BENCHMARKS / "run.py", "--rows", "1,99"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "there are no rows [99]" in run.stderr


def test_quick_rows_without_the_peers(tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, BENCHMARKS / "run.py", "--quick", "--rows", "7 16", "--results", results]
    run = subprocess.run([*command, "--peers", tmp_path / "nowhere"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(results.read_text())["rows"]
    assert [row["row"] for row in rows] == [7, 16]
    for row in rows:
        assert row["outcome"] == "measured", row
        assert row["value"] == pytest.approx(row["theirs"]["best"] / row["ours"]["best"])
        assert 0 <= row["difference"] <= row["tolerance"]
    assert run.stdout.count("×") >= 6


def test_rows_against_the_peers_say_what_is_missing(tmp_path):
    command = [sys.executable, BENCHMARKS / "run.py", "--quick", "--rows", "1", "--peers", tmp_path / "nowhere"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert "make benchmark" in run.stderr


@pytest.mark.slow
def test_grids_of_cells_are_planned_and_assembled_within_the_bars():
    run = subprocess.run([sys.executable, BENCHMARKS / "scale.py", "--cells", "500"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "   500 cells, dry run :" in run.stdout
    assert "   500 cells, assembly:" in run.stdout
    assert run.stdout.endswith("within the bars\n")
