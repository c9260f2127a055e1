"""What is tried before any work, by the process that plans a run: data and code of the user's own.

Settings can be checked by looking at them; a factory, an activation, a table cannot. So data are read, networks are
built at the smallest and the largest cell and evaluated on training samples, in a process of their own
(`study.trial`), and all that is wrong joins the problems of the config in one message. What was tried and found right
is remembered, by a digest of settings, data, the user's code and this package: the next start takes no time.
"""

import contextlib
import hashlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from ntk_atlas.arrays import whole_file
from ntk_atlas.config.predictors import predictors_of, user_kernels
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.datasets.sources import SOURCES
from ntk_atlas.jobs.parts.slice import code_file_digest, user_code, user_file_digest
from ntk_atlas.provenance import file_digest
from ntk_atlas.registry import is_own, value_files
from ntk_atlas.study.estimates import MOST_DISK, MOST_HOURS, OwnCost, job_seconds, probe_kernel_bytes, weight_bytes
from ntk_atlas.study.problems import Problem
from ntk_atlas.user_code import PACKAGE

SECONDS = 90.0
"""That the trial of one experiment may take; what is not tried by then is a notice."""
_SECONDS_TO_START = 120.0
_REMEMBERED = 200
STEP_MARK = b"\x1e"
"""What a trial writes into its errors when a step begins: last words are those of the step that ended the process."""
FIRST_STEP = "reading the data"
"""What every trial begins with."""
_READ = {("dataset",), ("network",), ("grid",), ("regression", "predictors")}
"""Sections that a trial goes by."""


@dataclass(frozen=True)
class Tried:
    """What the trial of an experiment found, if nothing was wrong.

    Attributes:
        notices: what the user may not expect, in sentences.
        costs: of networks of the user's own, at the smallest and at the largest cell.
    """

    notices: tuple[str, ...] = ()
    costs: tuple[OwnCost, ...] = ()


