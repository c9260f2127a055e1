"""The conditions under which a network is run for its kernel, the same in every pass, and how it is left: as it was.

Replicas of a network, with the same parameters, may run at the same time, each on a thread of its own. A `forward` may
keep things in its modules for later in the same run: skip connections on a list, a condition that is set and taken
away, parameters exchanged for a moment. Two runs of the same modules would take them from each other.
"""

import copy
import logging
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from ntk_atlas.kernels.errors import KernelInputError, MixedSamplesError, RandomNetworkError
from ntk_atlas.networks.running import EMBEDDINGS, eagerly, in_evaluation_mode
from ntk_atlas.networks.stacked import keeps_nothing
from ntk_atlas.numerics import plain_attention, precise_math
from ntk_atlas.streams import kept_streams

# Their base classes are private in torch.
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONTAINERS = (list, set, deque, dict, OrderedDict, defaultdict)
_Container = list[object] | set[object] | deque[object] | dict[object, object]
log = logging.getLogger(__name__)

# A network that holds a data set is not copied. Bytes are those of all copies: they are in no memory plan.
_MOST_OBJECTS = 100_000
_MOST_BYTES = 16 * 2**20
_OPAQUE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, str, bytes)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Runs of the network in the block are evaluations of its function f, all under the same conditions.

    Evaluation mode: dropout off, batch normalization with its running statistics. Gradients are recorded, matrix
    products have full precision, autocast is off. Attention and recurrence are made of separate products, parts that
    are compiled run as they are written, and embeddings give dense gradients: each is another way to the same f,
    without rules for some derivatives. Hooks on gradients, of modules and of parameters, are off: no part of f.

    The network is left as it was, whatever its `forward` and `train` do: training flags, buffers, attributes of its
    modules (numbers, tensors, and what lists, sets and dictionaries of theirs hold), and the global random streams.

    Args:
        network: any module.

    Yields:
        Nothing.

    Raises:
        KernelInputError: if the network has no evaluation mode.
        MixedSamplesError: if batch normalization stays in training mode (a `train` method of the user's own).
        RandomNetworkError: if dropout does.
    """
    accelerators = {p.device for p in network.parameters() if p.device.type == "cuda"}
    with ExitStack() as stack:
        for context in (
            torch.inference_mode(False),
            torch.enable_grad(),
            precise_math(),
            plain_attention(),
            _recurrence_of_separate_products(network),
            eagerly(attention=False),
            kept_streams(sorted(accelerators, key=str)),
            _left_as_it_was(network),
            _no_hooks_on_gradients(network),
            _dense_embeddings(network),
            _no_training_mode(network),
        ):
            stack.enter_context(context)
        yield


@contextmanager
def _recurrence_of_separate_products(network: nn.Module) -> Iterator[None]:
    """Recurrent layers step by step: fused forms hide where parameters meet samples, and have no batching rule."""
    if not any(isinstance(m, nn.RNNBase) for m in network.modules()):
        yield
        return
    fused = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    torch._C._set_cudnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(fused[0])
        torch._C._set_cudnn_enabled(fused[1])


@contextmanager
def _no_training_mode(network: nn.Module) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(in_evaluation_mode(network))
        except NotImplementedError as error:
            raise KernelInputError(
                f"{type(network).__name__} has no evaluation mode ({error}): give the network that it was made from"
            ) from error
        for name, module in network.named_modules():
            if module.training and isinstance(module, _BATCH_NORMS):
                raise MixedSamplesError(
                    f"batch normalization {name!r} stays in training mode after `eval()`: a sample's output would "
                    "depend on the rest of its batch. Put it into evaluation mode, with its running statistics"
                )
            if module.training and isinstance(module, _DROPOUTS):
                raise RandomNetworkError(
                    f"dropout {name!r} stays in training mode after `eval()`: the kernel would be random. "
                    "Put it into evaluation mode"
                )
        yield


@contextmanager
def _no_hooks_on_gradients(network: nn.Module) -> Iterator[None]:
    of_modules = [torch_module._global_backward_hooks, torch_module._global_backward_pre_hooks]
    of_modules += [hooks for m in network.modules() for hooks in (m._backward_hooks, m._backward_pre_hooks)]
    of_modules += [getattr(p, "_post_accumulate_grad_hooks", None) or {} for p in network.parameters()]
    emptied = [(hooks, dict(hooks)) for hooks in of_modules if hooks]
    of_parameters = [(p, p._backward_hooks) for p in network.parameters() if p._backward_hooks]
    for hooks, _ in emptied:
        hooks.clear()
    for p, _ in of_parameters:
        p._backward_hooks = None
    try:
        yield
    finally:
        for hooks, held in emptied:
            hooks.update(held)
        for p, own in of_parameters:
            p._backward_hooks = own


@contextmanager
def _dense_embeddings(network: nn.Module) -> Iterator[None]:
    sparse = [m for m in network.modules() if isinstance(m, EMBEDDINGS) and m.sparse]
    for module in sparse:
        module.sparse = False
    try:
        yield
    finally:
        for module in sparse:
            module.sparse = True


@contextmanager
def _left_as_it_was(network: nn.Module) -> Iterator[None]:
    # Without duplicates: what two modules share is put back once, from the one copy.
    attributes = [(vars(m), dict(vars(m))) for m in network.modules() if not isinstance(m, torch.jit.ScriptModule)]
    held = [value for _, before in attributes for value in before.values()]
    containers = {id(c): (c, c.copy()) for c in held if _is_container(c)}
    tensors = [*network.buffers(), *(t for t in held if isinstance(t, Tensor) and not isinstance(t, nn.Parameter))]
    tensors += [m.weight for m in network.modules() if isinstance(m, EMBEDDINGS) and m.max_norm is not None]
    copies = {id(t): (t, t._version, t.detach().clone()) for t in tensors if not t.is_inference()}
    try:
        yield
    finally:
        for now, before in attributes:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update(before)
        for container, content in containers.values():
            _put_back(container, content)
        with torch.no_grad():
            for tensor, version, copy in copies.values():
                if tensor._version != version:
                    tensor.copy_(copy)


def _is_container(value: object) -> TypeGuard[_Container]:
    return type(value) in _CONTAINERS


def _put_back(container: _Container, content: _Container) -> None:
    same = len(container) == len(content) and all(map(lambda a, b: a is b, container, content))
    if isinstance(container, dict) and isinstance(content, dict):
        if not same or any(container[key] is not content[key] for key in content):
            container.clear()
            container.update(content)
    elif not same:
        container.clear()
        if isinstance(container, set):
            container.update(content)
        elif isinstance(container, list | deque):
            container.extend(content)


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
    if all(_keeps_nothing(m) and "forward" not in vars(m) for m in network.modules()):
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


def _keeps_nothing(module: nn.Module) -> bool:
    # Modules of torch keep nothing; whoever derives from them is elsewhere.
    return type(module).__module__.startswith("torch.nn.modules.") or keeps_nothing(module)


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
