"""Gradients of each sample with respect to the parameters of a layer that meets it at many positions.

With the layer's input x_i and signals b_ic = ∂f_c(x_i)/∂z, z being the layer's output, and positions p:

* linear, z_p = W x_p + b:            ∂f_c/∂W = Σ_p b_p x_pᵀ,  ∂f_c/∂b = Σ_p b_p;
* convolution:                        ∂f_c/∂W[o, i, u] = Σ_p b_c[o, p] x[i, stride·p + dilation·u − padding];
* normalization, z_p = γ ∘ x̂_p + β:   ∂f_c/∂γ = Σ_p b_p ∘ x̂_p,  ∂f_c/∂β = Σ_p b_p.

The matrix of all windows of a convolution would be as many times larger than the input as the kernel has entries. Two
forms avoid it. On CPUs the backend runs single-precision convolutions near the rate of matrix products: one convolution
in which every sample is a group of its own. Elsewhere such convolutions are slow, and products over one row of the
kernel at a time stand for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ntk_atlas.kernels.empirical.structure import BatchNorm, DividedModule, Layer, LayerModule
from ntk_atlas.networks.stacked import StackedConv2d


@dataclass(frozen=True)
class Windows:
    """Where a kernel of two dimensions meets its input.

    Attributes:
        size: of the kernel.
        stride: from window to window.
        padding: zeros left, right, above and below.
        dilation: of the kernel.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]


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


def convolution_weight_gradients(
    module: nn.Conv1d | nn.Conv2d, x: Tensor, signals: Tensor, channels: tuple[int, int] | None = None
) -> Tensor:
    """Gradients of every sample and output with respect to the weight.

    Args:
        module: any stride, padding, dilation and groups; zero padding.
        x: its input, `(n, c_in, *size)`.
        signals: gradients with respect to its output channels `channels`, `(n, C, len(channels), *out_size)`.
        channels: first output channel and the one after the last; None stands for all.

    Returns:
        `(n, C, n_channels · kernel entries · c_in / groups)`, in an order that depends on the form but not on the
        sample.
    """
    first, last = channels or (0, module.out_channels)
    windows = _windows(module)
    if x.dim() == 3:
        x, signals = x.unsqueeze(2), signals.unsqueeze(3)
    form = by_grouped_convolution if _backend_is_fast(x) else by_kernel_rows
    if module.groups == 1 or (first, last) == (0, module.out_channels):
        return form(x, signals, windows, module.groups)
    # Some of the channels of a grouped convolution: those of one group after the other.
    per_group, c_in = module.out_channels // module.groups, module.in_channels // module.groups
    parts, done = [], 0
    while done < signals.shape[2]:
        group, inside = divmod(first + done, per_group)
        count = min(per_group - inside, signals.shape[2] - done)
        own = x.narrow(1, group * c_in, c_in), signals.narrow(2, done, count)
        parts.append(form(*own, windows, 1))
        done += count
    return torch.cat(parts, dim=2)


def by_grouped_convolution(x: Tensor, signals: Tensor, windows: Windows, groups: int) -> Tensor:
    """The weight gradient of one convolution with a group for every sample (and group).

    Args:
        x: `(n, c_in, h, w)`.
        signals: `(n, C, c_out, h_out, w_out)`.
        windows: where the kernel meets the input.
        groups: of the convolution.

    Returns:
        `(n, C, P)`.
    """
    n, c, c_out = signals.shape[:3]
    x, zeros = _symmetric(x, signals, windows)
    # The C outputs are further output channels of each group.
    signals = signals.unflatten(2, (groups, c_out // groups)).transpose(1, 2).contiguous()
    weight = x.new_empty(1).expand(n * c * c_out, x.shape[1] // groups, *windows.size)
    _, gradient, _ = torch.ops.aten.convolution_backward(
        signals.view(1, n * c * c_out, *signals.shape[-2:]),
        x.contiguous().view(1, n * x.shape[1], *x.shape[2:]),
        weight, None, windows.stride, zeros, windows.dilation, False, (0, 0), n * groups, (False, True, False),
    )  # fmt: skip
    per_group: Tensor = gradient.view(n, groups, c, -1).transpose(1, 2)
    return per_group.reshape(n, c, -1)


def by_kernel_rows(x: Tensor, signals: Tensor, windows: Windows, groups: int) -> Tensor:
    """One batched product per kernel row, on views of a copy that holds the windows of one row.

    Args:
        x: `(n, c_in, h, w)`.
        signals: `(n, C, c_out, h_out, w_out)`.
        windows: where the kernel meets the input.
        groups: of the convolution.

    Returns:
        `(n, C, P)`.
    """
    n, c, c_out, height, width = signals.shape
    size, stride, dilation = windows.size, windows.stride, windows.dilation
    x = _cropped(_padded(x, windows.padding), signals, windows).permute(0, 2, 3, 1)
    signals = signals.unflatten(2, (groups, c_out // groups))
    parts = []
    for g in range(groups):
        own = x.unflatten(3, (groups, -1))[:, :, :, g]
        columns = [
            own[:, :, v * dilation[1] :][:, :, : (width - 1) * stride[1] + 1 : stride[1]] for v in range(size[1])
        ]
        row_windows = torch.cat(columns, dim=3)
        left = signals[:, :, g].reshape(n, -1, height * width)
        for u in range(size[0]):
            rows = row_windows[:, u * dilation[0] :][:, : (height - 1) * stride[0] + 1 : stride[0]]
            parts.append(torch.bmm(left, rows.reshape(n, height * width, -1)).view(n, c, -1))
    return torch.cat(parts, dim=2)


def _backend_is_fast(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _windows(module: nn.Conv1d | nn.Conv2d) -> Windows:
    if isinstance(module.padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        zeros = [(0, 0) if module.padding == "valid" else (r // 2, r - r // 2) for r in reach]
    else:
        zeros = [(p, p) for p in module.padding]
    above, below = zeros[0] if len(zeros) == 2 else (0, 0)
    padding = (*zeros[-1], above, below)
    return Windows(_pair(module.kernel_size), _pair(module.stride), padding, _pair(module.dilation))


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    """One of two dimensions as it is; of one, which is the last of two."""
    return (sizes[0] if len(sizes) == 2 else 1), sizes[-1]


def _symmetric(x: Tensor, signals: Tensor, windows: Windows) -> tuple[Tensor, tuple[int, int]]:
    """The input, and zeros (above and below, left and right) that the backend is to add to it."""
    left, right, above, below = windows.padding
    if left == right and above == below:
        return x, (above, left)
    return _cropped(_padded(x, windows.padding), signals, windows), (0, 0)


def _padded(x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    return F.pad(x, padding) if any(padding) else x


def _cropped(x: Tensor, signals: Tensor, windows: Windows) -> Tensor:
    """Without the rows and columns at the end that no window reaches."""
    reach = [
        (n_out - 1) * s + d * (k - 1) + 1
        for n_out, s, d, k in zip(signals.shape[-2:], windows.stride, windows.dilation, windows.size, strict=True)
    ]
    return x[:, :, : reach[0], : reach[1]]
