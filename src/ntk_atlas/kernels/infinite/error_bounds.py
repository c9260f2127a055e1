"""Errors of quadrature in each layer, carried through the recursion to the kernels, to first order."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ntk_atlas.activations.activation import Dual


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
