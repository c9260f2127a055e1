r"""Gram matrices from factors: Θ(x, x') = Σ_layers (A Aᵀ) ∘ (B Bᵀ), tile by tile.

Tiles are the outer loop and layers the inner one: what is alive beside the factors and the result is two
tiles, not two (n, n) matrices a layer. A kernel of one set of samples is evaluated in its upper triangle only
and then mirrored, so it is symmetric to the last bit.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from ntk_atlas.kernels.layer_factors import LayerFactors

OUTPUT_REDUCTIONS = ("full", "trace", "mean", "logit_sum")
_TILE = 512


def check_output_reduction(output_reduction: str) -> None:
    """Checks the name of a reduction.

    Raises:
        ValueError: if it is none of `OUTPUT_REDUCTIONS`.
    """
    if output_reduction not in OUTPUT_REDUCTIONS:
        raise ValueError(f"unknown output_reduction {output_reduction!r}: choose one of {', '.join(OUTPUT_REDUCTIONS)}")


def add_gram(
    kernel: Tensor,
    left: Sequence[LayerFactors],
    right: Sequence[LayerFactors],
    *,
    upper: bool = False,
    scale: float = 1.0,
) -> None:
    """Adds the Gram matrix of the factors to `kernel`, in place.

    Args:
        kernel: `(S, n1, n2)` for the sum Σ_c Θ_cc over outputs, or `(S, n1, C, n2, C)` for all of Θ_cc'.
        left: the factors of n1 samples.
        right: the factors of n2 samples, layer by layer as `left`.
        upper: whether to leave out tiles strictly below the diagonal (n1 = n2).
        scale: factor of what is added.
    """
    full = kernel.dim() == 5
    sample_axes = (1, 3) if full else (1, 2)
    for rows, columns in _tiles(kernel.shape[sample_axes[0]], kernel.shape[sample_axes[1]], upper):
        tile = kernel.narrow(sample_axes[0], *rows).narrow(sample_axes[1], *columns)
        for a, b in zip(left, right, strict=True):
            inputs = a.inputs.narrow(1, *rows) @ b.inputs.narrow(1, *columns).mT
            signals = _signal_gram(a.signals.narrow(1, *rows), b.signals.narrow(1, *columns), full)
            signals *= inputs[:, :, None, :, None] if full else inputs
            tile.add_(signals, alpha=scale)


def mirror_upper(kernel: Tensor) -> None:
    """Overwrites the lower triangle with the upper one, in place.

    Args:
        kernel: as in `add_gram`, n1 = n2; the pair (sample, output) counts as one index.
    """
    if kernel.dim() == 5:
        kernel = kernel.view(kernel.shape[0], kernel.shape[1] * kernel.shape[2], -1)
    for (i, m), (j, k) in _tiles(kernel.shape[-1], kernel.shape[-1], upper=True):
        tile = kernel[:, i : i + m, j : j + k]
        if i == j:
            tile.copy_(tile.triu() + tile.triu(1).mT)
        else:
            kernel[:, j : j + k, i : i + m] = tile.mT


def _signal_gram(b1: Tensor, b2: Tensor, full: bool) -> Tensor:
    """Returns B Bᵀ, `(S, n1, n2)` summed over equal outputs, or `(S, n1, C, n2, C)` for all pairs."""
    if not full:
        return b1.flatten(2) @ b2.flatten(2).mT
    gram = b1.flatten(1, 2) @ b2.flatten(1, 2).mT
    return gram.view(gram.shape[0], *b1.shape[1:3], *b2.shape[1:3])


def _tiles(n1: int, n2: int, upper: bool) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """(start, length) of rows and columns of each tile."""
    for i in range(0, n1, _TILE):
        for j in range(i if upper else 0, n2, _TILE):
            yield (i, min(_TILE, n1 - i)), (j, min(_TILE, n2 - j))
