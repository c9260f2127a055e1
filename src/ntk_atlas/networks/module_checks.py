"""What modules of the user's own compute on samples, by themselves and copied, and whether they can be stacked."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntk_atlas.networks.plain_state import deep_copy, difference, registered, tensors_with_a_graph
from ntk_atlas.networks.running import (
    EMBEDDINGS,
    accumulated_gradients,
    eagerly,
    in_evaluation_mode,
    is_scripted,
    without_symmetry,
    without_wrappers,
)
from ntk_atlas.numerics import Given, equal_tensors, is_out_of_memory, plain_attention, precise_math, real_tensor
from ntk_atlas.streams import global_streams
from ntk_atlas.user_code import told


class FactoryError(ValueError):
    """The user's factory cannot be loaded, or what it returns is not a usable network."""


@dataclass(frozen=True)
class Evaluation:
    """What a module computes on samples, in evaluation mode.

    Attributes:
        outputs: `(n, C)`.
        gradients: of Σ_ic v_ic f_c(x_i) for fixed v without symmetry, one a trainable parameter.
        changed_buffers: names of buffers that the forward pass changed.
        changes_input: whether it wrote into its input.
    """

    outputs: Tensor
    gradients: list[Tensor]
    changed_buffers: tuple[str, ...] = ()
    changes_input: bool = False


def plain_network(module: nn.Module) -> nn.Module:
    """The network inside wrappers: `torch.compile`, `DataParallel`; sparse gradients of embeddings become dense.

    Args:
        module: changed in place where wrappers lie further in.

    Returns:
        The network.
    """
    module = without_wrappers(module)
    for part in list(module.modules()):
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for name, child in part._modules.items():
            if child is not None and child is not (inner := without_wrappers(child)):
                part._modules[name] = inner
        if isinstance(part, EMBEDDINGS):
            part.sparse = False
        if getattr(part, "_compiled_call_impl", None) is not None:
            part._compiled_call_impl = None
    return module


def two_dimensional(output: Tensor, n_outputs: int) -> Tensor:
    """The output `(n, C)`; for C = 1 it may have come without its second axis."""
    return output.unsqueeze(-1) if n_outputs == 1 and output.dim() == 1 else output


