r"""Infinite-width kernels of fully connected networks: NNGP and NTK of all depths in one sweep.

With T and Ṫ the dual activations of the kernel K^l (`dual_activations`), n_0 inputs and n_l = width,

    K¹ = σ_w² x·x'/n_0 + σ_b²,       K^{l+1} = σ_w² T + σ_b²,
    ntk:       Θ¹ = K¹,              Θ^{l+1} = σ_w² T + σ_b² + σ_w² Ṫ Θ^l        (Jacot et al. 2018, theorem
    1)
    standard:  Θ¹ = x·x' + 1,        Θ^{l+1} = n_l T + 1 + σ_w² Ṫ Θ^l            (Sohl-Dickstein et al. 2020)

where the bias terms σ_b² and 1 of Θ stand only with trainable biases. A network of H hidden layers has
K^{H+1} and Θ^{H+1}, times α² for output scale α.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.dual_activations import dual_activation, second_moment

_TILE = 512


@dataclass(frozen=True)
class InfiniteKernels:
    """Kernels of several depths, float64.

    Attributes:
        nngp: `(n_depths, n1, n2)`.
        ntk: `(n_depths, n1, n2)`.
    """

    nngp: Tensor
    ntk: Tensor


def infinite_kernels(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depths: Sequence[int],
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
) -> InfiniteKernels:
    """NNGP and NTK at infinite width.

    Evaluated in tiles; beside the result only a few tiles are held. With `x2` None only the upper triangle is
    evaluated, and variances on the diagonal are exact.

    Args:
        x1: inputs `(n1, *shape)`, flattened.
        x2: inputs `(n2, *shape)`; None stands for `x1` and gives exactly symmetric kernels.
        depths: numbers of hidden layers, in any order; 0 is the linear model.
        settings: activation, parameterization, σ_b², biases and output scale.
        init_scale: σ_w².
        width: hidden units; the standard parameterization's NTK grows with it. The NTK parameterization does
            not need it.

    Returns:
        Both kernels, `(n_depths, n1, n2)`, in the order of `depths`.

    Raises:
        ValueError: if inputs are empty, not finite or do not match, depths are not numbers of layers, or the
            width is missing (`UnsupportedActivationError` for an activation without closed form).
    """
    recursion = _Recursion.of(x1, settings, init_scale, width, depths)
    a = _inputs(x1, "x1")
    b = a if x2 is None else _inputs(x2, "x2")
    if a.shape[1] != b.shape[1] or a.device != b.device:
        raise ValueError(
            f"a sample of x1 has {a.shape[1]} inputs ({a.device}), of x2 {b.shape[1]} ({b.device}): they must match"
        )
    results = torch.empty(2, len(recursion.depths), len(a), len(b), dtype=a.dtype, device=a.device)
    variances_a = recursion.variances(a)
    variances_b = variances_a if x2 is None else recursion.variances(b)
    for i in range(0, len(a), _TILE):
        for j in range(i if x2 is None else 0, len(b), _TILE):
            rows, columns = slice(i, i + _TILE), slice(j, j + _TILE)
            products = a[rows] @ b[columns].T
            if x2 is None and i == j:
                products.diagonal().copy_((a[rows] ** 2).sum(1))
            tile = recursion.kernels(
                products, [v[rows, None] for v in variances_a], [v[None, columns] for v in variances_b]
            )
            if x2 is None:
                tile = tile.triu() + tile.triu(1).mT if i == j else tile
                results[:, :, columns, rows] = tile.mT
            results[:, :, rows, columns] = tile
    return InfiniteKernels(nngp=results[0], ntk=results[1])


def infinite_ntk(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int,
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
) -> Tensor:
    """Returns the NTK of one depth, `(n1, n2)`; see `infinite_kernels`."""
    return infinite_kernels(x1, x2, depths=[depth], settings=settings, init_scale=init_scale, width=width).ntk[0]


def infinite_nngp(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int,
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
) -> Tensor:
    """Returns the NNGP kernel of one depth, `(n1, n2)`, see `infinite_kernels`; the width does not matter."""
    return infinite_kernels(x1, x2, depths=[depth], settings=settings, init_scale=init_scale, width=width or 1).nngp[0]


def output_variance(x: Tensor, *, depth: int, settings: NetworkSettings, init_scale: float) -> Tensor:
    """Variance of each output at initialization and infinite width, the NNGP diagonal, for every activation.

    Args:
        x: inputs `(n, *shape)`, flattened.
        depth: hidden layers.
        settings: activation, σ_b² and output scale.
        init_scale: σ_w².

    Returns:
        α² K^{depth+1}(x, x), `(n,)`, float64.

    Raises:
        ValueError: if the depth is not a number of layers, or inputs are empty or not finite.
    """
    (depth,) = _checked_depths([depth])
    x = _inputs(x, "x")
    variance = init_scale * (x**2).sum(1) / x.shape[1] + settings.bias_variance
    for _ in range(depth):
        variance = init_scale * second_moment(settings.activation, variance) + settings.bias_variance
    return settings.output_scale**2 * variance


@dataclass(frozen=True)
class _Recursion:
    """One family of networks, and the depths asked for."""

    settings: NetworkSettings
    sigma_w2: float
    width: float
    depths: tuple[int, ...]
    n_inputs: int

    @classmethod
    def of(
        cls, x: Tensor, settings: NetworkSettings, init_scale: float, width: int | None, depths: Sequence[int]
    ) -> "_Recursion":
        depths = _checked_depths(depths)
        if settings.parameterization == "standard" and width is None and max(depths) > 0:
            raise ValueError("the NTK of the standard parameterization grows with the width: give `width`")
        if max(depths) > 0:
            dual_activation(settings.activation)
        return cls(settings, init_scale, float(width or 1), depths, x[0].numel() if x.dim() and len(x) else 0)

    def variances(self, x: Tensor) -> list[Tensor]:
        """Returns K^l(x, x) of layers 1 … max(depths), each `(n,)`."""
        variance = self.sigma_w2 * (x**2).sum(1) / self.n_inputs + self.settings.bias_variance
        layers = [variance]
        for _ in range(max(self.depths) - 1):
            moment = second_moment(self.settings.activation, layers[-1])
            layers.append(self.sigma_w2 * moment + self.settings.bias_variance)
        return layers

    def kernels(self, products: Tensor, variances_a: list[Tensor], variances_b: list[Tensor]) -> Tensor:
        """Returns NNGP and NTK of inner products x·x' `(n1, n2)` for all depths, `(2, n_depths, n1, n2)`."""
        sigma_w2, sigma_b2 = self.sigma_w2, self.settings.bias_variance
        standard, biases = self.settings.parameterization == "standard", self.settings.trainable_biases
        bias_part = float(biases) * (1.0 if standard else sigma_b2)
        fan_in_part = self.width if standard else sigma_w2
        nngp = sigma_w2 / self.n_inputs * products + sigma_b2
        ntk = (1.0 if standard else sigma_w2 / self.n_inputs) * products + bias_part
        out = products.new_empty(2, len(self.depths), *products.shape)
        for depth in range(max(self.depths) + 1):
            if depth > 0:
                dual = dual_activation(self.settings.activation)
                moment, slope = dual(variances_a[depth - 1], variances_b[depth - 1], nngp)
                nngp = sigma_w2 * moment + sigma_b2
                ntk = slope.mul_(sigma_w2).mul_(ntk).add_(moment, alpha=fan_in_part).add_(bias_part)
            for position, wanted in enumerate(self.depths):
                if wanted == depth:
                    out[0, position], out[1, position] = nngp, ntk
        return out.mul_(self.settings.output_scale**2)


def _checked_depths(depths: Sequence[int]) -> tuple[int, ...]:
    depths = tuple(operator.index(depth) for depth in depths)
    if not depths or min(depths) < 0:
        raise ValueError(f"depths are numbers of hidden layers, at least one and none below 0; got {depths}")
    return depths


def _inputs(x: Tensor, name: str) -> Tensor:
    # Flattened, in float64, checked.
    if x.dim() == 0 or x.numel() == 0:
        raise ValueError(f"{name} is empty (shape {tuple(x.shape)}): a kernel needs at least one sample")
    x = x.to(torch.float64).reshape(len(x), -1)
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} has a NaN or infinite entry: clean the inputs")
    return x
