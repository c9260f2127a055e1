"""One bar measured: both sides alternate in processes of their own, and must compute the same numbers."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
from bars import Bar
from client import MissingError, SideError, Worker
from floors import SGEMM_FLOPS, dense_ntk_flops

MIN_REPEATS = 5
_ENOUGH_SECONDS, _MAX_REPEATS = 8.0, 40
_MEMORY_PROCESSES = 3
_PAGE = 4096
PEERS = "neural_tangents"
"""The side that needs the peers' environment."""


class DisagreementError(Exception):
    """The two sides do not compute the same numbers."""


def measure(bar: Bar, pythons: Mapping[str, Path], *, quick: bool) -> dict:
    """Measures one bar.

    Args:
        bar: what to measure.
        pythons: interpreter of each side; `default` for those that are not named.
        quick: small sizes and two repeats, whose ratios mean nothing.

    Returns:
        The bar with `outcome` (measured, skipped, failed) and, if measured, `value`, `ours`, `theirs` (best and
        median of seconds or bytes) and `difference` of the two sides' numbers.
    """
    result = {name: getattr(bar, name) for name in ("row", "title", "rival", "quantity", "clock", "hold", "stretch")}
    result |= {"threads": bar.threads, "quick": quick, "tolerance": bar.tolerance}
    try:
        by_memory = bar.quantity.startswith("memory")
        measured = _memory(bar, pythons, quick) if by_memory else _seconds(bar, pythons, quick)
    except MissingError as missing:
        return result | {"outcome": "skipped", "reason": str(missing)}
    except (SideError, DisagreementError) as failure:
        return result | {"outcome": "failed", "reason": str(failure)}
    return result | {"outcome": "measured", "value": _value(bar, measured, quick), **measured}


def _start(bar: Bar, side: str, pythons: Mapping[str, Path]) -> Worker:
    return Worker(pythons.get(side, pythons["default"]), side, bar.threads)


def _cases(bar: Bar, quick: bool) -> dict[str, tuple[str, dict]]:
    """Returns side and request of each case."""
    parameters = bar.parameters(quick)
    cases = {"ours": ("atlas", {"case": bar.ours, "parameters": parameters})}
    if bar.theirs:
        side, case = bar.theirs.split(":")
        cases["theirs"] = (side, {"case": case, "parameters": {} if side == "atlas" else parameters})
    return cases


def _seconds(bar: Bar, pythons: Mapping[str, Path], quick: bool) -> dict:
    """Best and median seconds of both sides; a rival of side `atlas` runs in our own process."""
    cases = _cases(bar, quick)
    with ExitStack() as stack:
        workers = _prepared(bar, pythons, cases, stack)
        seconds = alternate(workers, bar.clock, quick)
        if bar.check:
            for key, (_, request) in cases.items():
                checked = request["parameters"] | bar.check
                workers[key].ask("prepare", key, **(request | {"parameters": checked}))
                workers[key].ask("time", key)
        difference = None if bar.quantity == "efficiency" else compare(workers, bar.tolerance)
    return {**{key: summary(values) for key, values in seconds.items()}, "difference": difference}


def _prepared(bar: Bar, pythons: Mapping[str, Path], cases: Mapping, stack: ExitStack) -> dict[str, Worker]:
    """Returns a worker for each case, one process a side, with the case prepared."""
    started, workers = {}, {}
    for key, (side, request) in cases.items():
        if side not in started:
            started[side] = stack.enter_context(_start(bar, side, pythons))
        workers[key] = started[side]
        workers[key].ask("prepare", key, **request)
    return workers


def alternate(workers: Mapping[str, Worker], clock: str, quick: bool) -> dict[str, list[float]]:
    """Seconds of repeats, turn by turn; quick calls are repeated more often.

    Args:
        workers: the worker that prepared each case.
        clock: `wall` or `cpu`.
        quick: two repeats only.

    Returns:
        Equally many seconds for each case, `MIN_REPEATS` at least.
    """
    seconds, spent = {key: [] for key in workers}, 0.0
    while True:
        for key, worker in workers.items():
            answer = worker.ask("time", key)
            seconds[key].append(answer[clock])
            spent += answer["wall"]
        n_done = len(seconds["ours"])
        if n_done >= (2 if quick else MIN_REPEATS) and (quick or spent > _ENOUGH_SECONDS or n_done >= _MAX_REPEATS):
            return seconds


def _memory(bar: Bar, pythons: Mapping[str, Path], quick: bool) -> dict:
    """Peak bytes, each in a fresh process; the process with the largest peak counts, on both sides."""
    cases, measured = _cases(bar, quick), {"difference": None}
    for key, (side, request) in cases.items():
        peaks = []
        for _ in range(1 if quick else _MEMORY_PROCESSES):
            with _start(bar, side, pythons) as worker:
                worker.ask("prepare", **request)
                peaks.append(worker.ask("memory")["peak"])
        measured[key] = {"best": max(peaks), "median": median(peaks), "repeats": len(peaks)}
    if bar.theirs:
        with ExitStack() as stack:
            workers = _prepared(bar, pythons, cases, stack)
            for key, worker in workers.items():
                worker.ask("time", key)
            measured["difference"] = compare(workers, bar.tolerance)
    return measured


def compare(workers: Mapping[str, Worker], tolerance: float) -> float:
    """The largest relative difference (Frobenius) between the arrays of both sides, norms among them.

    Args:
        workers: the worker of `ours` and `theirs`.
        tolerance: what the difference may be.

    Returns:
        The difference.

    Raises:
        DisagreementError: it is larger than the tolerance, or the arrays are not the same ones.
    """
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, worker in workers.items():
            path = Path(folder) / f"{key}.npz"
            worker.ask("arrays", key, path=str(path))
            with np.load(path) as file:
                arrays[key] = {name: file[name].astype(np.float64) for name in file.files}
    ours, theirs = arrays["ours"], arrays["theirs"]
    shapes = [{name: array.shape for name, array in side.items()} for side in (ours, theirs)]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise DisagreementError(f"ours has the arrays {shapes[0]}, theirs {shapes[1]}")
    largest = 0.0
    for name, expected in theirs.items():
        norm = np.linalg.norm(expected)
        if norm == 0:
            raise DisagreementError(f"{name} is zero on their side: there is nothing to compare")
        difference = float(np.linalg.norm(ours[name] - expected) / norm)
        if not difference <= tolerance:
            raise DisagreementError(f"{name} differs by {difference:.1e} of its norm, more than {tolerance:.0e}")
        largest = max(largest, difference)
    return largest


def summary(values: list[float]) -> dict:
    """Returns best, median and number of repeats."""
    return {"best": min(values), "median": median(values), "repeats": len(values)}


def _value(bar: Bar, measured: dict, quick: bool) -> float:
    ours = measured["ours"]["best"]
    if bar.quantity == "memory":
        return ours / 2**20
    theirs = measured["theirs"]["best"]
    if bar.quantity == "efficiency":
        return (dense_ntk_flops(**bar.parameters(quick)) / ours) / (SGEMM_FLOPS / theirs)
    if bar.quantity == "memory_ratio":
        return ours / max(theirs, _PAGE)
    return theirs / ours if bar.quantity == "speedup" else ours / theirs
