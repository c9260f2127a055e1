"""Why a job would run again, in words: what it depended on before beside what it depends on now."""

import json
import re
from collections.abc import Iterable, Iterator

from ntk_atlas.jobs.parts.slice import CONTENTS, FOUND
from ntk_atlas.source_digest import SourceMemory, changed_files

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
