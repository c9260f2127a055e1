"""Code of the user's own that a config names: its digest, and whether it is there."""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path

from ntk_atlas.config.network import NetworkSettings
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
