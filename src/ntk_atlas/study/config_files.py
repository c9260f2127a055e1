"""The only reader of config files: YAML and JSON in which every value is what it looks like.

Numbers are those of YAML 1.2 and JSON. Text that other readers take for something else (`010`, `1:30`, `1_000`, `yes`,
`2024-01-01`) stays text here, which no number is made of; keys that they would not take for text are refused. Nothing
in a file is run: no tags, no templates.

Thresholds of claims and of regimes are files apart from the networks that they judge.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import ClaimError, RegimeThresholds, Thresholds, thresholds_model, thresholds_of
from ntk_atlas.study.problems import ConfigError, Key, Node, Place, Problem, validation_problems

_LARGEST_FILE = 4 * 2**20
_MOST_VALUES = 20_000
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Composes nodes; plain words become null, true, false or a number as in YAML 1.2, everything else is text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to declare them


_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("merge", "<<", "<"),
)
for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"^(?:{_pattern})$"), [*_first, *([""] * (_name == "null"))]
    )
_HERE, _ELSEWHERE = _Loader(""), yaml.SafeLoader("")
"""What a plain word is here, and what readers of YAML 1.1 take it for."""


def read_config(file: Path) -> Node:
    """Reads a config file.

    Args:
        file: YAML or JSON, in UTF-8.

    Returns:
        Its sections, each value with the line it stands in.

    Raises:
        ConfigError: if it cannot be read, is not YAML, has no sections, or says something twice or in a way that
            readers of YAML understand differently; all problems at once, each with its line.
    """
    return parse_config(_text(file), str(file))


def parse_config(text: str, name: str) -> Node:
    """Reads the text of a config file, which messages call `name`.

    Args:
        text: YAML or JSON.
        name: of the file.

    Returns:
        As `read_config`.

    Raises:
        ConfigError: as `read_config`.
    """
    try:
        root = _composed(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            _said(Place(name, line), f"has the character U+{error.character:04X}, which may not stand in YAML")
        ) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_said(*_cause(error, name))) from None
    except RecursionError:
        raise ConfigError(_said(Place(name), "its brackets are nested too deeply to be read")) from None
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _TAG + "null"):
        raise ConfigError(_said(Place(name), "is empty: write the sections of a config into it, or `{}` for none"))
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise ConfigError(
            _said(Place(name, root.start_mark.line + 1), f"is {kind}: write sections, such as `experiments:`")
        )
    builder = _Builder(name)
    tree = builder.build(root, Place(name, 1), ())
    if builder.problems:
        raise ConfigError(builder.problems)
    return tree


def tree_of_values(values: Mapping[str, Any]) -> Node:
    """The tree of values from the command line (`--config key=value`), whose words are numbers if they look like it.

    Args:
        values: as Snakemake reads them: scalars, or sections and lists of text.

    Returns:
        The tree; a value of a key at the root stays text, as all such keys are.
    """

    def tree(value: Any, place: Place) -> Node:
        if isinstance(value, Mapping):
            return Node({str(key): tree(child, place) for key, child in value.items()}, place)
        if isinstance(value, list):
            return Node([tree(child, place) for child in value], place)
        return Node(_scalar(value) if isinstance(value, str) else value, place)

    sections = {}
    for key, value in values.items():
        place = Place(f"--config {key}=...")
        whole = isinstance(value, Mapping | list)
        sections[key] = tree(value, place) if whole else Node(None if value is None else str(value), place)
    return Node(sections, Place("--config"))


def _text(file: Path) -> str:
    place = Place(str(file))
    try:
        if file.is_file() and file.stat().st_size <= _LARGEST_FILE:
            data = file.read_bytes()
        else:
            raise ConfigError(_said(place, _no_config(file)))
    except OSError as error:
        message = f"cannot be read ({error.strerror}): make it readable, or correct the path"
        raise ConfigError(_said(place, message)) from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        raise ConfigError(_said(place, "is not UTF-8 text (it looks like UTF-16): save it as UTF-8"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = Place(str(file), data.count(b"\n", 0, error.start) + 1)
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise ConfigError(_said(at, message)) from None


def _no_config(file: Path) -> str:
    """Why a path is not that of a config."""
    if file.is_dir():
        return "is a folder: name a file"
    if file.is_file():
        return f"has {file.stat().st_size / 2**20:.0f} MiB, too much for a config: correct the path"
    if file.exists():
        return "is no file that can be read twice, as a config is: write it into a file"
    return f"there is no config of this name (relative to {Path.cwd()}): correct the path"


def _composed(text: str) -> yaml.Node | None:
    try:
        json.loads(text)
        text = text.replace("\t", " ")  # JSON may be indented by tabs, and has none elsewhere
    except (ValueError, RecursionError):
        pass
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _said(place: Place, message: str) -> list[Problem]:
    return [Problem((), message, place)]


def _cause(error: yaml.MarkedYAMLError, name: str) -> tuple[Place, str]:
    mark = error.problem_mark or error.context_mark
    place = Place(name, None if mark is None else mark.line + 1)
    said = " ".join(part for part in (error.context, error.problem) if part)
    if "'\\t'" in said or (mark is not None and mark.buffer and mark.buffer[mark.pointer : mark.pointer + 1] == "\t"):
        return place, "has a tab where YAML wants spaces: indent by spaces"
    if "expected a single document" in said:
        return place, "a second document begins (`---`), and a config is one: remove that line, or make two files"
    return place, f"is not YAML: {said}"


def _scalar(word: str) -> Any:
    """A plain word as what it looks like: null, true or false, a number, or text."""
    tag = _HERE.resolve(yaml.ScalarNode, word, (True, False)).removeprefix(_TAG)
    if tag == "merge":
        return word
    return _value(tag, word)


def _value(tag: str, word: str) -> Any:
    """The value of a word of one of the types of YAML 1.2.

    Raises:
        ValueError: if the word is not of the type.
    """
    patterns = [pattern for name, pattern, _ in _SCALARS if name == tag]
    if patterns and not any(re.fullmatch(pattern, word) for pattern in patterns):
        raise ValueError
    match tag:
        case "null":
            return None
        case "bool":
            return word.lower() == "true"
        case "int":
            return int(word)
        case "float":
            return float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return _joined_surrogates(word)


def _joined_surrogates(word: str) -> str:
    """JSON writes a character beyond the first plane as two escapes; half of one is no character (ValueError)."""
    return word.encode("utf-16", "surrogatepass").decode("utf-16")


class _Builder:
    """Makes the tree of composed nodes, and collects what is wrong with them."""

    def __init__(self, name: str):
        self.name = name
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._values = 0

    def build(self, node: yaml.Node, place: Place, key: Key) -> Node:
        """The tree below a node, whose key stands at `place`."""
        self._values += 1
        if id(node) in self._open or self._values > _MOST_VALUES:
            why = (
                "contains itself"
                if id(node) in self._open
                else f"makes more than {_MOST_VALUES:,} values of the config"
            )
            self._problem(place.line, key, f"an alias {why}: remove it")
            return Node(None, place)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                self._check_tag(node, "map", key)
                items = self._items(node, key)
                return Node({name: self.build(child, at, (*key, name)) for name, (at, child) in items.items()}, place)
            if isinstance(node, yaml.SequenceNode):
                self._check_tag(node, "seq", key)
                children = enumerate(node.value)
                return Node([self.build(child, self._place(child), (*key, i)) for i, child in children], place)
            return Node(self._scalar(node, key), place)
        finally:
            self._open.discard(id(node))

    def _items(self, node: yaml.MappingNode, key: Key) -> dict[str, tuple[Place, yaml.Node]]:
        """Keys and values of a section; what `<<` brings in lies under its own keys."""
        own, merged = {}, {}
        merges = None
        for name_node, child in node.value:
            at = self._place(name_node)
            if name_node.tag == _TAG + "merge":
                if merges is not None:
                    self._problem(
                        at.line, key, f"`<<` stands here twice, first in line {merges.line}: write `<<: [*a, *b]`"
                    )
                merges = at
                merged = self._merged(child, at, key) | merged
                continue
            name = self._key_name(name_node, key)
            if name is None:
                continue
            if name in own:
                first = own[name][0].line
                where = f"first in line {first}" if first != at.line else "both times in this line"
                self._problem(
                    at.line, (*key, name), f"stands here twice, {where}: remove one, since only one would count"
                )
            own[name] = (at, child)
        return merged | own

    def _merged(self, node: yaml.Node, place: Place, key: Key) -> dict[str, tuple[Place, yaml.Node]]:
        sections = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = {}
        for section in reversed(sections):  # the first of several wins
            if not isinstance(section, yaml.MappingNode) or id(section) in self._open:
                self._problem(
                    place.line, key, "`<<` takes an alias of another section, `<<: *name`, or a list of aliases"
                )
                continue
            self._open.add(id(section))
            found |= self._items(section, key)
            self._open.discard(id(section))
        return found

    def _key_name(self, node: yaml.Node, key: Key) -> str | None:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            self._problem(line, key, "a key is a list or a section: write a word")
            return None
        if node.style is None and not node.value:
            self._problem(line, key, "a key is missing before `:`: write one")
            return None
        if not key and node.value == "__use_yte__":
            self._problem(line, (), "`__use_yte__` makes a template of the file, which runs code: remove it")
        known_as = _ELSEWHERE.resolve(yaml.ScalarNode, node.value, (True, False)).removeprefix(_TAG)
        if node.tag != (
            _HERE.resolve(yaml.ScalarNode, node.value, (True, False)) if node.style is None else _TAG + "str"
        ):
            self._problem(line, (*key, node.value), f"has the tag {_tag_name(node)} before its key: remove it")
        elif node.style is None and known_as not in ("str", "merge", "value"):
            kind = _KINDS.get(known_as, known_as)
            said = f"readers of YAML take the key `{node.value}` for {kind} and not for text: write it in quotes"
            self._problem(line, (*key, node.value), said)
        return self._text(node, (*key, node.value))

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        line, tag = node.start_mark.line + 1, node.tag.removeprefix(_TAG)
        if node.style is None and tag == "null" and not node.value:
            self._problem(line, key, "has no value: write one, or `null`")
            return None
        if tag == "merge":
            tag = "str"
        if not node.tag.startswith(_TAG) or tag not in _TYPES:
            self._problem(
                line, key, f"has the tag {_tag_name(node)}, and nothing in a config is run or converted: remove it"
            )
            return None
        if tag == "str":
            return self._text(node, key)
        try:
            return _value(tag, node.value)
        except ValueError:
            self._problem(line, key, f"{node.value!r} is not {_KINDS[tag]}, as its tag has it: remove the tag")
            return None

    def _text(self, node: yaml.ScalarNode, key: Key) -> str:
        try:
            return _joined_surrogates(node.value)
        except UnicodeError:
            self._problem(
                node.start_mark.line + 1, key[:-1], "has half a character (`\\ud800` to `\\udfff`): correct it"
            )
            return ""

    def _check_tag(self, node: yaml.Node, tag: str, key: Key) -> None:
        if node.tag != _TAG + tag:
            said = f"has the tag {_tag_name(node)}, and nothing in a config is run or converted: remove it"
            self._problem(node.start_mark.line + 1, key, said)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.name, node.start_mark.line + 1)

    def _problem(self, line: int | None, key: Key, message: str) -> None:
        problem = Problem(key, message, Place(self.name, line))
        if all((known.message, known.place) != (message, problem.place) for known in self.problems):
            self.problems.append(problem)


_TYPES = {"null", "bool", "int", "float", "str"}
_KINDS = {
    "null": "null", "bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date",
}  # fmt: skip


def _tag_name(node: yaml.Node) -> str:
    return f"`{node.tag.replace(_TAG, '!!')}`"


def load_thresholds(path: Path) -> Thresholds:
    """Reads and validates the thresholds of claims.

    Args:
        path: a YAML file.

    Returns:
        The thresholds.

    Raises:
        ConfigError: with all problems at once, each with file, line and key.
    """
    tree, content = _read(Path(path))
    if isinstance(content.get("claims"), dict):
        content["claims"] = {_found(key, path): settings for key, settings in content["claims"].items()}
    try:
        return thresholds_of(content, strict=True)
    except ClaimError as error:
        raise ConfigError([f"{path}: {error}"]) from None
    except ValidationError as error:
        raise ConfigError(validation_problems(error, content, thresholds_model(content)), tree) from None


def load_regime_thresholds(path: Path) -> RegimeThresholds:
    """Reads and validates the thresholds of regimes.

    Args:
        path: a YAML file.

    Returns:
        The thresholds.

    Raises:
        ConfigError: with all problems at once, each with file, line and key.
    """
    tree, content = _read(Path(path))
    try:
        return RegimeThresholds.model_validate(content, strict=True)
    except ValidationError as error:
        raise ConfigError(validation_problems(error, content, RegimeThresholds), tree) from None


def _read(path: Path) -> tuple[Node, dict]:
    if not path.is_file():
        where = f"relative to {Path.cwd()} or beside the config"
        raise ConfigError([f"there is no file of thresholds {path} ({where}): correct the path"])
    tree = read_config(path)
    content = tree.plain()
    content.pop("shared", None)  # a place for YAML anchors
    return tree, content


def _found(claim: str, file: Path) -> str:
    """A claim of the user's, `my_claim.py:x`, that lies beside the file of thresholds and not where the run is."""
    place, _, name = claim.rpartition(":")
    beside = file.absolute().parent / place
    return (
        f"{Path(os.path.relpath(beside)).as_posix()}:{name}"
        if place and not Path(place).is_file() and beside.is_file()
        else claim
    )


def seed_conflict(experiment: ExperimentSettings, thresholds: Thresholds) -> tuple[str, str] | None:
    """Whether an experiment would be judged on networks that its thresholds were chosen with.

    Args:
        experiment: settings.
        thresholds: thresholds.

    Returns:
        The key of the seed and a sentence; None if there is no conflict.
    """
    seeds = {"training.seed": experiment.training.seed}
    if experiment.dispersion is not None:
        seeds["dispersion.seed"] = experiment.dispersion.seed
    for key, seed in seeds.items():
        if seed in thresholds.chosen_with.seeds:
            chosen = ", ".join(map(str, thresholds.chosen_with.seeds))
            return key, (
                f"{seed} is among the seeds that chose the thresholds of the claims ({chosen}); what chose a threshold "
                "cannot be judged by it: take another seed"
            )
    return None
