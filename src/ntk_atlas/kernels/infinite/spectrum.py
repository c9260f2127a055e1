"""The largest eigenvalue of the infinite-width NTK, for a stability limit that all networks of a cell share."""

import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.infinite.kernels import infinite_ntk


def infinite_lambda_max(
    x: Tensor, *, depth: int, settings: NetworkSettings, init_scale: float, width: int | None = None
) -> float:
    """λ_max of the full nC × nC Gram: outputs are independent at infinite width, so that of the n × n kernel.

    Args:
        x: inputs `(n, *shape)`, flattened.
        depth: hidden layers.
        settings: activation, parameterization, σ_b², biases and output scale, which is in the eigenvalue.
        init_scale: σ_w².
        width: hidden units; enters in the standard parameterization.

    Returns:
        The eigenvalue.

    Raises:
        KernelInputError: see `infinite_kernels`.
    """
    kernel = infinite_ntk(x.flatten(1), depth=depth, settings=settings, init_scale=init_scale, width=width)
    return float(torch.linalg.eigvalsh(kernel)[-1])
