"""Code of the user's own: what a file of it imports, and functions named as `my_file.py:function`, loaded and called.

Two questions have one answer each here. Python's: which file is `helpers` in `from helpers import block`, in a job too,
whatever the working directory (`UserFinder`). And before Python runs anything: which files would it be, so that an edit
of them is seen (`followed`). Files of the standard library and of installed packages are nobody's own; an editable
install lies outside their folders, and is.

A file is run once in a process, and again when it or a file that it imports has another content. Files of one name in
two folders are two modules, and so are the `helpers.py` beside each. Whatever the user's code raises becomes a sentence
that names file, function and the line in the user's own code.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

PACKAGE = Path(__file__).parent
_SITE = {"site-packages", "dist-packages"}
_NEVER_BESIDE = {
    PACKAGE.name, "torch", "numpy", "scipy", "sklearn", "pandas", "xarray", "netCDF4", "matplotlib", "pyarrow",
    "pytorch_lightning", "lightning_fabric", "lightning_utilities", "torchmetrics", "pydantic", "pydantic_core", "yaml",
    "brotli", "snakemake", "psutil",
}  # fmt: skip
"""What this package imports itself, some of it late: a user's `torch.py` is not torch."""


def import_root(file: Path) -> tuple[Path, str]:
    """The folder from which a file is imported, and the package that it is in: `(models/.., "models")`, or "" if none.

    Folders with an `__init__.py` are packages, as Python has it.
    """
    folder = file.absolute().parent
    package: list[str] = []
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        package.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(package)


def import_folders(file: Path) -> tuple[str, ...]:
    """Where imports of a user's file look first: beside it, and beside what it is a link to."""
    return tuple(dict.fromkeys(str(import_root(place)[0]) for place in (file, file.resolve())))


def is_installed(file: str | None) -> bool:
    """Whether a module's file belongs to Python or to an installed package; what has no file (built in) does."""
    if file is None or not Path(file).is_absolute():
        return True
    return _is_installed_folder(str(Path(file).parent))


@lru_cache(maxsize=4096)
def _is_installed_folder(folder: str) -> bool:
    # The folder resolved, not the file: an installer may link files to its cache, and a folder to its source.
    real = Path(folder).resolve()
    return bool(_SITE & set(real.parts)) or any(real.is_relative_to(place) for place in _places())


@cache
def _places() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(place).resolve() for place in (*found, *site.getsitepackages(), site.getusersitepackages()))


class _Fresh(SourceFileLoader):
    """Compiles the source itself: compiled code is told by size and second, and an edit may keep both."""

    def get_code(self, fullname: str) -> CodeType:
        """Returns the module's code."""
        return self.source_to_code(self.get_data(self.path), self.path)


