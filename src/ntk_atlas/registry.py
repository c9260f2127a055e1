"""Rooms of values: a folder with one file per value, whose file name is the value's name in a config.

A new value is one new file: no list names it. A name is checked, and a file found, without an import, so that a run is
planned without what only its jobs need; `get` imports the one module that is asked for. Imports of this kind are not
seen by who follows `import` statements: the code that a job runs is its script and the `value_files` of its settings.

A figure is a file, and a claim is one. Drawing takes matplotlib and judging takes xarray, which planning does without:
the file begins with its head, the head ends where the value is defined, and imports for the work stand below it.
"""

import ast
import difflib
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ntk_atlas.user_code import imports_of, load_named, told

Kind = TypeVar("Kind")
OWN_PATTERN = r"^.+\.py:[A-Za-z_]\w*$"
"""File and name of a value of the user's, `my_file.py:name`."""
_known: dict[tuple[Path, bytes, str | None], object | None] = {}


def is_own(name: str) -> bool:
    """Whether a name in a config is `my_file.py:name`, a value in a file of the user's."""
    return ":" in name


class Registry(Generic[Kind]):
    """The values of one room.

    A file whose name starts with `_` holds no value, nor does the file that defines the kind.

    Attributes:
        package: dotted name of the room, `ntk_atlas.activations`.
        kind: class of the values. An instance knows its name in the config by `name`, which `get` sets.
        what: what a user calls one, for messages: "activation".
    """

    def __init__(
        self,
        package: str,
        kind: type[Kind],
        what: str,
        *,
        error: type[ValueError] = ValueError,
        adopt: Callable[[object, str], Kind] | None = None,
    ):
        """A room.

        Args:
            package: see the class.
            kind: see the class.
            what: see the class.
            error: raised for names and files that give no value.
            adopt: checks what a user's file defines under a name, and makes an instance of `kind` of it: called with
                the object and `my_file.py:name`. None takes instances as they are.
        """
        self.package, self.kind, self.what = package, kind, what
        self._error, self._adopt = error, adopt
        self._known: dict[str, Kind] = {}
        """Built-in values that were asked for: hot loops ask again."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a built-in value of that name."""
        return name in self._files()

    def names(self) -> tuple[str, ...]:
        """Names of all built-in values, in alphabetical order; nothing is imported."""
        return tuple(self._files())

    def module_file(self, name: str) -> Path:
        """The file of a built-in value.

        Raises:
            ValueError: of type `error`, if there is no value of that name; the message has the known names.
        """
        files = self._files()
        if name not in files:
            close = difflib.get_close_matches(name, files, n=1, cutoff=0.6)
            hint = f"did you mean `{close[0]}`? " if close else ""
            raise self._error(f"there is no {self.what} {name!r}; {hint}known here: {', '.join(files)}")
        return files[name]

    def get(self, name: str) -> Kind:
        """The value of a name, or the one in a user's file that `my_file.py:name` says.

        Raises:
            ValueError: of type `error`, if there is no value of that name, or the file does not hold one.
        """
        if name in self._known:
            return self._known[name]
        if is_own(name):
            found = load_named(name, self.what, self._error)
            if self._adopt is not None:
                found = self._adopt(found, name)
            if not isinstance(found, self.kind):
                raise self._error(
                    f"{self.what} {name!r} is {type(found).__name__}: name an instance of {self.kind.__name__}"
                )
        else:
            file = self.module_file(name)
            module = importlib.import_module(f"{self.package}.{name}")
            own = _assigned(file)
            values = {id(v): v for name_, v in vars(module).items() if name_ in own and isinstance(v, self.kind)}
            if len(values) != 1:
                raise self._error(f"{file} has {len(values)} instances of {self.kind.__name__}: it must define one")
            (found,) = values.values()
            self._known[name] = found
        object.__setattr__(found, "name", name)
        return found

    def values(self) -> tuple[Kind, ...]:
        """All built-in values, every module imported; a job's digest does not see them, so no job may ask."""
        return tuple(self.get(name) for name in self.names())

    def _files(self) -> dict[str, Path]:
        own = self.kind.__module__.rpartition(".")
        hidden = {own[2]} if own[0] == self.package else set()
        folders = importlib.import_module(self.package).__path__
        files = (file for folder in folders for file in Path(folder).glob("[!_]*.py") if file.stem not in hidden)
        return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def _assigned(file: Path) -> frozenset[str]:
    """Names that a module's own statements define; values of other modules that it imports are theirs."""
    nodes = (node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.Assign | ast.AnnAssign))
    names = (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name))
    return frozenset(name.id for name in names if isinstance(name.ctx, ast.Store))


