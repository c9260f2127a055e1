"""What a network holds besides what it computes: attributes, containers, buffers, compared before and after a run."""

import types
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from torch import Tensor, nn

# Whoever holds more (a data set, a trainer) is not looked through.
_MOST = 100_000
_OPAQUE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


class HeldState:
    """All that can be reached from a network's modules at one moment.

    Every object found is kept alive: the address of a freed one would go to the next, which would then pass for it.
    Tensors are taken down with their count of writes in place. What functions close over, global variables and the
    memory of objects without attributes (NumPy arrays) are not seen.

    Args:
        network: any module.
    """

    def __init__(self, network: nn.Module):
        self._held = list(_reach(network))

    def is_as_in(self, other: "HeldState") -> bool:
        """Whether nothing was replaced, added, removed or written to between the two moments.

        Args:
            other: of the same network.

        Returns:
            False as well if there is too much to look through.
        """
        pairs = zip_longest(self._held, other._held, fillvalue=(None, None))
        return len(self._held) <= _MOST and all(a is b and m == n for (a, m), (b, n) in pairs)


def _reach(network: nn.Module) -> Iterator[tuple[object, int | None]]:
    """Objects in a fixed order, at most one more than `_MOST`, each with its writes in place if it is a tensor."""
    waiting, entered = [network], set()
    for _ in range(_MOST + 1):
        if not waiting:
            return
        held = waiting.pop()
        if isinstance(held, Tensor):
            yield held, None if held.is_inference() else held._version
        else:
            yield held, None
        if id(held) not in entered:
            entered.add(id(held))
            waiting += _parts(held)


def _parts(held: object) -> list:
    if isinstance(held, (str, bytes, Tensor, *_OPAQUE)):
        return []
    parts = [] if (attributes := getattr(held, "__dict__", None)) is None else [*attributes, *attributes.values()]
    if isinstance(held, Mapping):
        return [*parts, *held, *held.values()]
    return [*parts, *held] if isinstance(held, (list, tuple, set, frozenset, deque)) else parts
