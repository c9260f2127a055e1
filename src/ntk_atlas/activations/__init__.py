"""Activations, one file each: φ and φ' for networks, phases, kernels and checks alike."""

from collections.abc import Callable
from typing import Any

from ntk_atlas.activations.activation import (
    Activation,
    ActivationError,
    ActivationOverflowError,
    adopted,
    dual_at,
    of_function,
)
from ntk_atlas.registry import Registry, is_own

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ActivationChoice",
    "ActivationError",
    "ActivationOverflowError",
    "activation",
    "built_in",
    "dual_at",
]

ACTIVATIONS = Registry("ntk_atlas.activations", Activation, "activation", error=ActivationError, adopt=adopted)
"""All activations that a config can name."""
ActivationChoice = str | Activation | Callable[..., Any]
"""A name of `ACTIVATIONS`; `my_phi.py:phi`; an `Activation`; a torch module such as `nn.LeakyReLU(0.2)`, or any
function that maps a tensor to one of the same shape, entry by entry, differentiable by autograd."""


def activation(choice: ActivationChoice) -> Activation:
    """The activation behind a choice.

    Args:
        choice: see `ActivationChoice`.

    Returns:
        The activation; of a function or module of torch the built-in one, if there is one.

    Raises:
        ActivationError: if there is no activation of that name, or a function is none: it fails, mixes entries, has
            parameters or no derivative.
    """
    if isinstance(choice, Activation):
        return choice
    if isinstance(choice, str):
        return ACTIVATIONS.get(choice)
    known = (value.of_torch(choice) for value in ACTIVATIONS.values())
    return next((value for value in known if value is not None), None) or of_function(choice)


def built_in(name: str) -> Activation | None:
    """The activation of a name; None if it lies in a user's file, which runs in jobs and not where a run is planned."""
    return None if is_own(name) else ACTIVATIONS.get(name)
