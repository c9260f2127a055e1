"""A config whose values know their file and line, and its problems as sentences: where, what is wrong, what to do."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ntk_atlas.config.predictors import PREDICTOR_PATTERN, PREDICTORS
from ntk_atlas.config.study import EXPERIMENT_NAME, section_of
from ntk_atlas.datasets.dataset import DataError, DatasetBase
from ntk_atlas.datasets.sources import SOURCES

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where something stands: a file (or the command line) and a line of it."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class Node:
    """A value of a config.

    Attributes:
        value: a section (dict of nodes by key), a list of nodes, or a scalar.
        place: where its key stands; None for a config that was made in Python.
    """

    value: Any
    place: Place | None = None

    @property
    def is_section(self) -> bool:
        """Whether this is a section: keys with values."""
        return isinstance(self.value, dict)

    def get(self, key: str) -> "Node | None":
        """The value of a key; None if there is none, or this is no section."""
        return self.value.get(key) if self.is_section else None

    def plain(self) -> Any:
        """The value as dicts, tuples and scalars, which is what settings are made of."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return tuple(node.plain() for node in self.value) if isinstance(self.value, list) else self.value

    def path(self, key: Key) -> list["Node"]:
        """The nodes from this one down to `key`, or as far as the config goes."""
        nodes = [self]
        for part in key:
            value = nodes[-1].value
            if isinstance(value, dict) and str(part) in value:
                nodes.append(value[str(part)])
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                nodes.append(value[part])
            else:
                break
        return nodes

    def where(self, key: Key) -> str:
        """Where `key` stands, or the section that lacks it, and which file was laid over it; empty if unknown.

        Args:
            key: of a value of the config, or one that should be there.

        Returns:
            `file, line 3`; with what was laid over the section around it, since that may be what is at fault.
        """
        nodes = self.path(key)
        place = nodes[-1].place
        if place is None:
            return ""
        # Below the root and `experiments`, whose other keys have nothing to do with this one.
        around = nodes[2 if key[:1] == ("experiments",) else 1 : -1]
        later = [node.place for node in around if node.place is not None and node.place.file != place.file]
        return f"{place} (with {later[-1]} laid over it)" if later else str(place)