@dataclass
class StartChecks:
    """Tries a study's experiments; `load_study` calls it with the study and the problems found by then.

    Attributes:
        memory: the file in which it is remembered what was tried.
        source: digest of the code that tries.
        say: tells the user what is under way.
        tried: what was found, by experiment.
    """

    memory: Path
    source: str
    say: Callable[[str], None]
    seconds: float = SECONDS
    tried: dict[str, Tried] = field(default_factory=dict)

    def __call__(self, study: StudySettings, problems: Sequence[Problem] = ()) -> list[Problem]:
        """Tries what is the user's own in the active experiments.

        Args:
            study: valid settings.
            problems: found already; an experiment that has one in its data, network or grid is not tried.

        Returns:
            What is wrong.
        """
        of_experiments = [p.key for p in problems if p.key[0] == "experiments" and len(p.key) > 1]
        spoiled = {key[1] for key in of_experiments if len(key) == 2 or key[2:3] in _READ or key[2:4] in _READ}
        known, keys, todo = self._remembered(), {}, {}
        for name, experiment in study.active().items():
            if name in spoiled or not has_something_to_try(experiment):
                continue
            keys[name] = trial_digest(experiment, self.source)
            if keys[name] in known:
                self.tried[name] = known[keys[name]]
            else:
                todo[name] = experiment
        # Variants of an experiment often differ in what is not tried.
        first = {keys[name]: name for name in reversed(todo)}
        found = self._run({name: todo[name] for name in todo if first[keys[name]] == name})
        wrong = []
        for name in todo:
            result = found[first[keys[name]]]
            self.tried[name] = Tried(tuple(result.notices), tuple(result.costs))
            if not result.problems:
                known[keys[name]] = self.tried[name]
            wrong += [Problem(("experiments", name, *key.split(".")), text) for key, text in result.problems]
        if todo:
            self._remember(known)
        if not study.jobs.allow_huge:
            wrong += [problem for name in self.tried for problem in self._too_large(name, study.active()[name])]
        return wrong

    def _too_large(self, name: str, experiment: ExperimentSettings) -> Iterator[Problem]:
        """What is asked about a network of the user's own, whose size only its trial has told."""
        costs = self.costs(name)
        seconds = job_seconds(experiment, costs=costs) if costs else None
        if seconds is None:
            return
        hours = sum(seconds.values()) / 3600
        disk = probe_kernel_bytes(experiment) + (weight_bytes(experiment, costs) or 0)
        measured = f"as measured on its network of {costs[-1].parameters:,} parameters"
        ask = "lower its grid or its epochs, or set jobs.allow_huge: true if it is meant"
        if hours > MOST_HOURS:
            years = hours / MOST_HOURS
            yield Problem(("experiments", name), f"would take about {years:.3g} years of one core, {measured}: {ask}")
        if disk > MOST_DISK:
            yield Problem(("experiments", name), f"would fill about {disk / 2**40:.3g} TiB of disk, {measured}: {ask}")

    def notices(self, name: str) -> tuple[str, ...]:
        """What the user of an experiment may not expect."""
        return self.tried[name].notices if name in self.tried else ()

    def costs(self, name: str) -> tuple[OwnCost, ...]:
        """Measured costs of an experiment's networks of the user's own; none if they were not measured."""
        return self.tried[name].costs if name in self.tried else ()

    def _run(self, todo: Mapping[str, ExperimentSettings]) -> dict[str, "_Result"]:
        found = {name: _Result() for name in todo}
        waiting = list(todo)
        if waiting:
            self.say(f"trying data and code of your own, once: {', '.join(map(_own, todo.values()))}")
        while waiting:
            done = _trials({name: todo[name] for name in waiting}, found, self.seconds)
            waiting = waiting[len(done) :]
        return found

    def _remembered(self) -> dict[str, Tried]:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            kept = json.loads(self.memory.read_text())
            return {
                key: Tried(tuple(one["notices"]), tuple(OwnCost(**cost) for cost in one["costs"]))
                for key, one in kept.items()
            }
        return {}

    def _remember(self, known: Mapping[str, Tried]) -> None:
        kept = {
            key: {"notices": one.notices, "costs": [vars(cost) for cost in one.costs]}
            for key, one in list(known.items())[-_REMEMBERED:]
        }
        with contextlib.suppress(OSError):  # a folder that cannot be written in: the next start tries again
            with whole_file(self.memory) as temporary:
                temporary.write_text(json.dumps(kept))


