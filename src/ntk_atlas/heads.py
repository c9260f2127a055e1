"""The head of a value's file: what a plan asks of a value, without the libraries that the value's work takes.

A figure is a file, and a claim is one. Drawing takes matplotlib and judging takes xarray, which planning does without:
the file begins with its head, the head ends where the value is defined, and imports for the work stand below it.
"""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

from ntk_atlas.registry import Kind, Registry, is_own
from ntk_atlas.user_code import imports_of, load_named, told

_known: dict[tuple[Path, bytes, str | None], object | None] = {}


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
