"""The recursion over layers of one family of fully connected networks, on a tile of pairs of samples.

With it what convolutional recursions share: a parameterization's part of the NTK, and errors of quadrature in each
layer, carried through the recursion to the kernels to first order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationOverflowError, Dual
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.kernels.infinite.soundness import LayerOfPair, warn_of_range, warn_of_rounding, without_underflow
from ntk_atlas.parameterizations import Parameter, parameterization

Sides = list[Any]


def check_infinite_limit(settings: NetworkSettings, width: int | None) -> None:
    """Checks that networks have kernels of infinite width.

    Args:
        settings: the network.
        width: hidden units or channels; None if none are given.

    Raises:
        KernelInputError: if there is no limit, or the NTK grows with the width and there is none.
    """
    value = parameterization(settings.parameterization)
    if reason := value.no_infinite_kernel():
        raise KernelInputError(f"there are no kernels of infinite width: {reason}; take parameterization='ntk'")
    if value.ntk_grows_with_width() and width is None:
        raise KernelInputError(
            f"the NTK of the {value.label} parameterization grows with the width: give `width`, "
            "or take parameterization='ntk'"
        )


def weight_part(settings: NetworkSettings, fan_in: int, width: int | None, sigma_w2: float) -> float:
    """What the weights of a layer count in the NTK, the factor of E[φ φ′]: see `Parameterization.kernel_factor`."""
    parameter = Parameter("hidden", "weight", fan_in, width or 1)
    return parameterization(settings.parameterization).kernel_factor(parameter, sigma_w2)


def bias_part(settings: NetworkSettings, width: int | None) -> float:
    """What the biases of a layer add to the NTK; 0 if they are not trained."""
    if not settings.trainable_biases:
        return 0.0
    parameter = Parameter("hidden", "bias", 1, width or 1)
    return parameterization(settings.parameterization).kernel_factor(parameter, settings.bias_variance)


@dataclass(frozen=True)
class LayerErrors:
    """What one hidden layer adds.

    Attributes:
        dual: of the activation, made ready for the variances.
        variances: K(x, x) of all samples.
        largest: largest E[φ²] and E[φ'²].
        largest_ntk: largest NTK before the activation.
        fan_in: factor of T in the NTK of the next layer.
        moment: largest error of T over all pairs.
        slope: the same of Ṫ.
    """

    dual: Dual
    variances: Tensor
    largest: tuple[float, float]
    largest_ntk: float
    fan_in: float
    moment: float
    slope: float


def carried_errors(layers: Sequence[LayerErrors], sigma_w2: float) -> list[tuple[float, float]]:
    """Largest errors of NNGP and NTK before the first hidden layer and after each of them.

    |∂T/∂c| ≤ E[φ'²], |∂T/∂a| ≤ √(E[φ''²] E[φ²]) / 2 for each of the two variances, |∂Ṫ/∂c| ≤ E[φ''²]. Averages over
    pixels cannot raise them.

    Args:
        layers: the hidden layers.
        sigma_w2: σ_w².

    Returns:
        Errors of (NNGP, NTK), one more than layers.
    """
    errors = [(0.0, 0.0)]
    for layer in layers:
        nngp, ntk = errors[-1]
        moment_share, slope_share = layer.dual.moment_errors(layer.variances)
        if not (layer.moment or layer.slope or moment_share or nngp):
            errors.append((0.0, 0.0))
            continue
        moment, slope = layer.largest
        curvature = layer.dual.curvature_moment(layer.variances)
        of_moment = max(layer.moment, moment_share * moment) + nngp * (slope + (curvature * moment) ** 0.5)
        of_slope = max(layer.slope, slope_share * slope) + nngp * curvature
        carried = layer.fan_in * of_moment + sigma_w2 * (slope * ntk + of_slope * layer.largest_ntk)
        errors.append((sigma_w2 * of_moment, carried))
    return errors


@dataclass(frozen=True)
class Recursion:
    """One family of networks, and the depths asked for.

    Attributes:
        settings: parameterization, σ_b², biases and output scale.
        dual: of the activation.
        sigma_w2: σ_w².
        width: hidden units, for parameterizations whose NTK grows with them.
        depths: numbers of hidden layers.
        n_inputs: n_0.
        fan_in_part: factor of T in the NTK.
        input_part: factor of x·x' in the NTK of the linear model.
        bias_part: what a layer's biases add to the NTK.
    """

    settings: NetworkSettings
    dual: Dual
    sigma_w2: float
    width: int | None
    depths: tuple[int, ...]
    n_inputs: int
    fan_in_part: float = field(init=False)
    input_part: float = field(init=False)
    bias_part: float = field(init=False)

    def __post_init__(self) -> None:
        check_infinite_limit(self.settings, self.width if max(self.depths) > 0 else 1)
        fan_in_part, inputs = (
            weight_part(self.settings, n, self.width, self.sigma_w2) for n in (self.width or 1, self.n_inputs)
        )
        object.__setattr__(self, "fan_in_part", fan_in_part)
        object.__setattr__(self, "input_part", inputs / self.n_inputs)
        object.__setattr__(self, "bias_part", bias_part(self.settings, self.width))

    def prepare(self, a: Tensor, b: Tensor | None) -> "PreparedLayers":
        """Variances of every sample in every layer, exact, and duals made ready for them.

        Args:
            a: inputs `(n1, n_inputs)`.
            b: inputs `(n2, n_inputs)`; None stands for `a`.

        Returns:
            The layers.

        Raises:
            ActivationOverflowError: a function of the user's overflows at the variances of a layer, which is named.
        """
        squares = [
            torch.linalg.vector_norm(x, dim=1, dtype=torch.float64) ** 2 for x in ((a,) if b is None else (a, b))
        ]
        sizes = [len(x) for x in squares]
        every = torch.cat(squares)
        variance = without_underflow(self.sigma_w2 / self.n_inputs * every + self.settings.bias_variance)
        ntk = self.input_part * every + self.bias_part
        variances, ntks, duals, largest = [variance], [ntk], [], []
        for layer in range(max(self.depths)):
            # Behind a variance of infinity an activation that saturates would give numbers again, and wrong ones.
            if not bool(torch.isfinite(variance).all() & torch.isfinite(ntk).all()):
                break
            try:
                dual = self.dual.at(variance)
            except ActivationOverflowError as error:
                raise ActivationOverflowError(f"hidden layer {layer + 1}: {error}") from None
            moment, slope = dual.second_moment(variance), dual.slope_moment(variance)
            largest.append((float(moment.max()), float(slope.max())))
            ntk = self.fan_in_part * moment + self.bias_part + self.sigma_w2 * slope * ntk
            variance = without_underflow(self.sigma_w2 * moment + self.settings.bias_variance)
            duals.append(dual)
            variances.append(variance)
            ntks.append(ntk)
        return PreparedLayers(self, duals, variances, ntks, largest, sizes[0])


@dataclass(frozen=True)
class PreparedLayers:
    """The recursion for given samples.

    Attributes:
        recursion: the family.
        duals: of hidden layers 1 … max(depths), or up to the one whose kernels overflow.
        variances: K^l(x, x) of layers 1 … max(depths) + 1, of both sets of samples one after the other, float64.
        ntks: Θ^l(x, x) of the same layers and samples, float64.
        largest: largest E[φ²] and E[φ'²] of each hidden layer.
        n1: samples of the first set.
    """

    recursion: Recursion
    duals: list[Dual]
    variances: list[Tensor]
    ntks: list[Tensor]
    largest: list[tuple[float, float]]
    n1: int

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of hidden layers."""
        return self.recursion.depths

    def diagonal(self, depth: int) -> Tensor:
        """Returns K(x, x) and Θ(x, x) of the first set at one depth, `(2, n1)`."""
        if depth >= len(self.variances):
            return self.variances[0].new_full((2, self.n1), torch.nan)
        scale = self.recursion.settings.output_scale**2
        return scale * torch.stack([self.variances[depth][: self.n1], self.ntks[depth][: self.n1]])

    def sides(self, samples: slice, dtype: torch.dtype, *, second: bool) -> Sides:
        """Returns what a tile needs of its rows (`(n, 1)`) or of its columns, second = True (`(1, n)`), by layer."""
        offset = self.n1 if second and len(self.variances[0]) > self.n1 else 0
        samples = slice(samples.start + offset, samples.stop + offset)
        shape = (1, -1) if second else (-1, 1)
        return [
            dual.side(variance[samples].view(shape), dtype)
            for dual, variance in zip(self.duals, self.variances, strict=False)
        ]

    def tile(
        self, products: Tensor, a: Sides, b: Sides, buffers: Sequence[Tensor], out: Tensor, errors: Tensor
    ) -> None:
        """Runs all layers on one tile.

        Args:
            products: inner products x·x' `(rows, columns)`; overwritten.
            a: sides of the rows.
            b: sides of the columns.
            buffers: three more tiles.
            out: `(2, n_depths, rows, columns)`, receives both kernels.
            errors: `(2, max(depths))`, raised to the errors of T and Ṫ by quadrature where those are larger.
        """
        recursion = self.recursion
        sigma_w2, sigma_b2 = recursion.sigma_w2, recursion.settings.bias_variance
        ntk, *others = buffers
        spare = (others[0], others[1])
        torch.mul(products, recursion.input_part, out=ntk)
        nngp = products.mul_(sigma_w2 / recursion.n_inputs)
        for depth in range(len(self.duals) + 1):
            if depth > 0:
                result = self.duals[depth - 1].evaluate(nngp, a[depth - 1], b[depth - 1], spare, sigma_w2)
                if result.moment_error or result.slope_error:
                    errors[0, depth - 1] = max(float(errors[0, depth - 1]), result.moment_error / sigma_w2)
                    errors[1, depth - 1] = max(float(errors[1, depth - 1]), result.slope_error / sigma_w2)
                spare = (nngp, result.slope)
                ntk.mul_(result.slope).add_(result.moment, alpha=recursion.fan_in_part / sigma_w2)
                nngp = result.moment
            if recursion.bias_part:
                ntk.add_(recursion.bias_part)
            if sigma_b2:
                nngp.add_(sigma_b2)
            for position, wanted in enumerate(self.depths):
                if wanted == depth:
                    out[0, position], out[1, position] = nngp, ntk
                    if recursion.settings.output_scale != 1.0:
                        out[:, position].mul_(recursion.settings.output_scale**2)
        for position, wanted in enumerate(self.depths):
            if wanted > len(self.duals):
                out[:, position] = torch.nan

    def error_bounds(self, errors: Tensor) -> Tensor:
        """Errors of the kernels that follow from those of T and Ṫ in each layer, see `infinite_errors`.

        Args:
            errors: `(2, max(depths))`.

        Returns:
            Errors of NNGP and NTK at each of the depths, `(2, n_depths)`.
        """
        recursion = self.recursion
        layers = [
            LayerErrors(
                dual=dual,
                variances=self.variances[layer],
                largest=self.largest[layer],
                largest_ntk=float(self.ntks[layer].max()),
                fan_in=recursion.fan_in_part,
                moment=float(errors[0, layer]),
                slope=float(errors[1, layer]),
            )
            for layer, dual in enumerate(self.duals)
        ]
        carried = carried_errors(layers, recursion.sigma_w2)
        scale = recursion.settings.output_scale**2
        bounds = [carried[d] if d < len(carried) else (torch.inf, torch.inf) for d in self.depths]
        return scale * torch.tensor(bounds, dtype=torch.float64).T

    def warn(self, a: Tensor, b: Tensor | None, dtype: torch.dtype) -> bool:
        """Warns of kernels that overflow, underflow, or are decided by rounding.

        Args:
            a: inputs `(n1, n_inputs)`.
            b: inputs `(n2, n_inputs)`, or None.
            dtype: precision of the kernels.

        Returns:
            Whether kernels overflow.
        """
        recursion = self.recursion
        inputs = (a,) if b is None else (a, b)
        overflows = warn_of_range(self.variances, self.ntks, inputs=inputs, dtype=dtype, sigma_w2=recursion.sigma_w2)
        sizes = [float(variance.max()) for variance in self.variances]
        layers = [
            LayerOfPair(dual, size, recursion.fan_in_part, recursion.bias_part)
            for dual, size in zip(self.duals, sizes, strict=False)
            if 0.0 < size < torch.inf
        ]
        if len(layers) == len(self.duals) and layers:
            bias_variance = recursion.settings.bias_variance
            warn_of_rounding(
                layers, a, b,
                depths=self.depths, sigma_w2=recursion.sigma_w2, bias_variance=bias_variance,
                start=1.0 - bias_variance / sizes[0], dtype=dtype,
            )  # fmt: skip
        return overflows
