r"""Which infinite kernels are no numbers, or rounding alone: overflow, underflow, the last digit in chaos.

Equal samples keep correlation 1 in exact arithmetic; with a rounding error δ in every layer they do not. In the chaotic
phase 1 − ρ grows by χ₁ > 1 from layer to layer, and the slope of a kink, E[φ'φ'] ≈ E[φ'²] − const √(1 − ρ), feels the
root of δ in any phase. `rounding_deviation` runs the recursion of a pair of samples with and without δ; where the two
come further apart than `LOOSE_ROUNDING` for pairs as near as those of the data, a warning says so.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.activations import Dual

log = logging.getLogger(__name__)

LOOSE_ROUNDING = 1e-3
"""Share of the kernel of a sample with itself from which on an error by rounding is worth a warning."""
_NEGLIGIBLE = 1e-280
_ROUNDINGS = 2.0
_NEAREST = 16
_BLOCK = 1024


def without_underflow(variance: Tensor) -> Tensor:
    """Variances (float64) with 0 in place of those so small that their squares and roots have no digits left."""
    return torch.where(variance < _NEGLIGIBLE, 0.0, variance)


@dataclass(frozen=True)
class LayerOfPair:
    """What a hidden layer does to a pair of samples of one variance.

    Attributes:
        dual: of the activation, made ready.
        variance: K(x, x) before the activation.
        fan_in: factor of T in the NTK.
        bias_part: what biases add to the NTK.
    """

    dual: Dual
    variance: float
    fan_in: float
    bias_part: float


def rounding_deviation(
    layers: Sequence[LayerOfPair], rho: Tensor, *, sigma_w2: float, bias_variance: float, eps: float
) -> Tensor:
    """How far rounding moves both kernels of pairs, as a share of the kernels of a sample with itself.

    Args:
        layers: the hidden layers.
        rho: correlations of the pairs before the first of them, `(k,)`, float64.
        sigma_w2: σ_w².
        bias_variance: σ_b².
        eps: relative rounding of the precision.

    Returns:
        `(2, n_layers, k)`: of NNGP and NTK behind each layer.
    """
    shift = 1.0 - _ROUNDINGS * eps
    start = layers[0].variance * rho.to(torch.float64)[None]
    exact, moved = (start, start), (start * shift, start * shift)
    own = layers[0].variance
    # What is equal to rounding stays equal, whatever float64 would make of it.
    equal = rho.to(torch.float64)[None] >= 1.0 - 4.0 * eps
    found = []
    for layer in layers:
        q = torch.tensor([[layer.variance]], dtype=torch.float64)
        side = layer.dual.side(q, torch.float64)

        def after(
            pair: tuple[Tensor, Tensor], layer: LayerOfPair = layer, side: object = side
        ) -> tuple[Tensor, Tensor]:
            nngp, ntk = pair
            scratch = (torch.empty_like(nngp), torch.empty_like(nngp))
            tile = layer.dual.evaluate(nngp.clamp(-layer.variance, layer.variance), side, side, scratch, 1.0)
            return (
                sigma_w2 * tile.moment + bias_variance,
                layer.fan_in * tile.moment + layer.bias_part + sigma_w2 * tile.slope * ntk,
            )

        exact = after((exact[0].clone(), exact[1]))
        nngp, ntk = after((moved[0].clone(), moved[1]))
        moved = (nngp * shift, ntk)
        moment, slope = float(layer.dual.second_moment(q)), float(layer.dual.slope_moment(q))
        own = layer.fan_in * moment + layer.bias_part + sigma_w2 * slope * own
        units = (sigma_w2 * moment + bias_variance, own)
        exact = (exact[0].masked_fill(equal, units[0]), exact[1].masked_fill(equal, units[1]))
        found.append(
            torch.stack(
                [((a - b)[0].abs() / unit).clamp(max=1.0) for a, b, unit in zip(exact, moved, units, strict=True)]
            )
        )
    return torch.stack(found, dim=1)


def nearest_pairs(a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of samples with the largest correlations, either sign; samples of norm 0 have none.

    Args:
        a: inputs `(n1, n_inputs)`.
        b: inputs `(n2, n_inputs)`; None stands for `a`, whose pairs of a sample with itself are left out.

    Returns:
        Correlations and both indices, largest first.
    """
    other = a if b is None else b
    norms = [torch.linalg.vector_norm(x, dim=1).clamp(min=torch.finfo(x.dtype).tiny) for x in (a, other)]
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(a), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(a)))
        rho = (a[rows] / norms[0][rows, None]) @ (other / norms[1][:, None]).mT
        if b is None:
            rho[torch.arange(len(rho)), torch.arange(rows.start, rows.stop)] = 0.0
        size, j = rho.abs_().max(dim=1)  # of each sample its nearest
        kept.append((size.double().clamp(max=1.0), torch.arange(rows.start, rows.stop, device=a.device), j))
    size, i, j = (torch.cat(parts) for parts in zip(*kept, strict=True))
    order = size.argsort(descending=True)[:_NEAREST]
    return size[order], i[order], j[order]


