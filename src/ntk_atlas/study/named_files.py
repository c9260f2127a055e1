"""Files that a config names: relative to the working directory, or beside the config file that names them."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ntk_atlas.study.config_tree import Key, Node
from ntk_atlas.study.problems import Problem

_VALUES = ("factory", "architecture", "activation", "parameterization", "optimizer", "source")
"""Keys whose text may name something in a file, `my_file.py:name`."""
_KEYS = ("path", "claims", "regimes", *_VALUES)
"""Keys whose text names a file."""
_LISTS = ("predictors", "show")
"""Keys of lists in which kernels and figures of the user's are named, `my_kernel.py:k`."""
_OF_FUNCTION = re.compile(r"(?P<file>.*\.py)(?P<function>:[^:/\\]*)", re.DOTALL)


def found_files(tree: Node) -> tuple[Node, list[Problem]]:
    """Resolves the names of files in a config.

    A relative name is looked for in the working directory and in the folder of the config file in which it stands, so
    that a config can lie beside its data and code and be run from anywhere.

    Args:
        tree: the whole config.

    Returns:
        The config, each name that is found only beside its config file replaced by its path from the working
        directory; and what is wrong: names that stand for two files, and characters that no such name may have, since
        it stands in reports and logs, where it must not act.
    """
    problems: list[Problem] = []

    def resolved(node: Node, key: Key) -> Node:
        if node.is_section:
            return replace(node, value={name: resolved(child, (*key, name)) for name, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[resolved(child, (*key, i)) for i, child in enumerate(node.value)])
        named = _named_file(node, key)
        if named is None:
            return node
        file, function = named
        if re.search(r"[<>\x00-\x1f\x7f]", node.value):
            problems.append(Problem(key, f"{node.value!r} has `<`, `>` or a control character: rename the file"))
            return node
        here, *beside = _places(file, node)
        if not beside or not _is_there(beside[0]):
            return node
        if _is_there(here) and not here.samefile(beside[0]):
            problems.append(Problem(key, f"{file} may be {here.absolute()} or {beside[0]}: give its whole path"))
            return node
        return node if _is_there(here) else replace(node, value=Path(os.path.relpath(beside[0])).as_posix() + function)

    return resolved(tree, ()), problems


def _named_file(node: Node, key: Key) -> tuple[str, str] | None:
    """File and function of a value that names a file; None for all other values."""
    of_list = len(key) > 1 and key[-2] in _LISTS
    if not isinstance(node.value, str) or not (key and (key[-1] in _KEYS or of_list)):
        return None
    function = _OF_FUNCTION.fullmatch(node.value)
    if function is not None:
        return function["file"], function["function"]
    return None if of_list or key[-1] in _VALUES else (node.value, "")


def _places(file: str, node: Node) -> Iterator[Path]:
    """Where a file may be: from the working directory, and beside the config file that names it."""
    yield Path(file)
    if node.place is not None and not Path(file).is_absolute() and not file.startswith("~"):
        yield Path(node.place.file).absolute().parent / file


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name: said where the file is read
        return False
