"""Names of a room that are imported when they are asked for: whoever takes one does not wait for the others.

The list of a room's names is its `__init__.pyi`, which type checkers and editors read too.
"""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def lazy_names(room: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """What a room's `__init__` calls `__getattr__`, `__dir__` and `__all__`.

    Args:
        room: its `__name__`.
        file: its `__file__`, beside which `__init__.pyi` has a line `from <module> import <name> as <name>` per name.

    Returns:
        The three.
    """
    lines = re.findall(r"^from (\S+) import (\w+) as \2$", Path(file).with_suffix(".pyi").read_text(), re.M)
    homes = {name: module for module, name in lines}

    def getattr_of_room(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return getattr_of_room, lambda: sorted(homes), sorted(homes)