def tree_of(value: Any, place: Place | None = None) -> Node:
    """The tree of a config that was made of dicts, lists and scalars."""
    if isinstance(value, Mapping):
        return Node({key: tree_of(child, place) for key, child in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([tree_of(child, place) for child in value], place)
    return Node(value, place)


def keys_of(node: Node, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every key of the sections in a tree: where it stands in the tree, and itself."""
    children = node.value.items() if node.is_section else enumerate(node.value if isinstance(node.value, list) else ())
    for part, child in children:
        if node.is_section:
            yield key, part
        yield from keys_of(child, (*key, part))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the key it is about, the sentence that says so, and where that is, if known."""

    key: Key
    message: str
    place: Place | None = None


class ConfigError(ValueError):
    """A config that cannot be used; the message lists all problems found.

    Args:
        problems: what is wrong, or sentences that say so.
        tree: the config, in which the places of keys are looked up.

    Attributes:
        lines: one sentence per problem, with file, line and key.
    """

    def __init__(self, problems: Sequence["Problem | str"], tree: Node | None = None):
        self.lines = [each if isinstance(each, str) else _line(each, tree) for each in problems]
        noun = "problem" if len(self.lines) == 1 else "problems"
        super().__init__("\n  ".join([f"The config has {len(self.lines)} {noun}; nothing was run:", *self.lines]))


def _line(problem: Problem, tree: Node | None) -> str:
    where = str(problem.place) if problem.place is not None else "" if tree is None else tree.where(problem.key)
    parts = [where, ".".join(map(str, problem.key)), problem.message]
    return ": ".join(part for part in parts if part)


def validation_problems(error: ValidationError, config: dict, model: type[BaseModel]) -> list[Problem]:
    """Translates pydantic's errors on `config` into problems, one a key.

    Args:
        error: what validating `config` against `model` raised.
        config: the raw config.
        model: the root settings class, in which the names of known keys are looked up.

    Returns:
        The problems, in the order of the config.
    """
    messages: dict[Key, list[tuple[int, str]]] = {}
    errors = [(item, _key_in_config(item["loc"], config, item["type"])) for item in error.errors(include_url=False)]
    for item, key in errors:
        below = any(len(other) > len(key) and other[: len(key)] == key for _, other in errors)
        if item["type"] == "too_short" and below:
            continue  # pydantic does not count values that it refused
        sentence = _sentence(item, key, config, model)
        if sentence not in messages.setdefault(key, []):
            messages[key].append(sentence)
    problems = []
    for key, sentences in messages.items():
        # Of a key that may be several things: its own bound says enough, or what tells how to write it.
        most = max(tells for tells, _ in sentences)
        problems.append(Problem(key, "; or: ".join(text for tells, text in sentences if tells == most)))
    return problems


def _sentence(item: Any, key: Key, config: dict, model: type[BaseModel]) -> tuple[int, str]:
    """A sentence for one error, and how much it tells: how to write the value (1), which bound it breaks (2)."""
    value, ctx = item["input"], item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return 1, "unknown key; " + did_you_mean(str(key[-1]), _known_keys(model, key[:-1], config))
        case "missing":
            return 1, "is required: add it"
        case "value_error":
            return 1, str(ctx["error"])
        case "too_short":
            least = ctx.get("min_length", 1)
            many = "one value" if least == 1 else f"{least} values"
            return 1, f"{'is empty' if not ctx.get('actual_length') else 'is too short'}: give at least {many}"
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in ctx["expected_tags"].split(",")]
            hint = _close(str(ctx["tag"]), tags)
            return 1, f"source is {ctx['tag']!r}: it must be one of {', '.join(tags)}{hint}"
        case "union_tag_not_found":
            return 1, f"has no `source`: add one of {', '.join(_sources(model, key, config))}, or my_data.py:name"
        case "string_pattern_mismatch":
            return 1, _not_a_name(str(value), ctx["pattern"])
        case "literal_error":
            close = _close(value, re.findall(r"'([^']*)'", ctx["expected"]))
            return 1, f"input should be {ctx['expected']} (it is {_shown(value)}){close}"
        case "int_type" | "float_type":
            kind = "a valid integer" if item["type"] == "int_type" else "a valid number"
            hint = number_hint(value, whole=item["type"] == "int_type")
            return int(bool(hint)), f"input should be {kind} (it is {_shown(value)}){hint and f': {hint}'}"
        case "bool_type":
            hint = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
            word = hint.get(str(value).lower()) if isinstance(value, str) else {0: "false", 1: "true"}.get(value)
            return int(bool(word)), f"input should be true or false (it is {_shown(value)})" + (
                f": write {word}" if word else ""
            )
        case "string_type":
            number = isinstance(value, bool | int | float)
            return int(number), f"input should be text (it is {_shown(value)})" + (
                f": write '{_shown(value)}'" if number else ""
            )
        case "tuple_type" | "list_type":
            return int(_list_hint(value) != ""), f"input should be a list (it is {_shown(value)}){_list_hint(value)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            known = _known_keys(model, key, config) if item["type"] != "dict_type" else []
            if "source" in known:
                source = value if value in (sources := _sources(model, key, config)) else sources[0]
                return 1, f"input should be a section (it is {_shown(value)}): write {{source: {source}}}"
            keys = f", with keys such as {', '.join(known[:6])}" if known else ""
            return 1, f"input should be a section (it is {_shown(value)}){keys}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal" | "finite_number":
            return 2, _bound_broken(item)
        case _:
            return 0, f"{item['msg'][0].lower()}{item['msg'][1:]} (it is {_shown(value)})"


def _bound_broken(item: Any) -> str:
    """What a number is beyond; the number in a readable form."""
    bounds = [bound for name, bound in item.get("ctx", {}).items() if name in ("gt", "ge", "lt", "le")]
    words = item["msg"].rsplit(" ", 1)[0] if bounds else item["msg"]
    bound = "".join(f" {each:,}" if isinstance(each, int) else f" {each:g}" for each in bounds)
    return f"{words[0].lower()}{words[1:]}{bound} (it is {_shown(item['input'])})"


def _shown(value: Any) -> str:
    """A value as a config has it, cut to a readable length."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def number_hint(value: Any, *, whole: bool) -> str:
    """How to write a number that stands in a config as something else; empty if there is nothing to say.

    Args:
        value: what is there.
        whole: whether an integer is wanted.

    Returns:
        A piece of a sentence.
    """
    if isinstance(value, bool):
        return "write a number"
    if isinstance(value, float):
        return f"write {int(value)}" if whole and value.is_integer() and abs(value) < 1e15 else ""
    if not isinstance(value, str):
        return ""
    word = value.strip()
    if re.fullmatch(r"[-+]?0[0-9]+", word):
        return f"write {int(word)}, without leading zeros, which readers of YAML take for an octal number"
    if re.fullmatch(r"[-+]?[0-9]+(:[0-9]+)+", word):
        return "some readers of YAML take it for a number to the base 60: write a number in digits"
    if re.fullmatch(r"[-+]?0[xob][0-9a-fA-F_]+", word):
        try:
            return f"write {int(word, 0)}"
        except ValueError:
            return ""
    if re.fullmatch(r"[-+]?[0-9]+(_[0-9]+)+", word):
        return f"write {int(word)}"
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", word):
        return f"write {word.replace(',', '.')}, with a point, or a list in brackets"
    if word.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false"):
        return "write a number"
    try:
        number = float(word)
    except ValueError:
        return ""
    return f"write {word} without quotes" if not whole or number.is_integer() else ""


def _list_hint(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return f": write a list, [{value:g}]" if isinstance(value, float) else f": write a list, [{value}]"
    if isinstance(value, str):
        span = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-|\.\.|:)\s*([0-9]{1,6})\s*", value)
        numbers = list(range(int(span[1]), int(span[2]) + 1)) if span and int(span[1]) <= int(span[2]) else []
        if 0 < len(numbers) <= 12:
            return f": write a list, {numbers}"
        words = [word for word in re.split(r"[,;\s]+", value.strip()) if word]
        return f": write a list, [{', '.join(words)}]"
    return ""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """What a word may have been meant for, and what there is."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or [name for name in known if name.startswith(word)]
    hint = f"did you mean `{close[0]}`? " if close and word else ""
    return f"{hint}known here: {', '.join(known)}" if known else f"{hint}remove it"


def _close(word: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f": did you mean `{close[0]}`?" if close else ""


def _not_a_name(value: str, pattern: str) -> str:
    """Why a text is no name of the kind that a pattern describes."""
    if pattern == PREDICTOR_PATTERN:
        known = [re.sub(r"\(.*\)", "<number>", family.pattern) for family in PREDICTORS]
        known.append("my_kernel.py:k")
        return f"there is no predictor {value!r}; {did_you_mean(value, known)}"
    if pattern == EXPERIMENT_NAME:
        return f"{value!r} cannot be a name: write letters, digits, _ and -, the first a letter or a digit, at most 100"
    if ".py:" in pattern or r"\.py:" in pattern:
        return f"a function of your own, `my_file.py:function` (it is {value!r})"
    return f"{value!r} does not have the form {pattern}"


def _key_in_config(loc: Key, config: Any, kind: str) -> Key:
    """Drops the parts of pydantic's location that are tags of unions and not keys of the config."""
    key: list[str | int] = []
    for position, part in enumerate(loc):
        if isinstance(config, dict) and part in config:
            config = config[part]
        elif isinstance(config, (list, tuple)) and isinstance(part, int) and part < len(config):
            config = config[part]
        elif not (kind in {"missing", "extra_forbidden"} and position == len(loc) - 1):
            continue
        key.append(part)
    return tuple(key)


def _known_keys(model: type[BaseModel], key: Key, config: Any) -> list[str]:
    """Names of the fields of the section at `key`, following unions by their `source`."""
    models, _ = _models_at(model, key, config)
    return sorted({name for candidate in models for name in _fields(candidate)})


def _sources(model: type[BaseModel], key: Key, config: Any) -> list[str]:
    """The values that `source` can have in the section at `key`."""
    models, _ = _models_at(model, key, config, by_source=False)
    fields = [candidate.model_fields.get("source") for candidate in models]
    return [str(field.default) for field in fields if field is not None]


def _models_at(
    model: type[BaseModel], key: Key, config: Any, *, by_source: bool = True
) -> tuple[list[type[BaseModel]], Any]:
    annotation: Any = model
    for part in key:
        candidates = _models(annotation, config)
        config = config.get(part) if isinstance(config, dict) else None
        named = [_fields(c)[part].annotation for c in candidates if part in _fields(c)]
        annotation = named[0] if named else annotation
    return _models(annotation, config if by_source else None), config


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names they have in a config."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any, config: Any) -> list[type[BaseModel]]:
    if annotation is DatasetBase:
        source = config.get("source") if isinstance(config, dict) else None
        with suppress(DataError):
            return [section_of(source)] if isinstance(source, str) else [section_of(name) for name in SOURCES.names()]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument, config)]
