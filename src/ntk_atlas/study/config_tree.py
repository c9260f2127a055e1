"""A config as a tree that knows where each of its values stands: in which file, in which line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where something stands: a file (or the command line) and a line of it."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class Node:
    """A value of a config.

    Attributes:
        value: a section (dict of nodes by key), a list of nodes, or a scalar.
        place: where its key stands; None for a config that was made in Python.
    """

    value: Any
    place: Place | None = None

    @property
    def is_section(self) -> bool:
        """Whether this is a section: keys with values."""
        return isinstance(self.value, dict)

    def get(self, key: str) -> "Node | None":
        """The value of a key; None if there is none, or this is no section."""
        return self.value.get(key) if self.is_section else None

    def plain(self) -> Any:
        """The value as dicts, tuples and scalars, which is what settings are made of."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return tuple(node.plain() for node in self.value) if isinstance(self.value, list) else self.value

    def path(self, key: Key) -> list["Node"]:
        """The nodes from this one down to `key`, or as far as the config goes."""
        nodes = [self]
        for part in key:
            value = nodes[-1].value
            if isinstance(value, dict) and str(part) in value:
                nodes.append(value[str(part)])
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                nodes.append(value[part])
            else:
                break
        return nodes

    def where(self, key: Key) -> str:
        """Where `key` stands, or the section that lacks it, and which file was laid over it; empty if unknown.

        Args:
            key: of a value of the config, or one that should be there.

        Returns:
            `file, line 3`; with what was laid over the section around it, since that may be what is at fault.
        """
        nodes = self.path(key)
        place = nodes[-1].place
        if place is None:
            return ""
        # Below the root and `experiments`, whose other keys have nothing to do with this one.
        around = nodes[2 if key[:1] == ("experiments",) else 1 : -1]
        later = [node.place for node in around if node.place is not None and node.place.file != place.file]
        return f"{place} (with {later[-1]} laid over it)" if later else str(place)


def tree_of(value: Any, place: Place | None = None) -> Node:
    """The tree of a config that was made of dicts, lists and scalars."""
    if isinstance(value, Mapping):
        return Node({key: tree_of(child, place) for key, child in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([tree_of(child, place) for child in value], place)
    return Node(value, place)


def keys_of(node: Node, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every key of the sections in a tree: where it stands in the tree, and itself."""
    children = node.value.items() if node.is_section else enumerate(node.value if isinstance(node.value, list) else ())
    for part, child in children:
        if node.is_section:
            yield key, part
        yield from keys_of(child, (*key, part))
