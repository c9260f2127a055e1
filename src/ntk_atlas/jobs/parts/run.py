"""Runs one job, which writes a file that says what it was made with; jobs that read the file hold that against theirs.

What differs is said in words.
"""

import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ntk_atlas.arrays import LabelledArrays, join, made_again_if_lost, read_labelled, write_labelled
from ntk_atlas.config.base import canonical_json
from ntk_atlas.datasets.dataset import Dataset, DatasetBase
from ntk_atlas.datasets.store import load_dataset
from ntk_atlas.jobs import Given, Job
from ntk_atlas.jobs.parts.finished import row_grid
from ntk_atlas.jobs.parts.slice import CONTENTS, FOUND, Slice, Unit
from ntk_atlas.provenance import SourceMemory, changed_files

_FOUND = {"files": "the file of dataset.path", "shares": "disjoint draws, in shares of the data"}
"""What is looked up for jobs, in words."""
_DIGEST = re.compile(r"[0-9a-f]{16}")
_LONGEST = 60


def param_changes(rule: str, before: Iterable[object], now: Iterable[object], memory: SourceMemory) -> list[str]:
    """What changed in the parameters of a job.

    Args:
        rule: its rule.
        before: parameters that only the earlier run had: specs (JSON text), digests of code or of thresholds, others.
        now: parameters that only this run has.
        memory: what is known of digests of code.

    Returns:
        A sentence a change: `training.max_epochs: 4 → 5`, `code of ... changed`.
    """
    old, new = list(before), list(now)
    was, is_ = (next((json.loads(str(p)) for p in params if _is_spec(p)), None) for params in (old, new))
    said = list(spec_changes(was, is_)) if was is not None and is_ is not None else []
    digests = [[p for p in params if isinstance(p, str) and _DIGEST.fullmatch(p)] for params in (old, new)]
    of_code = [digest for digest in digests[1] if memory.parts(digest) is not None]
    if of_code:
        said.append(_code_changed(digests[0], digests[1], memory))
    if rule == "assemble_cube" and len(of_code) < len(digests[1]):
        said.append("the thresholds of the claims")
    others = [
        [p for p in params if not _is_spec(p) and p not in known]
        for params, known in zip((old, new), digests, strict=True)
    ]
    if others != [[], []]:
        said.append(f"{_short(others[0])} → {_short(others[1])}")
    return said


def _code_changed(before: list[str], now: list[str], memory: SourceMemory) -> str:
    files = changed_files(before, now, memory)
    return f"code: {', '.join(files)}" if files else "code (it was computed before it was recorded by which)"


def _is_spec(param: object) -> bool:
    return isinstance(param, str) and param.startswith("{")


def spec_changes(before: dict[str, object], now: dict[str, object]) -> Iterator[str]:
    """What differs between two slices of a rule, key by key as the config has them."""
    old, new = dict(_flat(before)), dict(_flat(now))
    for path in sorted(old.keys() | new.keys()):
        was, is_ = old.get(path), new.get(path)
        if was == is_ and (path in old) == (path in new):
            continue
        part, _, key = path.partition(".")
        if part == CONTENTS:
            yield f"the file of {key}, or one that it imports, has other contents"
        elif part == FOUND and isinstance(was, str) and isinstance(is_, str):
            yield f"{_FOUND.get(key, key)} has other contents"
        elif part == FOUND:
            yield f"{_FOUND.get(key, key)}: {_difference(was, is_)}"
        elif path not in old:
            yield f"{path}: {_short(is_)} (new)"
        elif path not in new:
            yield f"{path}: no longer there"
        else:
            yield f"{path}: {_difference(was, is_)}"


