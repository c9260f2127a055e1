"""Explicit random generators, named by what they are for.

A stream is named by a list of labels, e.g. `("weights", seed_of_the_experiment, depth, width, draw, seed)`; its
seed is a hash of the labels. So a stream depends on nothing but its name: not on the order of jobs, not on what
else is drawn, not on the number of cores.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

Label = str | int | float


def stream_seed(*labels: Label) -> int:
    """Returns the 63-bit seed of the stream that `labels` name."""
    digest = hashlib.sha256(json.dumps(labels).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def torch_stream(*labels: Label) -> torch.Generator:
    """Returns a new CPU generator at the start of the stream that `labels` name."""
    return torch.Generator().manual_seed(stream_seed(*labels))


def numpy_stream(*labels: Label) -> np.random.Generator:
    """Returns a new NumPy generator at the start of the stream that `labels` name."""
    return np.random.default_rng(stream_seed(*labels))


@contextmanager
def global_streams(seed: int) -> Iterator[None]:
    """The global streams of torch (CPU), NumPy and Python start from a seed in the block, and are as before after it.

    For code of a user's, which may draw from them: layers of torch.nn draw their default weights so.

    Args:
        seed: from 0.

    Yields:
        Nothing.
    """
    with kept_streams():
        torch.manual_seed(seed)  # noqa: TID251 (the global streams themselves)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)  # noqa: TID251
        yield


@contextmanager
def kept_streams(devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """After the block the global streams of torch (CPU and `devices`), NumPy and Python are where they were before it.

    Args:
        devices: accelerators whose streams are kept too.

    Yields:
        Nothing.
    """
    states = np.random.get_state(), random.getstate()  # noqa: NPY002 (the global stream itself)
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            np.random.set_state(states[0])  # noqa: NPY002
            random.setstate(states[1])
