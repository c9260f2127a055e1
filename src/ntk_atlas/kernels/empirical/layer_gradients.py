r"""Gradients of each sample with respect to the parameters of a layer that meets it at many positions.

With the layer's input x_i and signals b_ic = ∂f_c(x_i)/∂z, z being the layer's output, and positions p:

* linear, z_p = W x_p + b:            ∂f_c/∂W = Σ_p b_p x_pᵀ,  ∂f_c/∂b = Σ_p b_p;
* convolution:                        the same sum over windows (`convolution_gradients`);
* normalization, z_p = γ ∘ x̂_p + β:   ∂f_c/∂γ = Σ_p b_p ∘ x̂_p,  ∂f_c/∂β = Σ_p b_p.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ntk_atlas.kernels.empirical.convolution_gradients import convolution_weight_gradients
from ntk_atlas.kernels.empirical.layers import BatchNorm, DividedModule, Layer, LayerModule
from ntk_atlas.networks.stacked_convolution import StackedConv2d


def layer_gradients(layer: Layer, x: Tensor, signals: Tensor, channels: tuple[int, int] | None = None) -> Tensor:
    """Per-sample gradients of the outputs with respect to a layer's parameters.

    Args:
        layer: of the form `gradients`.
        x: its input, `(n, *input_shape)`.
        signals: gradients with respect to its output, `(n, C, *output_shape)`.
        channels: first output channel wanted and the one after the last; None stands for all.

    Returns:
        `(n, C, P)` with the weight's parameters (in an order of the layer's own) before the bias's.
    """
    module, axis = layer.module, _channel_axis(layer.module)
    parts = []
    if isinstance(module, DividedModule):
        if channels is not None and channels != (0, layer.out_features):
            signals = signals.narrow(axis, channels[0], channels[1] - channels[0])
        if layer.has_weight:
            parts.append(_weight_gradients(module, x, signals, channels))
        if layer.has_bias:
            parts.append(_sum_positions(signals, axis))
        if isinstance(module, StackedConv2d):
            _scale(parts, layer)
        return torch.cat(parts, dim=2)
    shape = module.normalized_shape if isinstance(module, nn.LayerNorm | nn.RMSNorm) else None
    if layer.has_weight:
        normalized = _normalized(module, x).unsqueeze(1)
        parts.append(_sum_to_parameter(signals * normalized, shape))
    if layer.has_bias:
        parts.append(_sum_to_parameter(signals, shape))
    return torch.cat(parts, dim=2)


def _channel_axis(module: nn.Module) -> int:
    return -1 if isinstance(module, nn.Linear) else 2


def _weight_gradients(module: DividedModule, x: Tensor, signals: Tensor, channels: tuple[int, int] | None) -> Tensor:
    n, c = signals.shape[:2]
    if isinstance(module, nn.Linear):
        # All outputs in one product: (C·out × positions) · (positions × in).
        left = signals.flatten(2, -2).transpose(2, 3).reshape(n, c * signals.shape[-1], -1)
        return torch.bmm(left, x.flatten(1, -2)).view(n, c, -1)
    plain = module.plain() if isinstance(module, StackedConv2d) else module
    return convolution_weight_gradients(plain, x, signals, channels).view(n, c, -1)


def _scale(parts: list[Tensor], layer: Layer) -> None:
    """The factors of the NTK parameterization, in place on gradients made here."""
    counts = (("weight_factor", layer.has_weight), ("bias_factor", layer.has_bias))
    for part, name in zip(parts, [name for name, has in counts if has], strict=True):
        factor = getattr(layer.module, name)
        if factor != 1.0:
            part.mul_(factor)


def _sum_positions(signals: Tensor, axis: int) -> Tensor:
    return signals.flatten(2, -2).sum(2) if axis == -1 else signals.flatten(3).sum(3)


def _sum_to_parameter(values: Tensor, normalized_shape: tuple[int, ...] | None) -> Tensor:
    # Layer norms have a parameter an entry of the last axes, the others one a channel.
    if normalized_shape is None:
        return values.flatten(3).sum(3) if values.dim() > 3 else values
    trailing = len(normalized_shape)
    kept = values.flatten(values.dim() - trailing)
    return kept.flatten(2, -2).sum(2) if kept.dim() > 3 else kept


def _normalized(module: LayerModule, x: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, None, None, module.eps)
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(x, module.normalized_shape, None, module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, None, None, module.eps)
    assert isinstance(module, BatchNorm) and module.running_mean is not None and module.running_var is not None
    return F.batch_norm(x, module.running_mean.to(x), module.running_var.to(x), None, None, False, 0.0, module.eps)
