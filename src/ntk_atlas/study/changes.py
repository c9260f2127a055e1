"""Why a job would run again, in words: what it depended on before beside what it depends on now."""

import json
import re
from collections.abc import Iterable, Iterator

from ntk_atlas.source_digest import SourceMemory, changed_files

_SECTIONS = {
    "sample_initial_kernels": "dispersion",
    "fit_scaling_laws": "scaling",
    "plot_figure": "figures",
    "plot_claims": "figures",
    "summarize_cube": "training",
}
"""Rules whose spec is one section of the config, or has its other keys there."""
_KEYS = {
    "network_seed": "training.seed",
    "dtype": "training.dtype",
    "seeds_per_unit": "training.seeds_per_unit",
    "solve": "regression",
    "variants": "kernel_variants",
    "predictors": "regression.predictors",
    "kernels": "regression.predictors",
    "user_kernels": "regression.predictors",
    "kernel_digests": "a kernel's file in regression.predictors",
    "predictor_center": "regression.predictor_center",
    "epoch_sizes": "regression.epoch_n_train",
    "kernel_dtype": "regression.kernel_dtype",
    "on_test": "regression.predictors",
    "initial_output": "training.initial_output",
    "target_scale": "training.target_scale",
    "factory_digest": "a file of the network's code, or one that it imports",
    "activation_digest": "a file of the network's code, or one that it imports",
    "optimizer_digest": "the file of training.optimizer, or one that it imports",
    "file_digest": "the file of dataset.path",
}
"""Keys of specs that have another name in the config."""
_GRID = ("depth", "width", "init_scale", "n_train", "draws", "seeds")
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
    specs = [next((json.loads(p) for p in params if _is_spec(p)), None) for params in (old, new)]
    said = list(spec_changes(rule, *specs)) if None not in specs else []
    digests = [[p for p in params if isinstance(p, str) and _DIGEST.fullmatch(p)] for params in (old, new)]
    of_code = [digest for digest in digests[1] if memory.parts(digest) is not None]
    if of_code:
        said.append(_code_changed(*digests, memory))
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


def spec_changes(rule: str, before: dict, now: dict) -> Iterator[str]:
    """What differs between two specs of a rule, key by key in the words of the config."""
    old, new = dict(_flat(before)), dict(_flat(now))
    for path in sorted(old.keys() | new.keys()):
        was, is_ = old.get(path), new.get(path)
        if was == is_ and (path in old) == (path in new):
            continue
        key = config_key(rule, path)
        if "file of" in key:
            yield f"{key} has other contents"
        elif path not in old:
            yield f"{key}: {_short(is_)} (new)"
        elif path not in new:
            yield f"{key}: no longer there"
        else:
            yield f"{key}: {_difference(was, is_)}"


def config_key(rule: str, path: str) -> str:
    """The key of the config, in its experiment, that a key of a rule's spec has its value from."""
    first, _, rest = path.partition(".")
    of_other_sections = rule == "sample_initial_kernels" and first in ("network", "init_scale", "activation_digest")
    if rule in _SECTIONS and not of_other_sections:
        return f"{_SECTIONS[rule]}.{path}"
    key = f"grid.{first}" if first in _GRID else _KEYS.get(first, first)
    return f"{key}.{rest}" if rest else key


def _flat(value: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
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
