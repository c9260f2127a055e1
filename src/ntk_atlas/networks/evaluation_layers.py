"""Layers that act otherwise in training mode: in a stack they are off, which must be said."""

from collections.abc import Sequence

import torch
from torch import nn

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def layers_off_in_evaluation(network: nn.Module) -> tuple[str, ...]:
    """The layers of a network that act differently in evaluation mode, by type and name: `BatchNorm2d 'layers.1'`.

    Batch and instance normalization with running statistics, dropout (in recurrent layers and attention too),
    randomized activations, the old spectral normalization, and layers whose `forward` reads `self.training`.

    Args:
        network: any module.

    Returns:
        One text a layer, in the order of `named_modules`.
    """
    return tuple(
        f"{_kind(module)} {name!r}" if name else _kind(module)
        for name, module in network.named_modules()
        if _is_off(module)
    )


def listed(layers: Sequence[str], most: int = 6) -> str:
    """Layers as one text: all of them, or the first and how many more there are."""
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(layers[:most]) + more


def _kind(module: nn.Module) -> str:
    kind = getattr(module, "original_name", None) if isinstance(module, torch.jit.ScriptModule) else None
    return kind or type(module).__name__.lstrip("_")


def _is_off(module: nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return module.original_name.startswith(("BatchNorm", "Dropout", "InstanceNorm", "AlphaDropout"))
    if isinstance(module, (*_BATCH_NORMS, *_INSTANCE_NORMS)):
        return bool(module.track_running_stats)
    if isinstance(module, _DROPOUTS):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    if isinstance(module, nn.RReLU):
        return module.lower != module.upper
    if any(type(hook).__name__ == "SpectralNorm" for hook in module._forward_pre_hooks.values()):
        return True
    if type(module).__module__.startswith("torch."):
        return type(module).__name__ == "_SpectralNorm"
    code = getattr(type(module).forward, "__code__", None)
    return code is not None and "training" in code.co_names
