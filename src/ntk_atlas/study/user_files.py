"""Code of the user's own that a config names: its digest, and whether it is there."""

import ast
from collections.abc import Iterator
from pathlib import Path

from ntk_atlas.config.network import NetworkSettings, is_own_activation
from ntk_atlas.provenance import file_digest


def user_code(network: NetworkSettings) -> tuple[str, str] | None:
    """The key of `network` that names a file of the user's own, and `my_file.py:function`; None if all is built in."""
    if network.factory is not None:
        return "factory", network.factory
    return ("activation", network.activation) if is_own_activation(network.activation) else None


def user_file_digest(network: NetworkSettings) -> str:
    """Digest of the user's file (a network factory or an activation); empty if all is built in."""
    code = user_code(network)
    return "" if code is None else file_digest(Path(code[1].rpartition(":")[0]))


def user_code_problems(network: NetworkSettings) -> Iterator[tuple[str, str]]:
    """What is wrong with the user's file, without running it: (key, message) of each problem."""
    code = user_code(network)
    if code is None:
        return
    key, (name, _, function) = f"network.{code[0]}", code[1].rpartition(":")
    file = Path(name)
    if not file.is_file():
        yield key, f"there is no file {file} (relative to {Path.cwd()}): correct the path"
        return
    try:
        tree = ast.parse(file.read_text())
    except SyntaxError as error:
        yield key, f"{file}, line {error.lineno}: {error.msg}"
        return
    if function not in _defined(tree):
        yield key, f"{file} has no function {function}: define it, or name the one that is there"


def _defined(tree: ast.Module) -> set[str | None]:
    defined = {getattr(node, "name", None) for node in tree.body}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    return defined
