"""What modules hold outside registered parameters and buffers: plain tensors, numbers, lists, closures, objects.

torch moves, copies and stacks registered tensors only. Here the rest is found, compared, converted and copied.
"""

import copy
import functools
import re
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ntk_atlas.numerics import equal_tensors

# A module may lead to a whole data set: what is looked at is bounded.
_MOST_OBJECTS = 100_000
_VALUES = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device, Enum, np.generic, range, slice)
_OF_EVERY_CLASS = frozenset(
    ("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__firstlineno__",
     "__static_attributes__", "__annotate_func__", "__annotations_cache__", "_abc_impl")
)  # fmt: skip

Setter = Callable[[object], None] | None


def registered(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module by name, each once."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def called_with(module: nn.Module, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The module's output at x with other parameters and buffers, after which it has its own again.

    `torch.func.functional_call` puts them back by name, and the wrong ones where a module has two names.
    """
    held = [(part._parameters, dict(part._parameters), part._buffers, dict(part._buffers)) for part in module.modules()]
    try:
        return functional_call(module, state, (x,))
    finally:
        for parameters, own, buffers, own_buffers in held:
            parameters.update(own)
            buffers.update(own_buffers)


def tensors_with_a_graph(module: nn.Module) -> dict[str, Tensor]:
    """Tensors with a graph that a module keeps outside parameters and buffers, by the path that leads to each."""
    return {path: held for path, held in _reach(module) if isinstance(held, Tensor) and held.grad_fn is not None}


def unregistered_weights(module: nn.Module) -> list[str]:
    """Paths of weights that `module.parameters()` does not have, as those of modules in a plain list."""
    known = {id(p) for p in module.parameters()}
    return [
        path
        for path, held in _reach(module)
        if isinstance(held, Tensor) and held.is_leaf and held.requires_grad and id(held) not in known
    ]


def deep_copy(module: nn.Module) -> nn.Module:
    """A deep copy; tensors with a graph, which torch does not copy, lose it.

    Raises:
        TypeError: if it is no copy, because a `__deepcopy__` of the user's returns weights of the module itself.
        Exception: whatever an object of the user's raises when it is copied.
    """
    memo = {id(t): t.detach().clone() for t in tensors_with_a_graph(module).values()}
    with torch.no_grad():  # else TorchScript copies its weights with a graph
        copied = copy.deepcopy(module, memo)
    for p, source in zip(copied.parameters(), module.parameters(), strict=True):
        if p.numel() and p.data_ptr() == source.data_ptr():
            raise TypeError(f"a deep copy of {type(module).__name__} shares its weights")
        p.requires_grad_(source.requires_grad)
    return copied


def convert_plain_tensors(module: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
    """Replaces every tensor that a module holds outside parameters and buffers by `convert(tensor)`.

    Args:
        module: changed in place, with what its attributes, lists, closures and unregistered modules hold.
        convert: moves a tensor to another device or precision.
    """
    done: dict[int, tuple[object, object]] = {id(t): (t, t) for t in registered(module).values()}

    def converted(held: object) -> object:
        if isinstance(held, _VALUES):
            return held
        if id(held) in done or len(done) > _MOST_OBJECTS:
            return done.get(id(held), (held, held))[1]
        new = held
        if isinstance(held, Tensor):
            if isinstance(held, nn.Parameter):
                held.data = convert(held.data)
            else:
                other = convert(held.detach())
                if (other.dtype, other.device) != (held.dtype, held.device):
                    new = other.requires_grad_(held.requires_grad and held.is_leaf)
            done[id(held)] = (held, new)
            return new
        done[id(held)] = (held, held)
        if isinstance(held, tuple):
            items = [converted(item) for item in held]
            if any(a is not b for a, b in zip(items, held, strict=True)):
                new = type(held)(*items) if hasattr(held, "_fields") else type(held)(items)
                done[id(held)] = (held, new)
            return new
        for _, part, put in _parts(held, classes=_is_local, values=False):
            other = converted(part)
            if other is not part and put is not None:
                put(other)
        return new

    with torch.no_grad():
        converted(module)


def difference(one: nn.Module, other: nn.Module, *, values: bool = False, doubtful: bool = True) -> str | None:
    """Where two modules of one architecture differ outside the values of their parameters and buffers.

    Classes and functions that were made anew for each module are equal if their code is, and what they close over.

    Args:
        one: a module.
        other: another.
        values: whether the values of parameters and buffers count too.
        doubtful: whether what cannot be compared counts as a difference.

    Returns:
        The path to the first thing that differs; None if nothing does.
    """
    names = [{id(t): name for name, t in registered(module).items()} for module in (one, other)]
    seen: dict[tuple[int, int], tuple[object, object]] = {}

    def differs(a: object, b: object, path: str) -> str | None:
        if (id(a), id(b)) in seen or (a is b and not isinstance(a, Tensor)):
            return None
        if isinstance(a, _VALUES) and isinstance(b, _VALUES):
            return None if a == b or (a != a and b != b) else path
        seen[id(a), id(b)] = (a, b)
        if len(seen) > _MOST_OBJECTS:
            return path if doubtful else None
        if not _same_kind(type(a), type(b)):
            return path
        if isinstance(a, Tensor):
            name, twin = names[0].get(id(a)), names[1].get(id(b))
            same = name == twin and (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
            return None if same and ((name is not None and not values) or equal_tensors(a, b)) else path
        if isinstance(a, np.ndarray) and a.dtype != object:
            return None if np.array_equal(a, b, equal_nan=a.dtype.kind in "fc") else path
        if type(a) in (list, tuple) and all(isinstance(item, _VALUES) for item in (*a, *b)):
            return None if a == b else path
        if isinstance(a, torch.Generator):
            return None if torch.equal(a.get_state(), b.get_state()) else path
        if isinstance(a, set | frozenset | types.BuiltinFunctionType):
            return None if a == b else path
        if isinstance(a, types.FunctionType) and a.__code__ != b.__code__:
            return path
        parts = [_comparable_parts(held) for held in (a, b)]
        if None in parts or (isinstance(a, types.FunctionType) and a.__globals__ is not b.__globals__):
            return path if doubtful else None
        if [label for label, _ in parts[0]] != [label for label, _ in parts[1]]:
            return path
        for (label, part), (_, twin) in zip(*parts, strict=True):
            found = differs(part, twin, path + label)
            if found is not None:
                return found
        return None

    try:
        found = differs(one, other, "")
    except RecursionError:  # too deep to be compared, as a graph of operations is
        return type(one).__name__ if doubtful else None
    return None if found is None else _readable(found) or type(one).__name__


def _readable(path: str) -> str:
    """The path as one writes it: `layers[0].weight`."""
    path = re.sub(r"\._(?:modules|parameters|buffers)\['([^']*)'\]", r".\1", path)
    return re.sub(r"\._[a-z_]*hooks[a-z_]*\[\d+\]", " (hook)", path).strip(". ")


def _same_kind(a: type, b: type) -> bool:
    return a is b or (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__)


def _is_local(cls: type) -> bool:
    return "<locals>" in cls.__qualname__


def _comparable_parts(held: object) -> list[tuple[str, object]] | None:
    """Returns labels and parts of an object, its class among them if it may be another; None if it is opaque."""
    parts = [(label, part) for label, part, _ in _parts(held, classes=lambda _: True)]
    if isinstance(held, (type, nn.Module, *_OPEN)):
        return parts if isinstance(held, type) else [*parts, (f" ({type(held).__name__})", type(held))]
    if hasattr(held, "__dict__") and all(getattr(type(held), m, None) is getattr(object, m) for m in _PICKLING):
        return [*parts, (f" ({type(held).__name__})", type(held))]
    try:  # its state may lie where no attribute leads
        made_of = held.__reduce_ex__(4)
    except Exception:  # whatever an object raises that cannot be taken apart
        return None
    return None if isinstance(made_of, str) else [*parts, ("", list(made_of[1:3]))]


_OPEN = (
    list, tuple, dict, deque, types.FunctionType, types.MethodType, types.CellType, functools.partial, staticmethod,
    classmethod, property, weakref.ref,
)  # fmt: skip
_CLOSED = (Tensor, np.ndarray, types.ModuleType, types.BuiltinFunctionType, *_VALUES)
_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")


def _parts(
    held: object, *, classes: Callable[[type], bool], values: bool = True
) -> Iterator[tuple[str, object, Setter]]:
    """Yields what an object holds: a label, the part, and what puts another in its place (None if nothing does).

    Parts of a class are those of one that `classes` is true of; numbers and texts in lists are left out on demand.
    """
    if isinstance(held, _CLOSED):
        return
    if isinstance(held, list | deque):
        for i, part in enumerate(list(held)):
            if values or not isinstance(part, _VALUES):
                yield f"[{i}]", part, functools.partial(held.__setitem__, i)
    elif isinstance(held, tuple):
        yield from ((f"[{i}]", part, None) for i, part in enumerate(held) if values or not isinstance(part, _VALUES))
    elif isinstance(held, dict):
        yield from ((f"[{key!r}]", held[key], functools.partial(held.__setitem__, key)) for key in list(held))
    elif isinstance(held, set | frozenset):
        yield from ((f"[{i}]", part, None) for i, part in enumerate(held))
    elif isinstance(held, types.FunctionType):
        for name, cell in zip(held.__code__.co_freevars, held.__closure__ or (), strict=True):
            yield f".{name}", cell, None
        yield from _given(held.__defaults__, held.__kwdefaults__)
    elif isinstance(held, types.CellType):
        try:
            yield "", held.cell_contents, functools.partial(setattr, held, "cell_contents")
        except ValueError:  # nothing in it yet
            return
    elif isinstance(held, types.MethodType):
        yield "", held.__func__, None
        yield ".__self__", held.__self__, None
    elif isinstance(held, functools.partial):
        yield from (("", held.func, None), (".args", held.args, None), (".keywords", held.keywords, None))
    elif isinstance(held, staticmethod | classmethod):
        yield "", held.__func__, None
    elif isinstance(held, property):
        yield from ((f".{name}", getattr(held, name), None) for name in ("fget", "fset", "fdel"))
    elif isinstance(held, weakref.ref):
        yield "", held(), None
    elif isinstance(held, type):
        if classes(held) and held.__module__ != "builtins":
            for key, part in list(vars(held).items()):
                if key not in _OF_EVERY_CLASS:
                    yield f".{key}", part, functools.partial(setattr, held, key)
            yield ".__bases__", held.__bases__, None
    if isinstance(held, type | torch.jit.ScriptModule | types.MethodType):
        return
    yield from _attributes(held, classes)


def _given(defaults: tuple | None, by_keyword: dict | None) -> Iterator[tuple[str, object, Setter]]:
    yield "(defaults)", defaults, None
    yield "(defaults by keyword)", by_keyword, None


def _attributes(held: object, classes: Callable[[type], bool]) -> Iterator[tuple[str, object, Setter]]:
    attributes = getattr(held, "__dict__", None)
    for key, part in list(attributes.items()) if isinstance(attributes, dict) else ():
        if isinstance(held, nn.Module) and isinstance(part, dict) and "hook" in str(key):
            part = list(part.values())  # keys are counted over all modules there are
        yield f".{key}", part, functools.partial(attributes.__setitem__, key) if not isinstance(part, list) else None
    for cls in type(held).__mro__:
        for key in getattr(cls, "__slots__", ()) if not isinstance(held, Tensor) else ():
            if isinstance(key, str) and key not in ("__dict__", "__weakref__") and hasattr(held, key):
                yield f".{key}", getattr(held, key), functools.partial(setattr, held, key)
    if isinstance(attributes, dict) and classes(type(held)) and _is_local(type(held)):
        yield f" ({type(held).__name__})", type(held), None


def _reach(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yields everything that is reached from a module, each object once, with a path to it."""
    waiting, entered = deque([("", module)]), {}
    while waiting and len(entered) < _MOST_OBJECTS:
        path, held = waiting.popleft()
        if id(held) not in entered and not isinstance(held, _VALUES):
            entered[id(held)] = held  # kept: the address of a freed object would go to another
            yield _readable(path), held
            waiting.extend((path + label, part) for label, part, _ in _parts(held, classes=_is_local, values=False))
