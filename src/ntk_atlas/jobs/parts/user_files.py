"""Code of the user's own that a config names: its digest, and whether it is there."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import user_kernels
from ntk_atlas.registry import is_own
from ntk_atlas.source_digest import code_digest
from ntk_atlas.user_imports import followed


def user_code(network: NetworkSettings | None, optimizer: str | None = None) -> dict[str, str]:
    """What the user has brought for networks and their training: `my_file.py:name` by key; empty if all is built in."""
    named = {}
    if network is not None:
        keys = ("factory", "architecture", "activation", "parameterization")
        named = {f"network.{key}": getattr(network, key) for key in keys}
    if optimizer is not None:
        named["training.optimizer"] = optimizer
    return {key: name for key, name in named.items() if name is not None and is_own(name)}


def user_file_digest(network: NetworkSettings | None, optimizer: str | None = None) -> str:
    """Digest of the user's code behind networks and their training; empty if all is built in."""
    return "+".join(code_file_digest(Path(n.rpartition(":")[0])) for n in user_code(network, optimizer).values())


def code_file_digest(file: Path) -> str:
    """16 hexadecimal digits of a user's file and of all files of the user's own that it imports.

    It is blind to comments, docstrings and formatting, and to where the files lie.

    Args:
        file: named in the config.

    Returns:
        The digest.
    """
    parts = sorted((name, _code_digest(place)) for name, place in followed(file).items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _code_digest(file: Path) -> str:
    try:
        return _digest_of(file.read_bytes())
    except OSError:  # gone since it was found: the job that imports it says so
        return ""


@lru_cache(maxsize=512)
def _digest_of(content: bytes) -> str:
    try:
        return code_digest(ast.parse(content))
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(content).hexdigest()


def user_code_problems(
    network: NetworkSettings, predictors: Iterable[str] = (), optimizer: str | None = None
) -> Iterator[tuple[str, str]]:
    """What is wrong with the user's files, without running them: (key, message) of each problem."""
    for key, name in user_code(network, optimizer).items():
        yield from _problems_of(key, name)
    for kernel in user_kernels(predictors).values():
        yield from _problems_of("regression.predictors", kernel)


def _problems_of(key: str, spec: str) -> Iterator[tuple[str, str]]:
    name, _, function = spec.rpartition(":")
    file = Path(name)
    if not file.is_file():
        yield key, f"there is no file {file} (relative to {Path.cwd()} or beside the config): correct the path"
        return
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        yield key, f"{file}, line {error.lineno or 1}: {error.msg}"
        return
    except (OSError, ValueError) as error:  # rights; a null byte
        yield key, f"{file} cannot be read as Python code: {error}"
        return
    defined = _defined(tree.body)
    if not {function, "*", "__getattr__"} & defined:
        yield key, f"{file} has no function {function}: define it, or name the one that is there"


def _defined(body: list[ast.stmt]) -> set[str | None]:
    """Names that a module's statements give it, those inside `if`, `try` and `with` too; "*" for names not told."""
    defined: set[str | None] = set()
    for node in body:
        defined.add(getattr(node, "name", None))
        if isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            defined |= {name.id for name in stored}
            for inner in ("body", "orelse", "finalbody", "handlers"):
                parts = getattr(node, inner, [])
                blocks = [part.body for part in parts] if inner == "handlers" else [parts]
                for block in blocks:
                    defined |= _defined(block)
    return defined
