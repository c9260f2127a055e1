"""The problems both sides solve, drawn with NumPy alone so that every environment gets the same numbers."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

DIAG_REG = 1e-3
"""Ridge of the regressions, relative to the mean diagonal of the kernel."""


def inputs(n: int, shape: Sequence[int]) -> np.ndarray:
    """Returns Gaussian inputs `(n, *shape)`, float32."""
    return np.random.default_rng(1).standard_normal((n, *shape), dtype=np.float32)


def layer_sizes(n_inputs: int, width: int, depth: int, n_outputs: int) -> list[int]:
    """Returns the sizes of all layers, inputs first."""
    return [n_inputs, *[width] * depth, n_outputs]


def dense_weights(sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights `(fan_in, fan_out)` and biases `(fan_out,)` of a ReLU network, variances 2/fan_in and 0.01."""
    rng = np.random.default_rng(2)
    return [_layer(rng, (fan_in, fan_out), fan_in) for fan_in, fan_out in pairwise(sizes)]


def convolutional_weights(width: int, n_outputs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights of four 3 × 3 convolutions `(3, 3, channels_in, channels_out)` and of the dense layer, with biases."""
    rng = np.random.default_rng(3)
    convolutions = [_layer(rng, (3, 3, channels, width), 9 * channels) for channels in (3, width, width, width)]
    return [*convolutions, _layer(rng, (width, n_outputs), width)]


def _layer(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> tuple[np.ndarray, np.ndarray]:
    weight = rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / fan_in))
    return weight, rng.standard_normal(shape[-1:], dtype=np.float32) * np.float32(0.1)


def kernel_regression(n: int, n_outputs: int, n_test: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A regression with a Gaussian kernel, float64.

    Args:
        n: training samples.
        n_outputs: targets.
        n_test: test samples.

    Returns:
        `k_train_train` (n, n), `y_train` (n, n_outputs), `k_test_train` (n_test, n).
    """
    rng = np.random.default_rng(4)
    x = rng.standard_normal((n + n_test, 10))
    y = np.sin(x[:n] @ rng.standard_normal((10, n_outputs))) + 0.1 * rng.standard_normal((n, n_outputs))
    squares = (x**2).sum(1)
    kernel = squares[:, None] + squares[None, :n] - 2 * x @ x[:n].T
    np.maximum(kernel, 0, out=kernel)
    np.exp(np.multiply(kernel, -1 / 20, out=kernel), out=kernel)
    kernel *= 3.0  # a mean diagonal other than 1 tells a wrong scale of the ridge
    return np.ascontiguousarray(kernel[:n]), y, np.ascontiguousarray(kernel[n:])


def curve_sizes(n: int, n_sizes: int, spacing: str) -> list[int]:
    """Returns nested sample counts up to n, log-spaced over two decades or equally spaced."""
    spaced = np.geomspace(n / 100, n, n_sizes) if spacing == "log" else np.linspace(n / n_sizes, n, n_sizes)
    return sorted({max(1, round(float(size))) for size in spaced})


def ridges(n_ridges: int) -> list[float]:
    """Returns log-spaced ridges, relative to the mean diagonal."""
    return [float(ridge) for ridge in np.geomspace(1e-6, 1e1, n_ridges)]
