"""What is tried on the user's modules before they are stacked: samples, copies, whether they can be stacked."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ntk_atlas.networks.module_checks import (
    Evaluation,
    FactoryError,
    agree,
    check_members_apart,
    check_one_architecture,
    check_parameters,
    evaluate,
)
from ntk_atlas.networks.plain_state import deep_copy, difference, registered, tensors_with_a_graph
from ntk_atlas.networks.running import is_scripted
from ntk_atlas.tensors import Given, real_tensor


def check_members(modules: Sequence[nn.Module], name: str) -> None:
    """Checks that the modules have parameters, share none, and are of one architecture.

    Raises:
        FactoryError: saying what is wrong, of the network `name`.
    """
    for module in modules:
        check_parameters(module, name)
    check_members_apart(modules, name)
    check_one_architecture(modules, name)


def samples_to_try(
    samples: Given | None, module: nn.Module, input_shape: tuple[int, ...], n_outputs: int, name: str
) -> tuple[Tensor, str]:
    """Returns samples in the network's precision, and what they are in words.

    Raises:
        FactoryError: if they have another shape or are not finite, or the network takes no made-up ones.
    """
    like = next(module.parameters())
    if samples is not None:
        x = real_tensor(samples, "samples", FactoryError).detach()
        if not x.is_floating_point() and _takes_tokens(module, x.to(like.device), n_outputs):
            x = x.to(like.device)
        else:
            x = x.to(like)
        if tuple(x.shape[1:]) != input_shape or not bool(torch.isfinite(x).all()):
            raise FactoryError(
                f"{name} is tried on samples of shape {tuple(x.shape)}: give finite numbers of shape "
                f"(n, *{input_shape})"
            )
        return x, "training samples"
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2, *input_shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(2, *input_shape, generator=generator, dtype=torch.float64)
    first = None
    for made_up in (normal, uniform, uniform.round()):
        try:
            evaluate(module, made_up.to(like), n_outputs, name, "made-up numbers: give samples=, some real inputs")
        except FactoryError as error:
            first = first or error
        else:
            return made_up.to(like), "made-up numbers"
    raise first


def _takes_tokens(module: nn.Module, x: Tensor, n_outputs: int) -> bool:
    try:
        evaluate(module, x, n_outputs, "the network", "training samples")
    except FactoryError:
        return False
    return True


def check_kept_graphs(module: nn.Module, own: Evaluation, x: Tensor, n_outputs: int, name: str) -> None:
    """Checks for tensors made of parameters in the factory, which keep their values when the parameters change.

    Raises:
        FactoryError: if outputs or gradients depend on one.
    """
    kept = tensors_with_a_graph(module)
    if not kept:
        return
    try:
        copied = deep_copy(module)
    except Exception:  # whatever an object of the user's raises: `_keep` builds such a network again
        return
    try:
        found = evaluate(copied, x, n_outputs, name, "training samples")
        same = agree([found.outputs], [own.outputs]) and agree(found.gradients, own.gradients)
    except FactoryError:
        same = False
    if not same:
        raise FactoryError(
            f"{name} uses a tensor that was computed from weights before its forward ({next(iter(kept))!r}), so that "
            "it keeps its value in training: compute it in forward"
        )


def why_not_stacked(modules: Sequence[nn.Module], own: Sequence[Evaluation]) -> str | None:
    """Why the modules, evaluated each by itself (`own`), cannot share one template, in words; None if they can."""
    if is_scripted(modules[0]):
        return "they are TorchScript"
    if changed := [key for e in own for key in e.changed_buffers]:
        return f"their forward changes a buffer ({changed[0]!r})"
    for module in modules[1:]:
        found = difference(modules[0], module)
        if found is not None:
            return f"they differ in {found!r}, which is neither parameter nor buffer"
    try:
        deep_copy(modules[0])
    except Exception as error:  # whatever an object of the user's raises when it is copied
        return f"they cannot be copied ({error})"
    return None


def spoilt(template: nn.Module) -> nn.Module:
    """The module with weights that show: whoever uses them, instead of those of a member, gives other numbers."""
    with torch.no_grad():
        for tensor in registered(template).values():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.data = torch.full_like(tensor, torch.nan)
            elif tensor.dtype == torch.bool:
                tensor.data = ~tensor
            else:
                tensor.data = torch.full_like(tensor, torch.iinfo(tensor.dtype).min)
    return template


def tried_copy(
    make: Callable[[], nn.Module], expected: Evaluation, x: Tensor, n_outputs: int
) -> tuple[nn.Module | None, str]:
    """Returns a copy and "", or None and what is wrong with it."""
    try:
        copied = make()
    except Exception as error:  # whatever an object of the user's raises when it is copied
        return None, f"{type(error).__name__}: {error}"
    try:
        found = evaluate(copied, x, n_outputs, "its copy", "training samples")
    except FactoryError as error:
        return None, str(error)
    if not agree([found.outputs], [expected.outputs]) or not agree(found.gradients, expected.gradients):
        return None, "a copy gives other outputs or gradients"
    return copied, ""
