"""Functions of the user's own, named in the config as `my_file.py:function`: loaded, called, and their errors told.

A file is run once in a process, and again when it or a file that it imports has another content. Files of one name in
two folders are two modules, and so are the `helpers.py` beside each. Whatever the user's code raises becomes a sentence
that names file, function and the line in the user's own code.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ntk_atlas.user_imports import UserFinder, import_folders, import_root, is_found_elsewhere, is_own

_LONGEST_WORDS = 400
_FINDERS_KEPT = 3
_lock = threading.RLock()


@dataclass(frozen=True)
class _Loaded:
    module: ModuleType
    contents: Mapping[Path, str]


_files: dict[tuple[Path, tuple[str, ...]], _Loaded] = {}
_own_modules: dict[tuple[str, ...], dict[str, ModuleType]] = {}
"""What the files of each group of folders have imported, which is no installed package."""


def load_named(spec: str, what: str, error: type[ValueError]) -> object:
    """What a Python file defines under a name; relative paths start at the working directory.

    The file may import what lies beside it and in the working directory.

    Args:
        spec: file and name, `my_file.py:name`.
        what: what the user calls it, for messages: "network factory".
        error: what to raise.

    Returns:
        The object.

    Raises:
        ValueError: of type `error`, if there is no such file or name, or the file cannot be imported.
    """
    file_name, _, name = spec.rpartition(":")
    path = Path(file_name)
    if not file_name or not path.is_file():
        example = f"my_{what.split()[-1]}.py:{name or 'name'}"
        raise error(f"{what} {spec!r}: no file {str(path.absolute())!r}; write `{example}`")
    if path.suffix != ".py":
        raise error(f"{what} {spec!r}: {path} is not a Python file (*.py)")
    with _lock, _gradients_kept():  # a file may switch them off when it is run
        module = _module(path, lambda problem: error(f"{what} {spec!r}: {path} cannot be imported: {told(problem)}"))
        if not hasattr(module, name):
            raise error(f"{what} {spec!r}: {file_name} has no function {name!r}")
        return getattr(module, name)


@contextmanager
def _gradients_kept() -> Iterator[None]:
    """Leaves torch's switch of gradients as it was, without an import of torch."""
    torch = sys.modules.get("torch")
    were_on = torch is None or torch.is_grad_enabled()
    try:
        yield
    finally:
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_grad_enabled(were_on)


