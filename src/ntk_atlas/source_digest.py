"""A digest of the code that a script really runs, blind to comments, docstrings and formatting.

A workflow engine sees the script of a rule, not the modules that the script imports. So each rule has this digest
as a parameter: an edit that can change its numbers changes the digest, and no other edit does.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PACKAGE = "ntk_atlas"


def source_files(script: Path, package: Path) -> tuple[Path, ...]:
    """The script and all package modules it imports, directly or through others, at any level of the code.

    Args:
        script: a Python file that imports from the package by absolute names.
        package: folder of the package.

    Returns:
        The files: the script first, then the modules in the order of their paths. A package's `__init__` belongs
        to each of its modules, as Python runs it on their import; names that it only re-exports lazily do not.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting.extend(_imports(file, package))
    return (script, *sorted(found - {script}))


def source_digest(script: Path, package: Path) -> str:
    """16 hexadecimal digits over the syntax trees of `source_files(script, package)`."""
    digest = hashlib.sha256()
    for file in source_files(script, package):
        name = file.name if file == script else file.relative_to(package).as_posix()
        digest.update(f"{name}\n{_normalized(file, file.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


def _imports(file: Path, package: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(file, file.stat().st_mtime_ns)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE and not _is_lazy(file, node, package):
                yield from _module_files(name.split(".")[1:], package)


def _is_lazy(file: Path, node: ast.stmt, package: Path) -> bool:
    """Whether the import stands in a package's `__getattr__`: it runs only when the name is asked for."""
    if file.name != "__init__.py" or not file.is_relative_to(package):
        return False
    return node not in _tree(file, file.stat().st_mtime_ns).body


def _module_files(parts: list[str], package: Path) -> Iterator[Path]:
    folder = package
    yield folder / "__init__.py"
    for part in parts:
        if (folder / f"{part}.py").is_file():
            yield folder / f"{part}.py"
            return
        folder = folder / part
        if not folder.is_dir():
            return
        yield folder / "__init__.py"


@lru_cache(maxsize=1024)
def _tree(file: Path, _mtime: int) -> ast.Module:
    return ast.parse(file.read_text())


@lru_cache(maxsize=1024)
def _normalized(file: Path, mtime: int) -> str:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [statement for statement in body if not _is_docstring(statement)]
    return ast.dump(tree)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
