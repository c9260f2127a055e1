"""Infinite-width kernels of fully connected networks: NNGP and NTK of all depths in one sweep, tile by tile.

With T and Ṫ the dual activations of the kernel K^l (`activations.activation`), n_0 inputs and n_l = width,

    K¹ = σ_w² x·x'/n_0 + σ_b²,       K^{l+1} = σ_w² T + σ_b²,
    ntk:       Θ¹ = K¹,              Θ^{l+1} = σ_w² T + σ_b² + σ_w² Ṫ Θ^l        (Jacot et al. 2018, theorem
    1)
    standard:  Θ¹ = x·x' + 1,        Θ^{l+1} = n_l T + 1 + σ_w² Ṫ Θ^l            (Sohl-Dickstein et al. 2020)

where the bias terms σ_b² and 1 of Θ stand only with trainable biases. A network of H hidden layers has
K^{H+1} and Θ^{H+1}, times α² for output scale α.
"""

import logging
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationChoice
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError, MemoryLimitError
from ntk_atlas.kernels.infinite.recursion import PreparedLayers, Recursion, Sides
from ntk_atlas.kernels.infinite.series import dual_of
from ntk_atlas.kernels.infinite.soundness import warn_of_entries, warn_of_range, without_underflow
from ntk_atlas.numerics import Given, default_memory_limit, in_turn_or_at_once, precise_math, real_number, real_tensor

_LARGEST_SCALE = 1e150
"""Kernels have squares of σ_w²."""
_SIDE = {torch.float32: 384, torch.float64: 192}
_SMALLEST = 8
SLACK_BYTES = 2**20
"""What threads, allocators and small tensors take beside what is counted."""
_TILES_ALIVE = 9
"""Products, the NTK, two of scratch, up to three more inside a dual, and what a mirror image takes."""
log = logging.getLogger(__name__)

# Part of the largest entry from which on a bound of the error is worth a warning.
_LOOSE = 1e-4


def checked_depths(depths: Sequence[int]) -> tuple[int, ...]:
    """Returns numbers of hidden layers.

    Raises:
        KernelInputError: if there are none, or one is negative.
    """
    listed = isinstance(depths, Iterable) and not isinstance(depths, str | bytes)
    given = tuple(depths) if listed and getattr(depths, "ndim", 1) != 0 else ()
    try:
        checked = tuple(operator.index(depth) for depth in given)
    except TypeError:
        checked = ()
    if not checked or min(checked) < 0:
        raise KernelInputError(
            f"depths are numbers of hidden layers, at least one and none below 0; got {given if listed else depths!r}"
        )
    return checked


def checked_width(width: int | None) -> int | None:
    """Returns the number of hidden units.

    Raises:
        KernelInputError: if it is no whole number from 1 on.
    """
    if width is None:
        return None
    try:
        checked = operator.index(width)
    except TypeError:
        checked = 0
    if checked < 1:
        raise KernelInputError(f"width is a number of hidden units, from 1 on; got {width!r}")
    return checked


def checked_scale(init_scale: float, dtype: torch.dtype = torch.float64) -> float:
    """Returns σ_w².

    Raises:
        KernelInputError: if it is not positive and finite, or no number of the kernels' precision.
    """
    if not 0.0 < real_number(init_scale, "init_scale", KernelInputError) < math.inf:
        raise KernelInputError(f"init_scale is σ_w², positive and finite; got {init_scale!r}")
    limits = torch.finfo(dtype)
    if not limits.tiny <= init_scale <= min(limits.max / 16, _LARGEST_SCALE):
        raise KernelInputError(f"init_scale is {init_scale:g}, which {dtype} does not hold: take a number nearer to 1")
    return init_scale


