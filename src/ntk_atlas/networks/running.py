"""How any module is run and differentiated as it was written: for its kernel, and to check a network of the user's."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ntk_atlas.numerics import no_fast_path

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_DATA_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)


def without_wrappers(module: nn.Module) -> nn.Module:
    """The module inside wrappers of torch (`torch.compile`, `DataParallel`), or itself; hooks on a wrapper keep it."""
    while not (module._forward_hooks or module._forward_pre_hooks):
        if isinstance(module, _DATA_PARALLEL):
            module = module.module
        elif type(module).__module__.startswith("torch._dynamo"):
            module = module._orig_mod
        else:
            break
    return module


def is_scripted(network: nn.Module) -> bool:
    """Whether TorchScript runs some of it, whose parameters cannot be exchanged for a call."""
    return any(isinstance(part, torch.jit.ScriptModule) for part in network.modules())


def has_attention(module: nn.Module) -> bool:
    """Whether a module has layers of torch that take another path without gradients."""
    return any(isinstance(part, _ATTENTION) for part in module.modules())


@contextmanager
def eagerly(*, attention: bool) -> Iterator[None]:
    """Inside the block modules run as they are written: nothing compiled.

    Args:
        attention: whether attention layers are made to do the same without gradients as with them.

    Yields:
        Nothing.
    """
    # Nothing is compiled where the compiler was never imported, which takes seconds.
    compiler = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with compiler, no_fast_path() if attention else nullcontext():
        yield


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; what was in training mode is so again after it.

    Args:
        module: any.

    Yields:
        Nothing.

    Raises:
        NotImplementedError: if the module has no evaluation mode, as exported programs.
    """
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            # A `train` of the user's own may do more than set the flag: adapters take their weights out again.
            if training and not part.training and type(part).train is not nn.Module.train:
                part.train()
        for part, training in flags:
            if part.training != training:
                part.training = training


def without_symmetry(*shape: int, like: Tensor) -> Tensor:
    """Fixed numbers in [−1, 1] that no permutation or mirror image leaves as they are, for checks by inner products."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64, device=like.device)
    return torch.sin(1.0 + count**2).view(shape).to(like.dtype)


def accumulated_gradients(
    total: Tensor, parameters: Sequence[Tensor], *, retain_graph: bool = False
) -> list[Tensor | None]:
    """Gradients of a number as training takes them, where they accumulate: in `p.grad`, which is put back.

    Args:
        total: the number.
        parameters: leaves.
        retain_graph: whether its graph is needed again.

    Returns:
        One tensor per parameter, None for those that the number does not depend on.
    """
    held = [p.grad for p in parameters]
    try:
        for p in parameters:
            p.grad = None
        total.backward(retain_graph=retain_graph)
        return [p.grad for p in parameters]
    finally:
        for p, grad in zip(parameters, held, strict=True):
            p.grad = grad