def warn_of_rounding(
    layers: Sequence[LayerOfPair],
    a: Tensor,
    b: Tensor | None,
    *,
    depths: Sequence[int],
    sigma_w2: float,
    bias_variance: float,
    start: float,
    dtype: torch.dtype,
) -> None:
    """Warns where nearly equal samples have kernels that rounding decides.

    Args:
        layers: the hidden layers; none with a variance of 0 or infinity.
        a: inputs `(n1, n_inputs)`.
        b: inputs `(n2, n_inputs)`, or None.
        depths: numbers of hidden layers that are asked for.
        sigma_w2: σ_w².
        bias_variance: σ_b².
        start: share of the first variance that inner products make, the rest being biases.
        dtype: precision of the kernels.
    """
    wanted = [depth for depth in depths if 0 < depth <= len(layers)]
    # Series have an error bound of their own, which carries what they leave out from layer to layer.
    if not wanted or not layers[0].dual.closed_form:
        return
    choice = {"sigma_w2": sigma_w2, "bias_variance": bias_variance, "eps": torch.finfo(dtype).eps}

    def largest(rho: Tensor) -> Tensor:
        return rounding_deviation(layers[: max(wanted)], rho, **choice)[:, [depth - 1 for depth in wanted]].nan_to_num(
            0.0
        )

    # Equal samples feel it most: where they do not, no pair does, and the data need not be looked at.
    if float(largest(torch.ones(1)).max()) <= LOOSE_ROUNDING:
        return
    rho, i, j = nearest_pairs(a, b)
    found = largest(start * rho.cpu() + (1.0 - start))
    for position, depth in enumerate(wanted):
        of_depth = found[:, position].amax(0)
        worst = int(of_depth.argmax())
        if float(of_depth[worst]) > LOOSE_ROUNDING:
            log.warning(
                "at depth %d rounding in %s decides kernels of nearly equal samples: for sample %d of x1 and %d of x2 "
                "(correlation %.9g) by %.1g of the NNGP and %.1g of the NTK of a sample with itself; %s",
                depth, dtype, i[worst], j[worst], rho[worst], found[0, position, worst], found[1, position, worst],
                "take dtype=torch.float64, or fewer layers" if dtype == torch.float32 else "take fewer layers, or an "
                "init_scale nearer to the critical one",
            )  # fmt: skip
            return


def warn_of_range(
    variances: Sequence[Tensor],
    ntks: Sequence[Tensor],
    *,
    inputs: Sequence[Tensor],
    dtype: torch.dtype,
    sigma_w2: float,
) -> bool:
    """Warns where kernels of samples with themselves leave the range of a precision, and names the depth.

    Args:
        variances: K(x, x) by depth, from 0 on.
        ntks: Θ(x, x) by depth.
        inputs: sets of samples x; one that is 0 may have a kernel of 0.
        dtype: precision of the kernels.
        sigma_w2: σ_w².

    Returns:
        Whether they overflow.
    """
    limits, by_depth = torch.finfo(dtype), list(zip(variances, ntks, strict=False))
    higher = [not all(bool((kernel <= limits.max).all()) for kernel in kernels) for kernels in by_depth]
    alive = torch.cat([(x.flatten(1) != 0).any(1) for x in inputs])
    lower = [
        any(
            bool((kernel[alive] < limits.tiny).any())
            if kernel.shape == alive.shape
            else bool(alive.any()) and float(kernel.max()) < limits.tiny  # pixels, which may be 0 each
            for kernel in kernels
        )
        for kernels in by_depth
    ]
    instead = ", or take dtype=torch.float64" if dtype == torch.float32 else ""
    if any(higher):
        log.warning(
            "infinite kernels overflow %s from depth %d on at init_scale %g: entries are infinity or NaN there; lower "
            "init_scale or the depth, or scale the inputs%s",
            dtype, higher.index(True), sigma_w2, instead,
        )  # fmt: skip
    if any(lower):
        log.warning(
            "infinite kernels underflow %s from depth %d on at init_scale %g: entries are 0 there, or have lost "
            "digits; raise init_scale, lower the depth, give biases a variance, or scale the inputs%s",
            dtype, lower.index(True), sigma_w2, instead,
        )  # fmt: skip
    return any(higher)


def warn_of_entries(name: str, depth: int, kernel: Tensor) -> None:
    """Warns of a kernel with entries that are not finite.

    Args:
        name: which it is.
        depth: hidden layers.
        kernel: `(n1, n2)`.
    """
    low, high = (float(extreme) for extreme in kernel.aminmax())
    if not (low > -torch.inf and high < torch.inf):
        log.warning("the %s at depth %d has entries that are infinity or NaN in %s", name, depth, kernel.dtype)
