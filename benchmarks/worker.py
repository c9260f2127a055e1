"""A process of one side: prepares cases, and times one repeat whenever it is told to.

Started by `client.py`, in either environment: `worker.py SIDE THREADS`. Requests and answers are lines of JSON.
"""

import gc
import importlib
import json
import os
import re
import sys
import time
import traceback
from pathlib import Path

import numpy as np

_MAX_ENTRIES = 4_000_000


def serve(side: str, requests, answers) -> None:
    """Answers requests until there are no more; a failure is an answer too."""
    prepared, results = {}, {}
    for line in requests:
        request = json.loads(line)
        try:
            answer = _answer(side, request, prepared, results)
        except ImportError as error:
            answer = {"missing": f"{type(error).__name__}: {error}"}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(side: str, request: dict, prepared: dict, results: dict) -> dict:
    key = request["key"]
    if request["do"] == "prepare":
        make = getattr(importlib.import_module(f"sides.{side}"), request["case"])
        results.pop(key, None)
        prepared[key] = make(**request["parameters"])
        return {"ready": True}
    if request["do"] == "time":
        results.pop(key, None)
        results[key], seconds = _timed(prepared[key])
        return seconds
    if request["do"] == "memory":
        return {"peak": _peak_memory(prepared[key])}
    if request["do"] == "arrays":
        arrays = {name: np.asarray(array) for name, array in prepared[key].arrays(results[key]).items()}
        norms = {f"{name}.norm": np.linalg.norm(array.astype(np.float64, copy=False)) for name, array in arrays.items()}
        np.savez(request["path"], **{name: _sample(array) for name, array in arrays.items()}, **norms)
        return {"written": True}
    raise ValueError(f"unknown request {request['do']!r}")


def _timed(case) -> tuple[object, dict[str, float]]:
    state = case.setup() if case.setup else None
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = case.run(state)
    return result, {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _peak_memory(case) -> int:
    """Peak resident bytes of a run above what was resident before it, result not counted."""
    if case.warm_up:
        case.warm_up()
    state = case.setup() if case.setup else None
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the former peak
    before = _resident("VmRSS")
    result = case.run(state)
    peak = _resident("VmHWM")
    del result
    return max(0, peak - before - case.result_bytes)


def _resident(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def _sample(array: np.ndarray) -> np.ndarray:
    """Every k-th row of an array that is too large to be compared whole; its norm is compared beside it."""
    step = max(1, -(-array.size // _MAX_ENTRIES))
    return array[::step]


def main() -> None:
    """Takes standard output for the answers alone: whatever libraries print goes to standard error."""
    side, threads = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):  # what has no setting for its threads counts the cores it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(side, sys.stdin, answers)


if __name__ == "__main__":
    main()
