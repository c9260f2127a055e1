"""What is wrong with the user's code that a config names, found without running it."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import user_kernels
from ntk_atlas.jobs.parts.user_files import user_code


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