@dataclass
class _Result:
    problems: list[tuple[str, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    costs: list[OwnCost] = field(default_factory=list)
    step: str = "starting"


def has_something_to_try(experiment: ExperimentSettings) -> bool:
    """Whether data or code of an experiment are the user's own."""
    return bool(_own_names(experiment))


def trial_digest(experiment: ExperimentSettings, source: str) -> str:
    """Digest of everything that the trial of an experiment depends on."""
    dataset, grid = experiment.dataset, experiment.grid
    path = getattr(dataset, "path", None)
    parts = [
        dataset.canonical_json(),
        experiment.network.canonical_json(),
        [grid.depth, grid.width, grid.init_scale, max(grid.n_train), grid.draws],
        [] if experiment.network.initial_state is None else grid.seeds,
        [experiment.training.dtype, experiment.training.seed],
        experiment.training.optimizer,
        user_file_digest(experiment.network, experiment.training.optimizer),
        [
            [spec, code_file_digest(Path(spec.rpartition(":")[0]))]
            for spec in (*user_kernels(experiment.regression.predictors).values(), dataset.source)
            if is_own(spec)
        ],
        [] if is_own(dataset.source) else file_digest(SOURCES.module_file(dataset.source)),
        [file_digest(file) for file in value_files(experiment)],
        predictors_of("infinite", experiment.regression.predictors),
        [] if path is None else _state(Path(path)),
        [source, sys.version, *(version(name) for name in ("torch", "numpy"))],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _state(path: Path) -> list:
    """A file by its contents; a folder, of official files that are held to their checksums when read, by its stamps."""
    if not path.is_dir():
        return [file_digest(path)]
    files = sorted(file for file in path.iterdir() if file.is_file())
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _own(experiment: ExperimentSettings) -> str:
    return " with ".join(_own_names(experiment))


def _own_names(experiment: ExperimentSettings) -> list[str]:
    """What the user has brought: a network or an activation, kernels, a file of data or a folder of them."""
    code = user_code(experiment.network, experiment.training.optimizer).values()
    path = getattr(experiment.dataset, "path", None)
    kernels = user_kernels(experiment.regression.predictors).values()
    source = [experiment.dataset.source] if is_own(experiment.dataset.source) else []
    return [*code, *kernels, *source, *([path] if path else [])]


def _trials(todo: Mapping[str, ExperimentSettings], found: dict[str, _Result], seconds: float) -> list[str]:
    """Runs trials in one process until all are done, or one has ended it or took too long; returns those seen to."""
    reading, writing = os.pipe()
    settings = {name: experiment.model_dump(mode="json") for name, experiment in todo.items()}
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", "ntk_atlas.study.trial", str(writing)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(writing,),
        env=environment,
    )  # fmt: skip
    os.close(writing)
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        return _heard(process, reading, list(todo), found, seconds)
    finally:
        process.kill()
        process.communicate()
        os.close(reading)


def _heard(
    process: subprocess.Popen, reading: int, names: list[str], found: dict[str, _Result], seconds: float
) -> list[str]:
    done: list[str] = []
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ, "results")
        selector.register(process.stderr, selectors.EVENT_READ, "errors")
        buffer, errors, deadline = b"", b"", time.monotonic() + _SECONDS_TO_START + seconds
        while len(done) < len(names):
            ready = selector.select(max(deadline - time.monotonic(), 0.0))
            current = found[names[len(done)]]
            if not ready:
                current.notices.append(
                    f"not everything was tried before the run: {current.step} takes longer than {seconds:g} s"
                )
                return [*done, names[len(done)]]
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                if key.data == "errors":
                    errors = (errors + chunk)[-4000:]
                    if not chunk:
                        selector.unregister(process.stderr)
                    continue
                if not chunk:
                    current.problems.append((_key_of_a_crash(current), _crash(process, current, errors)))
                    return [*done, names[len(done)]]
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in map(json.loads, lines):
                    _note(found[line["experiment"]], line)
                    if line["kind"] == "begins" and line["text"] == FIRST_STEP:
                        deadline = time.monotonic() + seconds
                    if line["kind"] == "done":
                        done.append(line["experiment"])
    return done


def _note(result: _Result, line: dict) -> None:
    if line["kind"] == "begins":
        result.step = line["text"]
    elif line["kind"] == "problem":
        result.problems.append((line["key"], line["text"]))
    elif line["kind"] == "notice":
        result.notices.append(line["text"])
    elif line["kind"] == "cost":
        result.costs.append(OwnCost(**line["cost"]))


def _key_of_a_crash(result: _Result) -> str:
    keys = {
        FIRST_STEP: "dataset", "network factory ": "network.factory", "activation ": "network.activation",
        "parameterization ": "network.parameterization", "optimizer ": "training.optimizer",
        "kernel ": "regression.predictors",
    }  # fmt: skip
    return next((key for begin, key in keys.items() if result.step.startswith(begin)), "network")


def _crash(process: subprocess.Popen, result: _Result, errors: bytes) -> str:
    try:
        status = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        status = None
    how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
    of_this_step = errors.rpartition(STEP_MARK)[2].decode(errors="replace")
    last = next((line for line in reversed(of_this_step.splitlines()) if line.strip()), "")
    said = f"; its last words: {last.strip()}" if last else ""
    return f"{result.step} ended the process that tried it ({how}): your code must not end its process{said}"
