"""Least number of floating-point operations of structured formulas, against which times are read.

Layer l of a network gives (A Aᵀ + 1) ∘ (B Bᵀ), with A its inputs and B its backward signals; a symmetric Gram matrix
takes half a matrix product.
"""

from itertools import pairwise

from problems import layer_sizes


def dense_ntk_flops(
    *, n: int, n_inputs: int, width: int, depth: int, n_outputs: int, output_reduction: str = "trace"
) -> float:
    """Flops of the empirical NTK Gram matrix of a fully connected network.

    n² (Σ fan_in + Σ of signals) + 2n P (forward) + 2nC P′ (backward, P′ without the first layer). The last layer's
    signals are the identity. The last hidden layer's differ between outputs by their column of the last weight
    matrix only, which for the trace makes all outputs cost as one.

    Args:
        n: samples.
        n_inputs: size of a sample.
        width: units of each hidden layer.
        depth: hidden layers.
        n_outputs: outputs C.
        output_reduction: `trace` or `full`.

    Returns:
        The number of flops.
    """
    sizes = layer_sizes(n_inputs, width, depth, n_outputs)
    weights = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    activations = sum(sizes[:-1])
    if output_reduction == "full":
        signals = n_outputs**2 * width * depth
    else:
        signals = width * (n_outputs * (depth - 1) + 1) if depth else 0
    gram = float(n) ** 2 * (activations + signals)
    return gram + 2.0 * n * sum(weights) + 2.0 * n * n_outputs * sum(weights[1:])


SGEMM_ORDER = 2048
SGEMM_FLOPS = 2.0 * SGEMM_ORDER**3
"""Of the product of two square matrices, whose rate stands for the machine's."""
