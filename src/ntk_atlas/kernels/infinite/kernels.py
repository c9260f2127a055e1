r"""Infinite-width kernels of fully connected networks: NNGP and NTK of all depths in one sweep.

With T and Ṫ the dual activations of the kernel K^l (`activations.activation`), n_0 inputs and n_l = width,

    K¹ = σ_w² x·x'/n_0 + σ_b²,       K^{l+1} = σ_w² T + σ_b²,
    ntk:       Θ¹ = K¹,              Θ^{l+1} = σ_w² T + σ_b² + σ_w² Ṫ Θ^l        (Jacot et al. 2018, theorem
    1)
    standard:  Θ¹ = x·x' + 1,        Θ^{l+1} = n_l T + 1 + σ_w² Ṫ Θ^l            (Sohl-Dickstein et al. 2020)

where the bias terms σ_b² and 1 of Θ stand only with trainable biases. A network of H hidden layers has
K^{H+1} and Θ^{H+1}, times α² for output scale α.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationChoice
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.kernels.infinite.inputs import (
    checked_depths,
    checked_dtype,
    checked_inputs,
    checked_scale,
    checked_width,
)
from ntk_atlas.kernels.infinite.recursion import Recursion
from ntk_atlas.kernels.infinite.series import dual_of
from ntk_atlas.kernels.infinite.soundness import warn_of_entries, warn_of_range, without_underflow
from ntk_atlas.kernels.infinite.tiles import plan_tiles
from ntk_atlas.tensors import Given

log = logging.getLogger(__name__)

# Part of the largest entry from which on a bound of the error is worth a warning.
_LOOSE = 1e-4


@dataclass(frozen=True)
class InfiniteKernels:
    """Kernels of several depths.

    Attributes:
        nngp: `(n_depths, n1, n2)`.
        ntk: `(n_depths, n1, n2)`.
        error_bound: largest absolute error of any entry by quadrature, rounding aside: `(2, n_depths)`, float64,
            NNGP then NTK; 0 where the activation has a closed form.
    """

    nngp: Tensor
    ntk: Tensor
    error_bound: Tensor


def infinite_kernels(
    x1: Given,
    x2: Given | None = None,
    *,
    depths: Sequence[int],
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
    activation: ActivationChoice | None = None,
    dtype: torch.dtype = torch.float64,
    memory_limit: int | None = None,
) -> InfiniteKernels:
    """NNGP and NTK at infinite width.

    Kernels that overflow or underflow, and kernels of nearly equal samples that rounding decides by more than a
    thousandth (`soundness`), are warned of, with the depth.

    Evaluated in tiles that stay in cache; beside the result a few tiles are held, and what depends on one sample
    alone. With `x2` None only the upper triangle is evaluated, and the diagonal is exact. Closed forms exist for
    `relu`, `leaky_relu`, `erf` and `gelu`; any other activation is integrated to 1e-10 of the kernel's scale or as
    far as possible, see `InfiniteKernels.error_bound`.

    Args:
        x1: inputs `(n1, *shape)`, flattened.
        x2: inputs `(n2, *shape)`; None stands for `x1` and gives exactly symmetric kernels.
        depths: numbers of hidden layers, in any order; 0 is the linear model.
        settings: activation, parameterization, σ_b², biases and output scale.
        init_scale: σ_w².
        width: hidden units; the standard parameterization's NTK grows with it. The NTK parameterization does
            not need it.
        activation: in place of the settings': a torch module such as `nn.LeakyReLU(0.2)`, or a function of your
            own that maps a tensor entry by entry; its derivative is taken by autograd.
        dtype: float64, or float32 for about half the time and memory; variances are float64 in both.
        memory_limit: bytes that the result, a copy of the inputs and all buffers may take together; None for the
            limit that is set (`memory.memory_limited`), else half of what is free.

    Returns:
        Both kernels, `(n_depths, n1, n2)`, in the order of `depths`.

    Raises:
        KernelInputError: if inputs are empty, not finite or do not match, depths are not numbers of layers, the
            width is missing or no whole number from 1 on, an activation is none
            (`activations.ActivationError`), or the result does not fit the memory limit (`MemoryLimitError`).
    """
    a = checked_inputs(x1, "x1", checked_dtype(dtype))
    b = a if x2 is None else checked_inputs(x2, "x2", dtype)
    if a.shape[1] != b.shape[1] or a.device != b.device:
        raise KernelInputError(
            f"a sample of x1 has {a.shape[1]} inputs ({a.device}), of x2 {b.shape[1]} ({b.device}): they must match"
        )
    recursion = Recursion(
        settings=settings,
        dual=dual_of(settings.activation if activation is None else activation),
        sigma_w2=checked_scale(init_scale, dtype),
        width=checked_width(width),
        depths=checked_depths(depths),
        n_inputs=a.shape[1],
    )
    layers = recursion.prepare(a, None if x2 is None else b)
    tiles = plan_tiles(a, b, symmetric=x2 is None, layers=layers, memory_limit=memory_limit)
    log.debug("infinite kernels %d x %d: tiles of %d, panels of %d", len(a), len(b), tiles.side, tiles.panel)
    results = torch.empty(2, len(layers.depths), len(a), len(b), dtype=dtype, device=a.device)
    tile_errors = tiles.fill(results, layers)
    kernels = InfiniteKernels(results[0], results[1], layers.error_bounds(tile_errors))
    overflows = layers.warn(a, None if x2 is None else b, dtype)
    warn_of_kernels(kernels, layers.depths, overflow_is_said=overflows)
    return kernels


def warn_of_kernels(kernels: InfiniteKernels, depths: Sequence[int], *, overflow_is_said: bool) -> None:
    """Warns of kernels with entries that are not finite, or whose error bound is loose.

    Args:
        kernels: of several depths.
        depths: these.
        overflow_is_said: whether a warning has said that they overflow.
    """
    for name, kernel, bounds in zip(("NNGP", "NTK"), (kernels.nngp, kernels.ntk), kernels.error_bound, strict=True):
        for depth, entries, bound in zip(depths, kernel, bounds.tolist(), strict=True):
            if not overflow_is_said:
                warn_of_entries(name, depth, entries)
            if bound == 0.0 or bound == torch.inf:
                continue
            # Without a copy as large as the kernel.
            largest = max(abs(float(extreme)) for extreme in entries.aminmax())
            if bound > _LOOSE * largest:
                log.warning(
                    "the %s at depth %d is certain to %.1e only, its largest entry is %.1e: the activation has a kink "
                    "or is steep at these variances",
                    name, depth, bound, largest,
                )  # fmt: skip


def infinite_ntk(
    x1: Given,
    x2: Given | None = None,
    *,
    depth: int,
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
    activation: ActivationChoice | None = None,
    dtype: torch.dtype = torch.float64,
    memory_limit: int | None = None,
) -> Tensor:
    """Returns the NTK of one depth, `(n1, n2)`; see `infinite_kernels`."""
    return infinite_kernels(
        x1,
        x2,
        depths=[depth],
        settings=settings,
        init_scale=init_scale,
        width=width,
        activation=activation,
        dtype=dtype,
        memory_limit=memory_limit,
    ).ntk[0]


def infinite_nngp(
    x1: Given,
    x2: Given | None = None,
    *,
    depth: int,
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
    activation: ActivationChoice | None = None,
    dtype: torch.dtype = torch.float64,
    memory_limit: int | None = None,
) -> Tensor:
    """Returns the NNGP kernel of one depth, `(n1, n2)`, see `infinite_kernels`; the width does not matter."""
    return infinite_kernels(
        x1,
        x2,
        depths=[depth],
        settings=settings,
        init_scale=init_scale,
        width=1 if width is None else width,
        activation=activation,
        dtype=dtype,
        memory_limit=memory_limit,
    ).nngp[0]


def output_variance(
    x: Tensor,
    *,
    depth: int,
    settings: NetworkSettings,
    init_scale: float,
    activation: ActivationChoice | None = None,
) -> Tensor:
    """Variance of each output at initialization and infinite width, the NNGP diagonal.

    Args:
        x: inputs `(n, *shape)`, flattened.
        depth: hidden layers.
        settings: activation, σ_b² and output scale.
        init_scale: σ_w².
        activation: in place of the settings', see `infinite_kernels`.

    Returns:
        α² K^{depth+1}(x, x), `(n,)`, float64.

    Raises:
        KernelInputError: if the depth is not a number of layers, or inputs are empty or not finite.
    """
    (depth,) = checked_depths([depth])
    init_scale = checked_scale(init_scale)
    x = checked_inputs(x, "x", torch.float64)
    dual = dual_of(settings.activation if activation is None else activation)
    variance = without_underflow(init_scale * (x**2).sum(1) / x.shape[1] + settings.bias_variance)
    variances = [variance]
    for _ in range(depth):
        if not bool(torch.isfinite(variance).all()):
            variance = torch.full_like(variance, torch.nan)
            break
        moment = dual.at(variance).second_moment(variance)
        variance = without_underflow(init_scale * moment + settings.bias_variance)
        variances.append(variance)
    warn_of_range(variances, variances, inputs=[x], dtype=torch.float64, sigma_w2=init_scale)
    return settings.output_scale**2 * variance