class UserFinder(MetaPathFinder):
    """Finds what a user's file imports: beside it, then where Python looks, then in the working directory.

    The standard library and what this package imports come before all, and a module anywhere before a plain folder of
    its name.

    Attributes:
        folders: those beside the file.
        last: the working directory.
        hidden: names that are not looked for in either: that of the file itself, if a package is called so.
        found: names of the modules that are the user's own.
    """

    def __init__(self, folders: Sequence[str], hidden: Iterable[str] = ()):
        self.folders, self.last, self.hidden = list(folders), [str(Path.cwd())], frozenset(hidden)
        self.found: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`; None for what is not the user's own."""
        if name.partition(".")[0] in _NEVER_BESIDE or name.partition(".")[0] in sys.stdlib_module_names:
            return None
        spec = self._top(name) if path is None else PathFinder.find_spec(name, path)
        if spec is None or is_installed(_place(spec)):
            return None
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader, spec.cached = _Fresh(name, spec.loader.path), None
        self.found.add(name)
        return spec

    def _top(self, name: str) -> ModuleSpec | None:
        beside, last = (
            None if name in self.hidden else PathFinder.find_spec(name, places) for places in (self.folders, self.last)
        )
        found = [spec for spec in (beside, _elsewhere(name), last) if spec is not None]
        for spec in found:
            if spec.loader is not None:
                return spec
        if not found:
            return None
        plain = ModuleSpec(name, None, is_package=True)
        places = [place for spec in found for place in spec.submodule_search_locations or ()]
        plain.submodule_search_locations = list(dict.fromkeys(places))
        return plain


def _elsewhere(name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if not isinstance(finder, UserFinder) and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, None, None)
            if spec is not None:
                return spec
    return None


def is_found_elsewhere(name: str) -> bool:
    """Whether a top-level name is a module of Python or of an installed package."""
    if name in sys.stdlib_module_names:
        return True
    spec = _elsewhere(name)
    return spec is not None and spec.loader is not None and is_installed(_place(spec))


def _place(spec: ModuleSpec) -> str | None:
    """The file of a module; of a plain folder as a package, a file in it."""
    if spec.has_location:
        return spec.origin
    return f"{next(iter(spec.submodule_search_locations))}/." if spec.submodule_search_locations else None


def followed(file: Path) -> dict[str, Path]:
    """The file and all files that it imports, directly or through others, which are the user's own.

    Imports are read, not run: `import` and `from` statements at any level of the code, relative ones too, and
    `importlib.import_module("literal")`. What is imported by a name made at run time is not seen.

    Args:
        file: a Python file of the user's.

    Returns:
        Files by the names that they are imported by; the file itself under its own name.
    """
    folders, (_, package) = import_folders(file), import_root(file)
    own = f"{package}.{file.stem}" if package else file.stem
    hidden = {own} if is_found_elsewhere(own.partition(".")[0]) else set()
    finder, found = UserFinder(folders, hidden), {own: file}
    waiting = [(file, package), *((parent, name) for name, parent in _parents(finder, own))]
    found |= {name: parent for parent, name in waiting[1:]}
    while waiting:
        place, within = waiting.pop()
        for name in _imported(place, within):
            for module, source, is_package in _files(finder, name):
                if source is not None and module not in found:
                    found[module] = source
                    waiting.append((source, module if is_package else module.rpartition(".")[0]))
    return found


def is_own(file: str | None) -> bool:
    """Whether code in a file is the user's own: of no installed package, not of this one, no script of a job."""
    if file is None or is_installed(file):
        return False
    place = Path(file)
    return not (place.is_relative_to(PACKAGE) or ".snakemake" in place.parts)


def own_files() -> frozenset[Path]:
    """Files of the user's own that this process has imported by now, whatever imported them."""
    names = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return frozenset(Path(name).resolve() for name in names if name and name.endswith(".py") and is_own(name))


def _parents(finder: UserFinder, name: str) -> Iterator[tuple[str, Path]]:
    # Of a file in a package, Python runs the `__init__` of each package above it before a relative import.
    for module, source, is_package in _files(finder, name.rpartition(".")[0]):
        if is_package and source is not None:
            yield module, source


def _files(finder: UserFinder, name: str) -> Iterator[tuple[str, Path | None, bool]]:
    """The modules on the way to a dotted name, which may end in a name inside a module: name, file, is a package."""
    path: Sequence[str] | None = None
    parts = name.split(".") if name else []
    for length in range(1, len(parts) + 1):
        module = ".".join(parts[:length])
        # By its last name: a plain folder's search path asks for the package above, which nothing has imported.
        spec = finder.find_spec(module) if path is None else PathFinder.find_spec(parts[length - 1], path)
        if spec is None or is_installed(_place(spec)):
            return
        path = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        source = spec.origin if spec.has_location else None
        yield module, Path(source) if source and source.endswith(".py") else None, path is not None
        if path is None:
            return


def _imported(file: Path, package: str) -> tuple[str, ...]:
    """Absolute dotted names that a file imports: modules, or names in them."""
    try:
        return _names(file.read_bytes(), package)
    except (OSError, SyntaxError, ValueError):
        return ()


@lru_cache(maxsize=512)
def _names(content: bytes, package: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute("." * node.level + (node.module or ""), package)
            if module is not None:
                names |= dict.fromkeys([module, *(f"{module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            literals = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            names |= dict.fromkeys(name for literal in literals if (name := _absolute(literal, package)))
    return tuple(names)


def _absolute(name: str, package: str) -> str | None:
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name or None
    above = package.split(".")[: len(package.split(".")) - level + 1] if package else []
    return ".".join([*above, *filter(None, [name[level:]])]) if above else None


_LONGEST_WORDS = 400
_FINDERS_KEPT = 3
_lock = threading.RLock()


@dataclass(frozen=True)
class _Loaded:
    module: ModuleType
    contents: Mapping[Path, str]


_loaded: dict[tuple[Path, tuple[str, ...]], _Loaded] = {}
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
    if (place, folders) in _loaded:
        return _loaded[place, folders].module
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
    _loaded[place, folders] = _Loaded(module, {file: _digest(file) for file in files})
    return module


def _forget_edited(folders: tuple[str, ...]) -> None:
    """Forgets all files of the folders if one of them, or one that they import, has changed since it ran."""
    known = [key for key in _loaded if key[1] == folders]
    contents = {file: digest for key in known for file, digest in _loaded[key].contents.items()}
    if all(_digest(file) == digest for file, digest in contents.items()):
        return
    for key in known:
        del _loaded[key]
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
