"""Where a result comes from: the code that a script really runs, versions and revision.

A workflow engine sees the script of a rule, not the modules that the script imports. So each rule has a digest of its
code as a parameter, blind to comments, docstrings and formatting: an edit that can change its numbers changes the
digest, and no other edit does.

A file is parsed once for all scripts. What parsing gave can be kept between runs (`SourceMemory`), by the content of
the file: each job on a cluster starts an interpreter that asks for all digests again.
"""

import ast
import contextlib
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from ntk_atlas.arrays import whole_file

PACKAGE = "ntk_atlas"


class ParsedFile(NamedTuple):
    """What a file's text says, whatever its formatting."""

    digest: str
    """Of its syntax tree without docstrings."""
    names: tuple[str, ...]
    """Dotted names of the package that it imports: modules, or names in them."""


class SourceMemory:
    """What parsing gave, by the content of files; in a JSON file if there is one to be kept."""

    def __init__(self, path: Path | None = None):
        """Reads what was kept; a file that is damaged counts as empty.

        Args:
            path: where to keep it.
        """
        self.path = path
        self._parsed: dict[str, ParsedFile] = {}
        self._found: dict[tuple[str, Path], tuple[Path, ...]] = {}
        self._changed = False
        self._made: dict[str, dict[str, str]] = {}
        # What parsing gives depends on Python's syntax trees and on the code below.
        self._parser = f"{sys.version_info[:2]} ".encode() + Path(__file__).read_bytes()
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                kept = json.loads(path.read_text())
                self._parsed = {key: ParsedFile(str(digest), tuple(names)) for key, (digest, names) in kept.items()}

    def parsed(self, file: Path, package: Path) -> ParsedFile:
        """What a file says, parsed if it is new."""
        content = file.read_bytes()
        lazy = file.name == "__init__.py" and file.is_relative_to(package)
        key = hashlib.sha256(b"%s %d %s" % (self._parser, lazy, content)).hexdigest()
        if key not in self._parsed:
            self._parsed[key] = _parse(content, lazy)
            self._changed = True
        return self._parsed[key]

    def module_files(self, name: str, package: Path) -> tuple[Path, ...]:
        """The files that Python runs to import a dotted name: `__init__` of each package above it, and its module."""
        if (name, package) not in self._found:
            self._found[name, package] = _module_files(name, package)
        return self._found[name, package]

    def remember(self, digest: str, parts: dict[str, str]) -> None:
        """Notes what a digest was made of: name of each file → its digest."""
        self._made[digest] = parts

    def parts(self, digest: str) -> dict[str, str] | None:
        """What a digest, of now or of an earlier run, was made of; None if that is not known."""
        if digest in self._made or self.path is None:
            return self._made.get(digest)
        with contextlib.suppress(OSError, ValueError):
            parts: dict[str, str] = json.loads(_parts_file(self.path, digest).read_text())
            return parts
        return None

    def keep(self) -> None:
        """Writes what is new, if there is a place for it and it can be written: without it runs start slower."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            if self._changed:
                _write(self.path, self._parsed)
                self._changed = False
            for digest, parts in self._made.items():
                if not _parts_file(self.path, digest).exists():
                    _write(_parts_file(self.path, digest), parts)


def _parts_file(memory: Path, digest: str) -> Path:
    return memory.with_suffix("") / f"{digest}.json"


def source_files(
    script: Path, package: Path, memory: SourceMemory | None = None, values: Iterable[Path] = ()
) -> tuple[Path, ...]:
    """The script and all package modules it imports, directly or through others, at any level of the code.

    Args:
        script: a Python file that imports from the package by absolute names.
        package: folder of the package.
        memory: what is known of files already.
        values: modules that it loads by name, `registry.value_files` of its settings.

    Returns:
        The files: the script first, then the modules in the order of their paths. A package's `__init__` belongs
        to each of its modules, as Python runs it on their import; names that it only re-exports lazily do not.
    """
    memory = SourceMemory() if memory is None else memory
    found: set[Path] = set()
    waiting = [script, *values]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for name in memory.parsed(file, package).names:
            waiting.extend(memory.module_files(name, package))
    return (script, *sorted(found - {script}))


def source_digest(script: Path, package: Path, memory: SourceMemory | None = None, values: Iterable[Path] = ()) -> str:
    """16 hexadecimal digits over the syntax trees of `source_files(script, package, memory, values)`."""
    memory = SourceMemory() if memory is None else memory
    digest, parts = hashlib.sha256(), {}
    for file in source_files(script, package, memory, values):
        inside = file.is_relative_to(package)
        name = file.relative_to(package).as_posix() if inside and file != script else file.name
        parsed = memory.parsed(file, package).digest
        digest.update(f"{name}\n{parsed}\n".encode())
        parts[file.relative_to(package).as_posix() if inside else name] = parsed[:16]
    memory.remember(digest.hexdigest()[:16], parts)
    return digest.hexdigest()[:16]


def changed_files(before: Iterable[str], now: Iterable[str], memory: SourceMemory) -> tuple[str, ...]:
    """The files in which two groups of digests differ.

    Args:
        before: digests of an earlier run.
        now: digests of this one.
        memory: what is known of digests.

    Returns:
        Names of files that were changed, added or left out; none if nothing is known of one of the groups.
    """
    old, new = ({k: v for digest in group for k, v in (memory.parts(digest) or {}).items()} for group in (before, now))
    return tuple(sorted(name for name in old | new if old.get(name) != new.get(name))) if old and new else ()


def _write(path: Path, content: object) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content))


def _parse(content: bytes, lazy: bool) -> ParsedFile:
    """Parses a file; of a package's `__init__` (`lazy`), imports inside functions run only when a name is asked for.

    Imports for type checkers alone are none.
    """
    tree = ast.parse(content)
    statements = tree.body if lazy else list(_run(tree))
    names = dict.fromkeys(name for node in statements for name in _imported(node) if name.split(".")[0] == PACKAGE)
    return ParsedFile(code_digest(tree), tuple(names))


def code_digest(tree: ast.Module) -> str:
    """Digest of a syntax tree without its docstrings, which are taken out of it."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [statement for statement in body if not _is_docstring(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    yield tree
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        parts: Iterable[ast.AST] = tree.orelse
    else:
        parts = ast.iter_child_nodes(tree)
    for part in parts:
        yield from _run(part)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_files(name: str, package: Path) -> tuple[Path, ...]:
    folder, files = package, [package / "__init__.py"]
    for part in name.split(".")[1:]:
        if (folder / f"{part}.py").is_file():
            return (*files, folder / f"{part}.py")
        folder = folder / part
        if not folder.is_dir():
            break
        files.append(folder / "__init__.py")
    return tuple(files)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


PACKAGES = ("ntk-atlas", "torch", "pytorch-lightning", "numpy", "scipy", "xarray", "netcdf4", "snakemake")


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of a file's contents."""
    state = path.stat()
    return _file_digest(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=64)
def _file_digest(path: Path, _size: int, _mtime: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def git_revision(folder: Path) -> str:
    """The commit of the repository around `folder`, `-dirty` where tracked files differ; else `unknown`."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def provenance_attributes(folder: Path) -> dict[str, str]:
    """Versions and revision, one text attribute each; no time stamps, so equal runs give equal files."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "git_revision": git_revision(folder),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