@dataclass(frozen=True)
class Named:
    """Marks a setting as the name of a value, `activation: Annotated[str, Named(ACTIVATIONS)]`: it is validated.

    Attributes:
        registry: of the values.
        own: whether `my_file.py:name` is allowed too.
        others: names that are allowed and are no values of the room.
        checked: False for a setting that another check refuses, whose names are those of several rooms.
    """

    registry: Registry[Any]
    own: bool = True
    others: tuple[str, ...] = ()
    checked: bool = True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The text, checked."""
        if not self.checked:
            return handler(source)
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The names, and the pattern of a user's file."""
        if not self.checked:
            return handler(schema)
        names = {"enum": [*self.registry.names(), *self.others], "type": "string"}
        return {"anyOf": [names, {"pattern": OWN_PATTERN, "type": "string"}]} if self.own else names

    def _checked(self, name: str) -> str:
        if name not in self.others and not (self.own and re.fullmatch(OWN_PATTERN, name)):
            if self.own and is_own(name):
                raise ValueError(f"write `my_file.py:{self.registry.what}` for one in a file (it is {name!r})")
            self.registry.module_file(name)
        return name


def value_files(settings: object, *, without: Registry[Any] | None = None) -> tuple[Path, ...]:
    """Files of the built-in values that settings name.

    Args:
        settings: a pydantic model whose fields, at any depth, may be marked with `Named`; or a part of one, whose
            `named_values()` are its values, each with its field.
        without: a room whose values the numbers do not depend on.

    Returns:
        Files in the order of their paths.
    """
    return tuple(sorted({room.module_file(name) for room, name in _named(settings) if room is not without}))


def _named(value: object, registries: Sequence[Registry[Any]] = ()) -> Iterator[tuple[Registry[Any], str]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _of_field(getattr(value, name), field)
    elif hasattr(value, "named_values"):
        for item, field in value.named_values():
            yield from _of_field(item, field)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _named(item, registries)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _named(item, registries)
    elif isinstance(value, str):
        yield from ((registry, value) for registry in registries if value in registry)


def _of_field(value: object, field: FieldInfo) -> Iterator[tuple[Registry[Any], str]]:
    marks = [*field.metadata, *_metadata(field.annotation)]
    return _named(value, [mark.registry for mark in marks if isinstance(mark, Named)])


def _metadata(annotation: object) -> Iterator[object]:
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _metadata(argument)


class HeadRegistry(Registry[Kind]):
    """A room whose values have heads."""

    def head(self, name: str) -> Kind:
        """A value as its file's head defines it; nothing below the head is run.

        Args:
            name: name of a built-in value, or `my_file.py:name`.

        Returns:
            The value, which knows its name.

        Raises:
            ValueError: of the room's type, if there is no value of that name, or its file cannot be read so far.
        """
        if is_own(name):
            file, _, wanted = name.rpartition(":")
            found = self._own_head(Path(file), wanted, name)
        else:
            place = self.module_file(name)
            found = _head(place, f"{self.package}.{name}", self.kind)
        if not isinstance(found, self.kind):
            raise self._error(f"{self.what} {name!r}: the file defines no {self.kind.__name__} of that name")
        object.__setattr__(found, "name", name)
        return found

    def work(self, name: str, function: str, *, passes: tuple[type[Exception], ...] = ()) -> Callable[..., object]:
        """The function by which a value's file does the work, the whole file imported.

        Args:
            name: see `head`.
            function: its name.
            passes: errors of a user's function that mean something, and are raised as they are.

        Returns:
            The function; one of a user's raises its errors as sentences.

        Raises:
            ValueError: of the room's type, if the file has no such function.
        """
        if not is_own(name):
            self.module_file(name)
            built_in: Callable[..., object] = getattr(importlib.import_module(f"{self.package}.{name}"), function)
            return built_in
        found = load_named(f"{name.rpartition(':')[0]}:{function}", self.what, self._error)
        if not callable(found):
            raise self._error(f"{self.what} {name!r}: {function} is {type(found).__name__}, and no function")

        def call(*arguments: object) -> object:
            try:
                return found(*arguments)
            except passes:
                raise
            except (Exception, SystemExit) as problem:
                raise self._error(f"{self.what} {name!r} failed: {told(problem)}") from problem

        return call

    def _own_head(self, file: Path, wanted: str, name: str) -> object:
        if not file.is_file():
            raise self._error(f"{self.what} {name!r}: no file {str(file.absolute())!r}")
        try:
            with imports_of(file):
                return _head(file, file.stem, self.kind, wanted)
        except (Exception, SystemExit) as problem:
            raise self._error(f"{self.what} {name!r}: {file} cannot be read: {told(problem)}") from problem


def _head(file: Path, module: str, kind: type[object], wanted: str | None = None) -> object | None:
    """Runs a file until a name, or that of `wanted`, is an instance of a kind; None if none becomes one."""
    content = file.read_bytes()
    key = (file, content, wanted)
    if key not in _known:
        _known[key] = _run(file, content, module, kind, wanted)
    return _known[key]


def _run(file: Path, content: bytes, module: str, kind: type[object], wanted: str | None) -> object | None:
    defined = {"__name__": module, "__file__": str(file)}
    for node in ast.parse(content, str(file)).body:
        exec(compile(ast.Module([node], []), str(file), "exec", dont_inherit=True), defined)
        for target in node.targets if isinstance(node, ast.Assign) else ():
            name = target.id if isinstance(target, ast.Name) else ""
            if isinstance(defined.get(name), kind) and wanted in (None, name):
                return defined[name]
    return None
