"""What a user's own file imports: found beside it or in the working directory, told from installed packages, followed.

Two questions have one answer each here. Python's: which file is `helpers` in `from helpers import block`, in a job too,
whatever the working directory (`UserFinder`). And before Python runs anything: which files would it be, so that an edit
of them is seen (`followed`). Files of the standard library and of installed packages are nobody's own; an editable
install lies outside their folders, and is.
"""

import ast
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

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
