"""CIFAR-10 batches of the "python version", unpickled without running what a pickle may hold."""

import io
import pickle
from pathlib import Path

import numpy as np

from ntk_atlas.datasets.errors import DataError

_RECONSTRUCT = np.array([0]).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    """Builds containers, numbers, text and arrays; refuses every other class and function."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in old protocols
            return lambda text, encoding: text.encode(encoding)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 batch holds")
        return _ALLOWED[module, name]


def pickled_batch_bytes(content: bytes, path: Path) -> bytes:
    """A pickled batch as the bytes of the binary batch: for each image its label, then its 3 × 32 × 32 values.

    Args:
        content: the pickle.
        path: where it came from, for error messages.

    Returns:
        10,000 × 3,073 bytes for an official batch.

    Raises:
        DataError: when it is not a pickled batch.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        labels = np.asarray(batch[b"labels"]).astype(np.uint8)
        return np.concatenate([labels[:, None], np.asarray(batch[b"data"]).astype(np.uint8)], axis=1).tobytes()
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as a batch of CIFAR-10's python version ({type(error).__name__}: {error}): it is "
            "damaged or another file; fetch it again"
        ) from error
