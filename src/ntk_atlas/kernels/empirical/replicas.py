"""Networks that may run at the same time, each on a thread of its own, with the same parameters.

A `forward` may keep things in its modules for later in the same run: skip connections on a list, a condition that is
set and taken away, parameters exchanged for a moment. Two runs of the same modules would take them from each other.
"""

import copy
import logging
import types
from collections import deque
from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

log = logging.getLogger(__name__)

# Modules of these packages keep nothing; whoever derives from them is elsewhere.
_KNOWN = (
    "torch.nn.modules.",
    "ntk_atlas.networks.convolutional",
    "ntk_atlas.networks.fully_connected",
    "ntk_atlas.networks.stacked",
)
# A network that holds a data set is not copied. Bytes are those of all copies: they are in no memory plan.
_MOST_OBJECTS = 100_000
_MOST_BYTES = 16 * 2**20
_OPAQUE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, str, bytes)


def replicas(network: nn.Module, count: int) -> list[nn.Module]:
    """The network and copies of it that share its parameters and nothing else that a run could change.

    Networks of known modules alone need no copies and come `count` times. What functions close over, global
    variables and attributes of classes are not copied.

    Args:
        network: in evaluation mode.
        count: how many are wanted.

    Returns:
        `count` networks, the first of them `network`; it alone where runs may not overlap: if there are forward
        hooks, or attributes on parameters, or its modules hold too much to be copied, or cannot be copied.
    """
    if count <= 1 or _has_hooks(network) or any(vars(p) for p in network.parameters()):
        return [network]
    if all(type(m).__module__.startswith(_KNOWN) and "forward" not in vars(m) for m in network.modules()):
        return [network] * count
    copies = [network]
    try:
        if not _is_small(network, count - 1):
            log.debug("%s holds too much to be copied: its passes run in turn", type(network).__name__)
            return [network]
        for _ in range(count - 1):
            copies.append(_private_copy(network))
    except Exception as problem:  # whatever a user's object raises when it is looked through or copied
        log.debug("%s cannot be copied, its passes run in turn: %s", type(network).__name__, problem)
        return [network]
    return copies


def twins(network: nn.Module, replica: nn.Module) -> dict[nn.Module, nn.Module]:
    """Which module of a replica stands for which of the network's."""
    return dict(zip(network.modules(), replica.modules(), strict=True))


def _has_hooks(network: nn.Module) -> bool:
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return True
    return any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def _private_copy(network: nn.Module) -> nn.Module:
    parameters = list(network.parameters())
    replica = copy.deepcopy(network, {id(p): p for p in parameters})
    pairs = zip(parameters, replica.parameters(), strict=True)
    if any(a is not b for a, b in pairs) or any(type(a) is not type(b) for a, b in twins(network, replica).items()):
        raise TypeError("the copy is another network")
    return replica


def _is_small(network: nn.Module, copies: int) -> bool:
    """Whether what is reached from the modules, parameters aside, is few objects, and all copies of it few bytes."""
    n_bytes = 0
    for count, held in enumerate(_reach(network)):
        if isinstance(held, Tensor | np.ndarray) and not isinstance(held, nn.Parameter):
            n_bytes += held.nbytes
        if count >= _MOST_OBJECTS or n_bytes * copies > _MOST_BYTES:
            return False
    return True


def _reach(network: nn.Module) -> Iterator[object]:
    waiting: list[Iterator[object]] = [iter([network])]
    entered: dict[int, object] = {}
    while waiting:
        for held in waiting[-1]:
            yield held
            if id(held) not in entered:
                entered[id(held)] = held  # kept: the address of a freed object would go to another
                waiting.append(_parts(held))
                break
        else:
            waiting.pop()


def _parts(held: object) -> Iterator[object]:
    if isinstance(held, _OPAQUE):
        return
    yield from getattr(held, "__dict__", {}).values()
    if isinstance(held, dict):
        yield from held.values()
    elif isinstance(held, list | tuple | set | frozenset | deque):
        yield from held
