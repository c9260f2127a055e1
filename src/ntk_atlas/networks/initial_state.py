"""Weights that a network starts from, read from a file, and the parameters that train: fine-tuning.

Files are read as weights alone, and nothing in them is executed. They are a `state_dict`, or a checkpoint of Lightning
that holds one under `state_dict`; a prefix that all keys share, as of the module's name in a Lightning module, is taken
off.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ntk_atlas.user_code import told


class InitialStateError(ValueError):
    """A file of weights that cannot be read, or that is of another module; patterns that name no parameter."""


def read_state(given: Mapping[str, Any] | str | Path) -> Mapping[str, Tensor]:
    """Tensors by name, from a file or as they are given.

    Args:
        given: a `state_dict`, a mapping that holds one under `state_dict`, or the path of a file of either.

    Returns:
        The tensors, on the CPU if they come from a file.

    Raises:
        InitialStateError: if there is no such file, or it holds anything but weights.
    """
    state: Any = given
    if isinstance(given, str | Path):
        if not Path(given).is_file():
            raise InitialStateError(f"there is no file {given}")
        try:
            state = torch.load(given, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InitialStateError(
                f"{given} cannot be read as weights alone ({told(error)}): save `module.state_dict()` by torch.save"
            ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise InitialStateError(
            f"a {type(state).__name__} is no state_dict: give `module.state_dict()` or a file of it"
        )
    return state


def load_state(module: nn.Module, state: Mapping[str, Tensor], *, whole: bool) -> list[str]:
    """Overwrites the weights and buffers of a module by those of a state.

    Args:
        module: changed in place.
        state: from `read_state`; tensors that the module does not have are left out.
        whole: whether the state must have all that the module has.

    Returns:
        Names of the module's tensors that the state does not have; they stay as they are.

    Raises:
        InitialStateError: if the state has nothing of the module, lacks a tensor of it though `whole` is asked, or has
            one of another shape.
    """
    wanted = module.state_dict()
    prefix = _prefix(state, wanted)
    missing = [key for key in wanted if prefix + key not in state]
    if wanted and (len(missing) == len(wanted) or (whole and missing)):
        raise InitialStateError(f"lacks {missing[0]!r}: it is of another module")
    found = {key: state[prefix + key] for key in wanted if prefix + key in state}
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise InitialStateError(
                f"has {key!r} of shape {tuple(tensor.shape)}, the module {tuple(wanted[key].shape)}: it is of another "
                "module"
            )
    module.load_state_dict(found, strict=False)
    return missing


def trainable_names(module: nn.Module, patterns: Sequence[str] | None) -> set[str]:
    """Makes only the parameters that patterns name trainable.

    Args:
        module: `requires_grad` of its parameters is changed in place.
        patterns: of names, such as `head.*` or `*.lora_*`; None leaves all as they are.

    Returns:
        Names of the trainable parameters.

    Raises:
        InitialStateError: if a pattern names none.
    """
    every = dict(module.named_parameters())
    if patterns is None:
        return {name for name, p in every.items() if p.requires_grad}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in every):
            shown = ", ".join(list(every)[:8]) + (", …" if len(every) > 8 else "")
            raise InitialStateError(f"no parameter is named {pattern!r}; there are {shown}")
    names = {name for name in every if any(fnmatchcase(name, pattern) for pattern in patterns)}
    for name, p in every.items():
        p.requires_grad_(name in names)
    return names


def _prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What stands before all keys that state and module share; the one under which the state has most of the module."""
    prefixes = {""} | {key[: -len(name)] for key in state for name in wanted if key.endswith(name)}
    return max(sorted(prefixes), key=lambda prefix: sum(prefix + name in state for name in wanted))
