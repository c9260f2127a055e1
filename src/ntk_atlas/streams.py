"""Explicit random generators, named by what they are for.

A stream is named by a list of labels, e.g. `("weights", seed_of_the_experiment, depth, width, draw, seed)`; its
seed is a hash of the labels. So a stream depends on nothing but its name: not on the order of jobs, not on what
else is drawn, not on the number of cores.
"""

import hashlib
import json

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
