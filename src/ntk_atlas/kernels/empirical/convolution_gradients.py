"""Gradients of each sample with respect to the weight of a convolution.

With the input x_i and signals b_ic = ∂f_c(x_i)/∂z of the output z, at positions p:

    ∂f_c/∂W[o, i, u] = Σ_p b_c[o, p] x[i, stride·p + dilation·u − padding].

The matrix of all windows would be as many times larger than the input as the kernel has entries. Two forms avoid it. On
CPUs the backend runs single-precision convolutions near the rate of matrix products: one convolution in which every
sample is a group of its own. Elsewhere such convolutions are slow, and products over one row of the kernel at a time
stand for them.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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


def convolution_weight_gradients(windows: Windows, x: Tensor, signals: Tensor, groups: int = 1) -> Tensor:
    """Gradients of every sample and output with respect to the weight.

    Args:
        windows: where the kernel meets the input.
        x: the input, `(n, c_in, *size)` of one or two dimensions.
        signals: gradients with respect to the output, `(n, C, c_out, *out_size)`.
        groups: of channels.

    Returns:
        `(n, C, c_out · c_in / groups · kernel entries)`, in the order of the weight.
    """
    if x.dim() == 3:
        x, signals = x.unsqueeze(2), signals.unsqueeze(3)
    form = by_grouped_convolution if _backend_is_fast(x) else by_kernel_rows
    return form(x, signals, windows, groups)


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
        by_row = []
        own = x.unflatten(3, (groups, -1))[:, :, :, g]
        columns = [
            own[:, :, v * dilation[1] :][:, :, : (width - 1) * stride[1] + 1 : stride[1]] for v in range(size[1])
        ]
        row_windows = torch.cat(columns, dim=3)
        left = signals[:, :, g].reshape(n, -1, height * width)
        for u in range(size[0]):
            rows = row_windows[:, u * dilation[0] :][:, : (height - 1) * stride[0] + 1 : stride[0]]
            by_row.append(
                torch.bmm(left, rows.reshape(n, height * width, -1)).view(n, c, -1, size[1], x.shape[3] // groups)
            )
        parts.append(torch.stack(by_row, 3).movedim(-1, 3))
    return torch.cat(parts, dim=2).flatten(2)


def _backend_is_fast(x: Tensor) -> bool:
    # Beside recurrent layers the backend is off (`evaluation`).
    usable = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    return x.device.type == "cpu" and x.dtype == torch.float32 and usable


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