def gradients_of(outputs: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of Σ v·f for fixed v without symmetry, summed over members; outputs are `(..., n, C)`."""
    return accumulated_gradients((outputs * without_symmetry(*outputs.shape[-2:], like=outputs)).sum(), parameters)


def agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether tensors are equal to rounding.

    A tensor may be off by 1000 ε of its own largest entry, and by 30 ε of the largest of all: the gradient of a
    parameter that does nothing (the bias of keys) is rounding alone.

    Args:
        found: tensors of one network.
        expected: as many.

    Returns:
        Whether they agree.
    """
    if [t.shape for t in found] != [t.shape for t in expected]:
        return False
    largest = max((float(t.abs().max()) for t in expected if t.numel()), default=0.0)
    for one, other in zip(found, expected, strict=True):
        eps = torch.finfo(other.dtype).eps
        allowed = 1e3 * eps * float(other.abs().max()) + 30 * eps * largest if other.numel() else 0.0
        if not bool(((one - other).abs() <= allowed).all()):  # NaN does not agree
            return False
    return True


@contextmanager
def under_check() -> Iterator[None]:
    """Precise mathematics with gradients, whatever the caller's modes; global random streams come back."""
    with ExitStack() as stack:
        for block in (global_streams(0), precise_math(), plain_attention()):
            stack.enter_context(block)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


def check_parameters(module: nn.Module, name: str) -> None:
    """Checks parameters and buffers without running the network.

    Raises:
        FactoryError: if there is no evaluation mode, nothing to train, a weight that is not finite or not yet made, or
            if precisions are mixed.
    """
    try:
        with in_evaluation_mode(module):
            pass
    except NotImplementedError as error:
        raise FactoryError(
            f"{name} has no evaluation mode ({error}): return the network that it was made from"
        ) from error
    lazy = [key for key, p in registered(module).items() if nn.parameter.is_lazy(p)]
    if lazy:
        raise FactoryError(f"{name} has lazy layers without weights ({lazy[0]!r}): call the network on samples once")
    parameters = dict(module.named_parameters())
    if not parameters:
        raise FactoryError(f"{name} has no trainable parameters: make its weights `torch.nn.Parameter`s")
    if not any(p.requires_grad for p in parameters.values()):
        raise FactoryError(f"{name} has no trainable parameters: all of them are frozen (requires_grad is False)")
    for key, p in registered(module).items():
        if p.device.type == "meta":
            raise FactoryError(f"{name} has weights without values ({key!r} is on the meta device): initialize them")
        if p.is_inference():
            raise FactoryError(f"{name} makes weights under torch.inference_mode ({key!r}): make them outside of it")
    precisions = {p.dtype for p in parameters.values()}
    if len(precisions) > 1 or not next(iter(precisions)).is_floating_point:
        found = " and ".join(sorted(map(str, precisions)))
        raise FactoryError(f"{name} has parameters of {found}: give all of them one real precision")
    for key, p in parameters.items():
        if not bool(torch.isfinite(p).all()):
            raise FactoryError(
                f"{name} has weights that are not finite at initialization ({key!r}): mend what makes them"
            )


def check_members_apart(modules: Sequence[nn.Module], name: str) -> None:
    """Checks that no trainable weight belongs to two networks.

    Raises:
        FactoryError: if one does.
    """
    owner: dict[int, int] = {}
    for index, module in enumerate(modules):
        for key, p in module.named_parameters():
            if not p.requires_grad or nn.parameter.is_lazy(p) or not p.numel():
                continue
            if owner.setdefault(p.data_ptr(), index) != index:
                raise FactoryError(
                    f"{name} gives two networks the same weights in memory ({key!r}): make a new module with weights "
                    "of its own at each call, without a cache and without a module at the top of the file"
                )


def check_one_architecture(modules: Sequence[nn.Module], name: str) -> None:
    """Checks that all networks have parameters and buffers of the same names and shapes.

    Raises:
        FactoryError: if they do not.
    """
    shapes = [{key: (tuple(t.shape), t.dtype) for key, t in registered(module).items()} for module in modules]
    for index, found in enumerate(shapes):
        for key in [*shapes[0], *found]:
            if found.get(key) != shapes[0].get(key):
                one, other = (s[key][0] if key in s else "absent" for s in (shapes[0], found))
                raise FactoryError(
                    f"{name} gives networks of different architectures: {key!r} is {one} in the first and {other} in "
                    f"number {index + 1}: the architecture may depend on depth and width alone, not on random numbers"
                )


def evaluate(module: nn.Module, x: Tensor, n_outputs: int, name: str, tried_on: str) -> Evaluation:
    """Outputs and gradients of a module by itself, in evaluation mode.

    Args:
        module: the network; random streams, training flags and values are as before.
        x: samples `(n, *input_shape)`, two or more.
        n_outputs: C.
        name: what to call the network in messages.
        tried_on: what the samples are, for messages: "training samples".

    Returns:
        What it computes.

    Raises:
        FactoryError: if it fails, if outputs have another shape, type or precision, are not finite, have no gradient,
            change from call to call or with the rest of the batch, or if the forward pass changes weights.
    """
    before = {key: t.detach().clone() for key, t in registered(module).items()}
    with under_check(), in_evaluation_mode(module), eagerly(attention=True):
        samples = x.clone()
        raw = _tried(module, samples, name, tried_on)
        changes_input = samples._version > 0 or not torch.equal(samples, x)
        _check_output(raw, x, n_outputs, next(module.parameters()).dtype, name)
        outputs = two_dimensional(raw, n_outputs)
        changed = _changed(module, before, name)
        _check_again(module, x, outputs.detach(), name, tried_on)
        parameters = {key: p for key, p in module.named_parameters() if p.requires_grad}
        gradients = _checked_gradients(outputs, parameters, name)
    return Evaluation(outputs.detach(), gradients, changed, changes_input)


def _check_again(module: nn.Module, x: Tensor, outputs: Tensor, name: str, tried_on: str) -> None:
    """Checks that outputs are the same when the module is called again, without gradients, on each sample alone.

    Raises:
        FactoryError: if they are not.
    """
    n_outputs = outputs.shape[1]
    if not _same(outputs, two_dimensional(_tried(module, x.clone(), name, tried_on), n_outputs).detach()):
        raise FactoryError(
            f"{name} gives other outputs each time it is called, also in evaluation mode: remove what draws random "
            "numbers or counts calls (dropout by `F.dropout` needs `training=self.training`)"
        )
    with torch.no_grad():
        without = two_dimensional(_tried(module, x.clone(), name, f"{tried_on}, without gradients,"), n_outputs)
    if not _same(outputs, without):
        raise FactoryError(
            f"{name} gives other outputs under torch.no_grad, under which errors are measured: remove what asks "
            "whether gradients are recorded"
        )
    mixes = f"{name} gives a sample other outputs with another batch, also in evaluation mode, so a kernel between"
    mixes += " samples is not defined (statistics of the batch?)"
    try:
        alone = torch.cat([module(sample.clone()).detach().view(1, -1) for sample in x.split(1)])
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise FactoryError(f"{mixes}; on one sample alone it fails: {told(error)}") from error
    if not _same(outputs, alone):
        raise FactoryError(mixes)


def _tried(module: nn.Module, x: Tensor, name: str, tried_on: str) -> Tensor:
    try:
        return module(x)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kind = str(x.dtype).removeprefix("torch.")
        if x.is_floating_point() and "indices" in str(error):
            kind += "; if they are tokens, let forward begin with x = x.long()"
        raise FactoryError(
            f"{name} fails on inputs of shape {tuple(x.shape)}: {told(error)} (tried on {tried_on} in {kind})"
        ) from error


def _check_output(output: Tensor, x: Tensor, n_outputs: int, precision: torch.dtype, name: str) -> None:
    expected = (len(x), n_outputs)
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != expected and not (n_outputs == 1 and shape == expected[:1]):
        raise FactoryError(
            f"{name} maps inputs of shape {tuple(x.shape)} to {shape}, expected {expected}: one row per sample, one "
            "column per output"
        )
    if output.layout != torch.strided or output.dtype != precision:
        found = output.dtype if output.layout == torch.strided else output.layout
        raise FactoryError(f"{name} maps {x.dtype} inputs to {found} outputs: return them dense, as {precision}")
    if not output.requires_grad:
        raise FactoryError(
            f"{name} returns outputs without a gradient: its forward must not run under torch.no_grad, nor detach them"
        )
    if not bool(torch.isfinite(output).all()):
        raise FactoryError(
            f"{name} has outputs that are not finite at initialization: scale its weights or inputs down"
        )


def _changed(module: nn.Module, before: dict[str, Tensor], name: str) -> tuple[str, ...]:
    trained = {key for key, _ in module.named_parameters()}
    now = registered(module)
    changed = tuple(key for key, t in before.items() if key not in now or not equal_tensors(t, now[key]))
    for key in changed:
        if key in trained:
            raise FactoryError(
                f"{name} changes its weights ({key!r}) when it is called in evaluation mode: set them in the factory"
            )
    return changed


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool(((one - other).abs() <= torch.finfo(one.dtype).eps ** 0.5 * one.abs().max()).all())


def _checked_gradients(outputs: Tensor, parameters: dict[str, Tensor], name: str) -> list[Tensor]:
    try:
        gradients = gradients_of(outputs, list(parameters.values()))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if "sparse" in str(error).lower():
            raise FactoryError(f"{name} has sparse gradients: call F.embedding with `sparse=False`") from error
        if "second time" in str(error):
            raise FactoryError(
                f"{name} has no gradients of its own: its forward uses a tensor that was computed from others with "
                "gradients before it, and perhaps by other networks too: compute it in forward, or detach it"
            ) from error
        raise FactoryError(f"{name} has no gradients: {told(error)}") from error
    if all(g is None for g in gradients):
        raise FactoryError(f"{name} has outputs that depend on none of its trainable parameters: use them in forward")
    found = []
    for (key, p), g in zip(parameters.items(), gradients, strict=True):
        g = torch.zeros_like(p) if g is None else g.detach()
        if g.layout != torch.strided:
            raise FactoryError(f"{name} has sparse gradients ({key!r}): call F.embedding with `sparse=False`")
        if not bool(torch.isfinite(g).all()):
            raise FactoryError(
                f"{name} has gradients that are not finite at initialization ({key!r}): a square root or norm at zero, "
                "or a function without a derivative there?"
            )
        found.append(g)
    return found


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
