"""NTK Atlas: where do finite networks leave neural tangent kernel theory?"""

import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

# Large arrays of torch come in huge pages where the system allows it: 100 MB are there in 6 ms instead of 28.
# Torch reads this when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def lazy_names(room: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """What a room's `__init__` calls `__getattr__`, `__dir__` and `__all__`: names that are imported when asked for.

    Whoever takes one name of a room does not wait for the others. The list of names is the room's `__init__.pyi`, which
    type checkers and editors read too.

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


__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
