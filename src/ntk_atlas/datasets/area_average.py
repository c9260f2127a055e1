r"""Average pooling to any smaller side, in exact arithmetic.

A pooled pixel is the mean of the image over its own square of the plane. With N input and S output pixels a side, in
units of 1/(N S) of the side, output i covers [iN, (i+1)N) and input j covers [jS, (j+1)S); A_ij is the length of their
overlap, an integer with Σ_j A_ij = N, and the pooled image is A X Aᵀ / N². For S a divisor of N this is ordinary
average pooling over (N/S) × (N/S) blocks; otherwise border pixels count in proportion to their overlap.
"""

import numpy as np

_CHUNK = 2048


def area_average(images: np.ndarray, side: int) -> np.ndarray:
    """Pools square images to `side` × `side` pixels.

    The sums are integers below 255 N² < 2²⁴, so float32 holds them exactly in whatever order they are added: the
    result is the correctly rounded quotient, the same on every machine.

    Args:
        images: `(n, channels, N, N)`, uint8, N ≤ 256.
        side: S, from 1 to N.

    Returns:
        `(n, channels, S, S)`, float32, in the images' units.

    Raises:
        ValueError: when `side` is not in 1..N, or images are not square uint8 ones.
    """
    n, channels, height, width = images.shape
    if height != width or height > 256 or images.dtype != np.uint8:
        raise ValueError(f"square uint8 images of at most 256 pixels a side are pooled, not {images.shape}")
    if not 1 <= side <= width:
        raise ValueError(f"side {side} is not in 1..{width}: pooling only makes images smaller")
    overlaps = overlap_lengths(width, side)
    pooled = np.empty((n, channels, side, side), np.float32)
    for start in range(0, n, _CHUNK):
        block = images[start : start + _CHUNK].astype(np.float32)
        pooled[start : start + _CHUNK] = overlaps @ block @ overlaps.T / np.float32(width**2)
    return pooled


def overlap_lengths(n_inputs: int, n_outputs: int) -> np.ndarray:
    """Returns A `(n_outputs, n_inputs)`, float32 integers; rows sum to `n_inputs`, columns to `n_outputs`."""
    out, inp = np.arange(n_outputs)[:, None] * n_inputs, np.arange(n_inputs)[None, :] * n_outputs
    overlap = np.minimum(out + n_inputs, inp + n_outputs) - np.maximum(out, inp)
    return np.maximum(overlap, 0).astype(np.float32)
