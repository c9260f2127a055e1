"""The largest eigenvalue of the infinite-width NTK, for a stability limit that all networks of a cell share."""

import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.kernels.infinite.network_kernels import network_kernels


def infinite_lambda_max(
    x: Tensor, *, depth: int, settings: NetworkSettings, init_scale: float, width: int | None = None
) -> float:
    """λ_max of the full nC × nC Gram: outputs are independent at infinite width, so that of the n × n kernel.

    Args:
        x: inputs `(n, *shape)`.
        depth: hidden layers.
        settings: architecture, activation, parameterization, σ_b², biases and output scale, which is in the eigenvalue.
        init_scale: σ_w².
        width: hidden units; enters where the NTK grows with them.

    Returns:
        The eigenvalue.

    Raises:
        KernelInputError: see `network_kernels`; or the kernel overflows.
    """
    kernels = network_kernels(x, depths=[depth], settings=settings, init_scale=init_scale, width=width)
    if not bool(torch.isfinite(kernels.ntk).all()):
        raise KernelInputError(
            f"the infinite NTK at depth {depth}, init_scale {init_scale:g}, overflows: there is no largest eigenvalue "
            "to set learning rates by; lower init_scale or depth, or give an absolute learning rate"
        )
    return float(torch.linalg.eigvalsh(kernels.ntk[0])[-1])
