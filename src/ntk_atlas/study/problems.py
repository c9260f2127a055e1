"""Problems of a config as sentences: which file and line, which key, what is wrong, what to do."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Key = tuple[str | int, ...]


class ConfigError(ValueError):
    """A config that cannot be used; the message lists all problems found."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the key it is about and the sentence that says so."""

    key: Key
    message: str


def validation_problems(error: ValidationError, config: dict, model: type[BaseModel]) -> list[Problem]:
    """Translates pydantic's errors on `config` into problems, one a key.

    Args:
        error: what validating `config` against `model` raised.
        config: the raw config.
        model: the root settings class, in which the names of known keys are looked up.

    Returns:
        The problems, in the order of the config.
    """
    messages: dict[Key, list[str]] = {}
    for item in error.errors(include_url=False):
        key = _key_in_config(item["loc"], config, item["type"])
        sentence = _sentence(item, key, config, model)
        if sentence not in messages.setdefault(key, []):
            messages[key].append(sentence)
    return [Problem(key, "; or: ".join(sentences)) for key, sentences in messages.items()]


def render(problems: Sequence[Problem], files: Sequence[Path], preset: str | None = None) -> str:
    """All problems as one text, each with the last file (and its line) that holds the key.

    Args:
        problems: what is wrong.
        files: the config files in the order in which they were merged.
        preset: the preset laid over them, in which keys are looked up too.

    Returns:
        A headline and a line a problem.
    """
    trees = [(file, yaml.compose(file.read_text())) for file in files if file.suffix in {".yaml", ".yml"}]
    lines = [f"  {_place(problem.key, trees, preset)}: {problem.message}" for problem in problems]
    noun = "problem" if len(problems) == 1 else "problems"
    return "\n".join([f"The config has {len(problems)} {noun}; nothing was run:", *lines])


def _sentence(item: Any, key: Key, config: dict, model: type[BaseModel]) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "unknown key; " + _did_you_mean(str(key[-1]), _known_keys(model, key[:-1], config))
        case "missing":
            return "is required: add it"
        case "value_error":
            return str(item["ctx"]["error"])
        case "too_short":
            return "is empty: give at least one value"
        case "union_tag_invalid":
            return f"source is {item['ctx']['tag']!r}: it must be one of {item['ctx']['expected_tags']}"
        case "union_tag_not_found":
            return "has no `source`: add one of digits, diabetes, teacher, file"
        case "string_pattern_mismatch":
            return f"{item['input']!r} is not one of the names described in config/README.md"
        case _:
            return f"{item['msg'][0].lower()}{item['msg'][1:]} (it is {item['input']!r})"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f"did you mean `{close[0]}`? " if close else ""
    return f"{hint}known here: {', '.join(known)}" if known else f"{hint}remove it"


def _key_in_config(loc: Key, config: Any, kind: str) -> Key:
    """Drops the parts of pydantic's location that are tags of unions and not keys of the config."""
    key: list[str | int] = []
    for position, part in enumerate(loc):
        if isinstance(config, dict) and part in config:
            config = config[part]
        elif isinstance(config, (list, tuple)) and isinstance(part, int):
            config = config[part]
        elif not (kind in {"missing", "extra_forbidden"} and position == len(loc) - 1):
            continue
        key.append(part)
    return tuple(key)


def _known_keys(model: type[BaseModel], key: Key, config: Any) -> list[str]:
    """Names of the fields of the section at `key`, following unions by their `source`."""
    annotation: Any = model
    for part in key:
        candidates = _models(annotation, config)
        config = config.get(part) if isinstance(config, dict) else None
        named = [_fields(c)[part].annotation for c in candidates if part in _fields(c)]
        annotation = named[0] if named else annotation
    return sorted({name for candidate in _models(annotation, config) for name in _fields(candidate)})


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names they have in a config."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any, config: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [model for argument in get_args(annotation) for model in _models(argument, config)]
    source = config.get("source") if isinstance(config, dict) else None
    tagged = [m for m in found if "source" in m.model_fields and m.model_fields["source"].default == source]
    return tagged or found


def _place(key: Key, trees: Sequence[tuple[Path, yaml.Node | None]], preset: str | None) -> str:
    best, place = -1, ""
    for file, tree in trees:
        for prefix in ((),) if preset is None else ((), ("presets", preset)):
            depth, line = _deepest(tree, (*prefix, *key))
            if depth - len(prefix) >= best:
                best, place = depth - len(prefix), f"{file}" + (f", line {line}" if depth else "")
    dotted = ".".join(str(part) for part in key)
    return f"{place}: {dotted}" if place else dotted


def _deepest(node: yaml.Node | None, key: Key) -> tuple[int, int]:
    """How many parts of `key` the file has, and the line of the last of them."""
    depth, line = 0, 1
    for part in key:
        if isinstance(node, yaml.MappingNode):
            children = {name.value: (name, child) for name, child in node.value}
            if str(part) not in children:
                break
            name, node = children[str(part)]
            line = name.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
        depth += 1
    return depth, line