def checked_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the precision.

    Raises:
        KernelInputError: if it is not one that kernels are computed in.
    """
    if dtype not in (torch.float64, torch.float32):
        raise KernelInputError(f"dtype is torch.float64 or torch.float32, got {dtype}")
    return dtype


def checked_inputs(x: Given, name: str, dtype: torch.dtype, *, sample_dim: int = 1) -> Tensor:
    """Returns inputs flattened to `(n, n_inputs)` (or `sample_dim` dimensions a sample, kept), in a precision.

    Raises:
        KernelInputError: if they are empty, complex or not finite, or have other dimensions than asked for.
    """
    x = real_tensor(x, name, KernelInputError)
    if x.dim() == 0 or x.numel() == 0:
        raise KernelInputError(f"{name} is empty (shape {tuple(x.shape)}): a kernel needs at least one sample")
    if sample_dim > 1 and x.dim() != sample_dim + 1:
        raise KernelInputError(f"{name} has shape {tuple(x.shape)}: images are (n, channels, height, width)")
    given, x = x, x.detach().to(dtype)
    # The sum is quick, and finite unless an entry is not (or it overflows).
    if not (torch.isfinite(x.sum()) or torch.isfinite(x).all()):
        if torch.isfinite(given).all():
            raise KernelInputError(
                f"{name} overflows {dtype}: its largest entry is {float(given.abs().max()):.3g}; scale the inputs, or "
                "take dtype=torch.float64"
            )
        raise KernelInputError(f"{name} has a NaN or infinite entry: clean the inputs")
    return x if sample_dim > 1 else x.reshape(len(x), -1)


@dataclass(frozen=True)
class Tiles:
    """How the pairs of two sets of samples are cut.

    Attributes:
        a: first inputs `(n1, n_inputs)`.
        b: second inputs.
        symmetric: whether both are the same.
        side: samples of a tile's rows and of its columns.
        panel: columns whose per-sample quantities are kept at once, a multiple of `side`.
        threads: tiles at a time.
    """

    a: Tensor
    b: Tensor
    symmetric: bool
    side: int
    panel: int
    threads: int

    def fill(self, results: Tensor, layers: PreparedLayers) -> Tensor:
        """Evaluates all tiles; if symmetric, those on and above the diagonal, then mirrored.

        Tiles are small for a thread pool of torch's own, so each thread takes whole rows of tiles.

        Args:
            results: `(2, n_depths, n1, n2)`, overwritten.
            layers: the recursion.

        Returns:
            Largest errors of T and Ṫ by quadrature, `(2, max(depths))`.
        """
        errors = [torch.zeros(2, len(layers.duals), dtype=torch.float64)]
        with precise_math(threads=1):
            for panel in _slices(0, len(self.b), self.panel):
                blocks = list(_slices(panel.start, panel.stop, self.side))
                sides = [layers.sides(block, results.dtype, second=True) for block in blocks]
                run = partial(self._row, results, layers, list(zip(blocks, sides, strict=True)))
                errors += in_turn_or_at_once(
                    run, _slices(0, panel.stop if self.symmetric else len(self.a), self.side), workers=self.threads
                )
        if self.symmetric:
            for position, depth in enumerate(layers.depths):
                results[:, position].diagonal(dim1=1, dim2=2).copy_(layers.diagonal(depth))
        return torch.stack(errors).amax(0)

    def _row(self, results: Tensor, layers: PreparedLayers, blocks: list[tuple[slice, Sides]], rows: slice) -> Tensor:
        # One row of tiles.
        buffers = self.a.new_empty(4, self.side**2)
        errors = torch.zeros(2, len(layers.duals), dtype=torch.float64)
        sides = layers.sides(rows, results.dtype, second=False)
        for columns, side in blocks:
            if not self.symmetric or columns.start > rows.start:
                self._tile(results, layers, (rows, columns), (sides, side), buffers, errors)
            elif columns.start == rows.start:
                middle = min(rows.start + self.side // 2, rows.stop)
                for part in (slice(rows.start, middle), slice(middle, rows.stop)):
                    rest = slice(part.start, rows.stop)
                    if part.start < part.stop:
                        pair = (
                            layers.sides(part, results.dtype, second=False),
                            layers.sides(rest, results.dtype, second=True),
                        )
                        self._tile(results, layers, (part, rest), pair, buffers, errors)
        return errors

    def _tile(
        self,
        results: Tensor,
        layers: PreparedLayers,
        where: tuple[slice, slice],
        sides: tuple[Sides, Sides],
        memory: Tensor,
        errors: Tensor,
    ) -> None:
        rows, columns = where
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        products, *buffers = (buffer[: shape[0] * shape[1]].view(shape) for buffer in memory)
        torch.mm(self.a[rows], self.b[columns].T, out=products)
        if self.symmetric and columns.start == rows.start:
            # These entries are known exactly and set in the end; 0 is where every dual is easy.
            products.diagonal().zero_()
        layers.tile(products, *sides, buffers, results[:, :, rows, columns], errors)
        if not self.symmetric:
            return
        if columns.start == rows.start:
            square = results[:, :, rows, rows]
            square.copy_(square.triu() + square.triu(1).mT)
            columns = slice(rows.stop, columns.stop)
        results[:, :, columns, rows] = results[:, :, rows, columns].mT


def plan_tiles(a: Tensor, b: Tensor, *, symmetric: bool, layers: PreparedLayers, memory_limit: int | None) -> Tiles:
    """Cuts the pairs so that result, inputs and buffers stay within a limit.

    Args:
        a: first inputs `(n1, n_inputs)`.
        b: second inputs.
        symmetric: whether both are the same.
        layers: the recursion.
        memory_limit: bytes; None for `memory.default_memory_limit`.

    Returns:
        The tiles.

    Raises:
        MemoryLimitError: if the result, or the result with the smallest tiles, does not fit.
    """
    side, threads = _SIDE[a.dtype], torch.get_num_threads() if a.device.type == "cpu" else 1
    memory_limit = default_memory_limit(a.device) if memory_limit is None else memory_limit
    size = a.element_size()
    result = 2 * len(layers.depths) * len(a) * len(b) * size
    # A copy in the kernels' precision, and for the norms one in float64.
    inputs = a.nbytes + (0 if symmetric else b.nbytes) + (0 if size == 8 else 8 * max(a.numel(), b.numel()))
    vectors = 8 * 4 * (len(layers.variances) + 1) * (len(a) + len(b)) + SLACK_BYTES
    fixed = sum(dual.fixed_bytes() for dual in layers.duals[-1:])
    a_sample = sum(dual.bytes_per_sample(size) for dual in layers.duals)
    left = memory_limit - result - inputs - vectors - fixed
    smallest = min(side, _SMALLEST)
    while True:
        for_panels = left - threads * (_TILES_ALIVE * side**2 * size + 3 * side * a_sample)
        panel = _whole(b, side) if a_sample == 0 else min(_whole(b, side), for_panels // a_sample // side * side)
        if for_panels >= 0 and panel > 0:
            return Tiles(a, b, symmetric, side, panel, threads)
        if threads > 1:
            threads -= 1
        elif side > smallest:
            side = max(side // 2, smallest)
        else:
            break
    beside = inputs + vectors + fixed + _TILES_ALIVE * smallest**2 * size + 4 * smallest * a_sample
    raise MemoryLimitError(
        f"infinite kernels of {len(a)} x {len(b)} samples at {len(layers.depths)} depths take {_mb(result)} for the "
        f"result and at least {_mb(beside)} beside it; memory_limit is {_mb(memory_limit)}: raise it, ask for fewer "
        "depths, use dtype=torch.float32, or compute blocks of samples"
    )


def _whole(b: Tensor, side: int) -> int:
    return -(-len(b) // side) * side


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


def _slices(start: int, stop: int, length: int) -> Iterator[slice]:
    for first in range(start, stop, length):
        yield slice(first, min(first + length, stop))


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
    thousandth (`recursion`), are warned of, with the depth.

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


def infinite_lambda_max(
    x: Tensor, *, depth: int, settings: NetworkSettings, init_scale: float, width: int | None = None
) -> float:
    """λ_max of the full nC × nC Gram: outputs are independent at infinite width, so that of the n × n kernel.

    Args:
        x: inputs `(n, *shape)`.
        depth: hidden layers.
        settings: family, activation, parameterization, σ_b², biases and output scale, which is in the eigenvalue.
        init_scale: σ_w².
        width: hidden units; enters where the NTK grows with them.

    Returns:
        The eigenvalue.

    Raises:
        KernelInputError: see `Family.infinite_kernels`; or the kernel overflows.
    """
    kernels = settings.family.infinite_kernels(x, depths=[depth], settings=settings, init_scale=init_scale, width=width)
    if not bool(torch.isfinite(kernels.ntk).all()):
        raise KernelInputError(
            f"the infinite NTK at depth {depth}, init_scale {init_scale:g}, overflows: there is no largest eigenvalue "
            "to set learning rates by; lower init_scale or depth, or give an absolute learning rate"
        )
    return float(torch.linalg.eigvalsh(kernels.ntk[0])[-1])