def _flat(value: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _difference(before: object, now: object) -> str:
    if isinstance(before, list) and isinstance(now, list):
        added, removed = [v for v in now if v not in before], [v for v in before if v not in now]
        words = [f"{_short(v)} {w}" for v, w in ((added, "added"), (removed, "removed")) if v]
        return ", ".join(words) or "another order"
    return f"{_short(before)} → {_short(now)}"


def _short(value: object) -> str:
    if isinstance(value, list):
        text = ", ".join(_short(item) for item in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


_MOST = 4
"""Differences that are named."""


class OtherSettingsError(ValueError):
    """A file was made with other settings or data, or by a version that did not say with which."""


def check_made_with(
    path: Path, attributes: Mapping[str, object], spec: Slice | str, data_digest: str | None = None
) -> None:
    """Checks that a file says it was made with these settings and data.

    Args:
        path: the file.
        attributes: what it says: `spec`, the canonical JSON of its job's spec, and `data_digest`.
        spec: the spec that its job has now.
        data_digest: digest of the data; None if the file depends on none, or they are not known.

    Raises:
        OtherSettingsError: naming the file and what differs.
    """
    what_to_do = "delete it and run again, which makes it anew"
    wanted, found = spec if isinstance(spec, str) else spec.canonical_json(), attributes.get("spec")
    if found is None:
        raise OtherSettingsError(f"{path} does not say what it was made with; an older version wrote it: {what_to_do}")
    if found != wanted:
        changes = sorted(spec_changes(json.loads(str(found)), json.loads(wanted)), key=lambda change: "→" not in change)
        named = "; ".join(changes[:_MOST]) + (f"; {len(changes) - _MOST} more" if len(changes) > _MOST else "")
        raise OtherSettingsError(
            f"{path} was made with other settings than this experiment has (there → here: {named}), so it was put here "
            f"from another one: {what_to_do}"
        )
    if data_digest is not None and attributes.get("data_digest") != data_digest:
        raise OtherSettingsError(f"{path} was made with other data than dataset.nc beside it: {what_to_do}")


def check_row(path: Path, attributes: Mapping[str, object], spec: Slice, data_digest: str | None = None) -> None:
    """Checks that the file of a row is of the networks that a spec is about, by all keys that both specs have.

    Args:
        path: the file: of the networks themselves, or of what another stage made of them.
        attributes: what it says of itself.
        spec: its job's, or the spec of a job that reads the file.
        data_digest: digest of the data; None if it is not known.

    Raises:
        OtherSettingsError: naming the file and what differs.
    """
    found, wanted = dict(attributes), spec.settings()
    if "spec" in found:
        there = json.loads(str(found["spec"]))
        found["spec"], wanted = canonical_json(_shared(there, wanted)), _shared(wanted, there)
    check_made_with(path, found, canonical_json(wanted), data_digest)


def _shared(settings: Mapping[str, object], others: Mapping[str, object]) -> dict[str, object]:
    """The settings that others have too, at any depth."""
    return {
        key: _shared(value, other) if isinstance(value, dict) and isinstance(other := others[key], dict) else value
        for key, value in settings.items()
        if key in others
    }


def load_prepared(path: Path, settings: DatasetBase) -> tuple[Dataset, str]:
    """A prepared data set and its digest.

    Args:
        path: what `prepare_dataset` wrote.
        settings: those that it must have been prepared with.

    Returns:
        The data, and the digest of their contents.

    Raises:
        DataError: if it is damaged.
        OtherSettingsError: if it was prepared with other settings.
    """
    dataset = load_dataset(path)
    attributes = dict(read_labelled(path, ()).attributes)
    if "spec" in attributes:
        attributes["spec"] = canonical_json({"dataset": json.loads(str(attributes["spec"])).get("dataset")})
    wanted = canonical_json({"dataset": json.loads(settings.canonical_json())})
    check_made_with(path, attributes, wanted)
    return dataset, str(attributes["digest"])


def run_job(
    job: Job,
    part: Slice,
    inputs: Mapping[str, Path],
    output: Path,
    *,
    units: Path = Path(),
    source: str = "",
    save_every: float = 60.0,
    memory: int | None = None,
) -> None:
    """Runs one job.

    Args:
        job: its kind.
        part: the slice of the config that it reads.
        inputs: the files that it is made of, by what they are: `dataset`, `networks`.
        output: its file.
        units: folder of the finished units of all stages.
        source: digest of the code that units depend on.
        save_every: seconds after which the state of a training under way is written.
        memory: bytes that kernels may take; None for what is free.
    """
    work = importlib.import_module(f"ntk_atlas.jobs.{job.name}")
    if job.kind == "dataset":
        from ntk_atlas.datasets.store import save_dataset

        save_dataset(work.prepare_dataset(part), output)
        return
    from ntk_atlas.numerics import memory_limited, precise_math  # torch, which reading data does without

    given, written = Given(None, units=units, source=source, save_every=save_every), {}  # type: ignore[arg-type]
    if "dataset" in inputs:
        dataset, data_digest = load_prepared(inputs["dataset"], part.dataset)
        given = replace(given, dataset=dataset, data_digest=data_digest)
        written["data_digest"] = data_digest
    with precise_math(threads=job.threads(part)), memory_limited(memory) if memory else nullcontext():
        if job.per.wildcard == "row":
            arrays = _row(work.compute, part, given, inputs.get("networks"))
        else:
            arrays = work.compute(part, given)
    write_labelled(arrays.with_attributes(**written), output)


def _row(
    compute: Callable[[Slice, Given], LabelledArrays], part: Slice, given: Given, networks: Path | None
) -> LabelledArrays:
    """Each init scale of a row, joined."""
    trained: Mapping[float, dict[Unit, str]] = {}
    if networks is not None:
        row = read_labelled(networks, ("init_scale", "n_train", "draw", "unit_digest"))
        check_row(networks, row.attributes, part, given.data_digest)
        trained = recorded_digests(row)
    parts = {}
    for scale, of_scale in part.per_init_scale().items():
        given_scale = replace(given, trained=trained.get(scale, {}))
        if networks is None:
            parts[scale] = compute(of_scale, given_scale)
            continue
        with made_again_if_lost(networks):
            parts[scale] = compute(of_scale, given_scale)
    return join_row(part, parts)


def join_row(part: Slice, parts: Mapping[float, LabelledArrays]) -> LabelledArrays:
    """The file of a whole row.

    Args:
        part: of a row, with all its init scales.
        parts: what there is at each init scale.

    Returns:
        Arrays with `init_scale` as their first dimension, coordinates without it.

    Raises:
        ValueError: if the parts are not those of the row, or have labels that the row does not.
    """
    if tuple(parts) != part.grid.init_scale:
        raise ValueError(f"{part.row.name} is joined of init scales {list(parts)}: give its own, in order")
    joined = join([arrays.at(init_scale=scale) for scale, arrays in parts.items()], row_grid(part))
    return joined.with_attributes(row=part.row.name, spec=part.canonical_json())


def recorded_digests(row: LabelledArrays) -> dict[float, dict[Unit, str]]:
    """The digest of each training in a row's file at each init scale, as `train_networks` recorded it."""
    return {
        float(scale): {
            Unit(int(n), int(draw)): str(row["unit_digest"][s, i, j])
            for i, n in enumerate(row["n_train"])
            for j, draw in enumerate(row["draw"])
        }
        for s, scale in enumerate(row["init_scale"])
    }