def check_function(
    function: object, spec: str, what: str, error: type[ValueError], wanted: str, *, instance: str | None = None
) -> Callable[..., object]:
    """Checks that what a file defines is a function that returns a value, without a call of it.

    Args:
        function: from `load_named`.
        spec: file and name, `my_file.py:name`.
        what: what the user calls it, for messages: "network factory".
        error: what to raise.
        wanted: what to define instead, in words.
        instance: name of an instance, in the advice to who names a class; None if a class will do, as one that is
            called for what it makes.

    Returns:
        The function.

    Raises:
        ValueError: of type `error`, if it is a class, nothing that can be called, an async or a generator function.
    """
    file_name, _, name = spec.rpartition(":")
    if instance is not None and isinstance(function, type):
        raise error(f"{what} {spec!r} is a class: define {wanted}, or name an instance of it, `{instance} = {name}()`")
    if not callable(function):
        raise error(
            f"{what} {spec!r} is {type(function).__name__}: it must be {wanted}, and {file_name} has no function "
            f"{name!r}"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise error(f"{what} {spec!r} is an async function{_at(function)}: define {wanted}")
    if inspect.isgeneratorfunction(function):
        raise error(f"{what} {spec!r} is a generator function{_at(function)}: `return`, do not `yield`")
    return function


def load_function(spec: str, what: str, error: type[ValueError], wanted: Sequence[str]) -> Callable[..., object]:
    """A user's function that is called with keywords, its errors told as sentences.

    Args:
        spec: file and name, `my_file.py:name`.
        what: what the user calls it, for messages: "network factory".
        error: what to raise.
        wanted: the keywords of a call, for messages.

    Returns:
        The function. A call raises `error` if its signature is another, if it raises or ends the process, or if it
        returns a coroutine or a generator.

    Raises:
        ValueError: of type `error`, as `load_named`, and if the object is not a function.
    """
    file_name, _, name = spec.rpartition(":")
    signature = f"def {name}(*, {', '.join(wanted)})"
    function = check_function(load_named(spec, what, error), spec, what, error, f"`{signature}`")

    from ntk_atlas.numerics import kept_settings  # imports torch

    def call(**arguments: object) -> object:
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as problem:
            raise error(f"{what} {spec!r} {_misfit(problem)}{_at(function)}: define `{signature}`") from None
        except ValueError:  # a signature that Python does not know
            pass
        try:
            with imports_of(Path(file_name)), kept_settings():
                return function(**arguments)
        except (Exception, SystemExit) as problem:
            raise error(f"{what} {spec!r} failed: {told(problem)}") from problem

    return call


def told(problem: BaseException) -> str:
    """What was raised in a user's code, as words: kind, message, the line of the user's own, and what to do."""
    words = " ".join(str(problem).split())
    if len(words) > _LONGEST_WORDS:
        words = f"{words[:_LONGEST_WORDS]} …"
    kind, line = type(problem).__name__, _own_line(problem)
    if isinstance(problem, SyntaxError) and problem.filename:
        return f"{kind}: {problem.msg} ({_shown(problem.filename)}, line {problem.lineno})"
    place = f" ({line})" if line else ""
    if isinstance(problem, SystemExit):
        return f"it ends the process by SystemExit{place}: remove what calls sys.exit, or let it run as a script only"
    if isinstance(problem, KeyboardInterrupt):
        return f"it raises KeyboardInterrupt{place}"
    said = f"{kind}: {words}{place}" if words else f"{kind}{place}"
    if isinstance(problem, ImportError) and "relative import" in words:
        return f"{said}: it lies in no package (no __init__.py beside it); write `from helpers import …`"
    if isinstance(problem, ModuleNotFoundError):
        name = (problem.name or "it").partition(".")[0]
        return f"{said}: install {name}, or put {name}.py beside the file or into the working directory"
    return said


def _own_line(problem: BaseException) -> str:
    """Where in the user's own code an error came from: `my_net.py, line 12`; empty if not from there."""
    place, trace = "", problem.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_own(file):
            place = f"{_shown(file)}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _at(function: Callable[..., object]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({_shown(code.co_filename)}, line {code.co_firstlineno})" if code is not None else ""


def _misfit(problem: TypeError) -> str:
    """A call's mismatch in words; `inspect` says what Python says, without the function's name."""
    return str(problem) if str(problem).startswith(("got ", "missing ")) else f"cannot be called: {problem}"


def _module(path: Path, refused: Callable[[BaseException], ValueError]) -> ModuleType:
    place, folders = path.absolute(), import_folders(path)
    _forget_edited(folders)
    if (place, folders) in _files:
        return _files[place, folders].module
    stem, package = path.stem, import_root(path)[1]
    name = f"ntk_atlas_user_{stem}_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    name = f"{package}.{name}" if package else name
    alias = f"{package}.{stem}" if package else stem
    module_spec = importlib.util.spec_from_file_location(name, place)
    assert module_spec is not None  # there is a loader for each `.py`
    module = importlib.util.module_from_spec(module_spec)
    known_by = [name] if alias in sys.modules or is_found_elsewhere(alias.partition(".")[0]) else [name, alias]
    try:
        with imports_of(path):
            if package:
                importlib.import_module(package)
            # Not by the loader, which takes compiled code of the same size and second for that of the file.
            code = compile(path.read_bytes(), str(place), "exec")
            for known_name in known_by:  # dataclasses and pickle look modules up there; files beside may import it
                sys.modules[known_name] = _own_modules[folders][known_name] = module
            exec(code, module.__dict__)
    except (Exception, SystemExit) as problem:
        for known_name in known_by:
            sys.modules.pop(known_name, None)
            _own_modules[folders].pop(known_name, None)
        raise refused(problem) from problem
    modules = [module, *_own_modules[folders].values()]
    names = (getattr(m, "__file__", None) for m in modules)
    files = {Path(name) for name in names if name}
    _files[place, folders] = _Loaded(module, {file: _digest(file) for file in files})
    return module


def _forget_edited(folders: tuple[str, ...]) -> None:
    """Forgets all files of the folders if one of them, or one that they import, has changed since it ran."""
    known = [key for key in _files if key[1] == folders]
    contents = {file: digest for key in known for file, digest in _files[key].contents.items()}
    if all(_digest(file) == digest for file, digest in contents.items()):
        return
    for key in known:
        del _files[key]
    for name, module in _own_modules.pop(folders, {}).items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


@contextmanager
def imports_of(path: Path) -> Iterator[None]:
    """Inside the block imports are those of a user's file, and of no other user's file; the folder stays the same."""
    folders, here = import_folders(path), Path.cwd()
    with _lock:
        for other, modules in _own_modules.items():
            if other != folders:
                for name, module in modules.items():
                    if sys.modules.get(name) is module:
                        del sys.modules[name]
        mine = _own_modules.setdefault(folders, {})
        sys.modules.update(mine)
        hidden = {path.stem} if is_found_elsewhere(path.stem) else set()
        finder = UserFinder(folders, hidden)
        importlib.invalidate_caches()
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            # It stays in the last place, for what a network imports when it runs.
            earlier = [f for f in sys.meta_path if isinstance(f, UserFinder) and f.folders != finder.folders]
            others = [f for f in sys.meta_path if not isinstance(f, UserFinder)]
            sys.meta_path[:] = [*others, *earlier[-_FINDERS_KEPT:], finder]
            mine.update({name: sys.modules[name] for name in finder.found if name in sys.modules})
            if Path.cwd() != here:
                os.chdir(here)
