"""Duplicated samples, named before a kernel of them turns out singular."""

import torch
from torch import Tensor

from ntk_atlas.tensors import real_tensor


class DuplicateSamplesError(ValueError):
    """Some samples are equal, so that their kernel is singular.

    Attributes:
        pairs: (first occurrence, copy) of every copy, in the order of the copies.
    """

    def __init__(self, message: str, pairs: tuple[tuple[int, int], ...]):
        super().__init__(message)
        self.pairs = pairs


def duplicate_pairs(x: Tensor) -> tuple[tuple[int, int], ...]:
    """Samples that are equal in every entry to an earlier one.

    Args:
        x: inputs `(n, *shape)`.

    Returns:
        (first occurrence, copy) of every copy; 0.0 equals −0.0, NaN equals itself.

    Raises:
        ValueError: they are no samples with an axis of their own.
    """
    rows = real_tensor(x, "x").detach().cpu()
    if rows.dim() < 2:
        raise ValueError(f"x has shape {tuple(rows.shape)}, expected (n, *shape): one number per sample is x[:, None]")
    rows = rows.flatten(1)
    bits = (rows + 0).contiguous().view(torch.uint8).reshape(len(rows), -1).numpy()
    first: dict[bytes, int] = {}
    pairs = ((first.setdefault(row.tobytes(), i), i) for i, row in enumerate(bits))
    return tuple(pair for pair in pairs if pair[0] != pair[1])


def check_distinct(x: Tensor, name: str = "x_train") -> None:
    """Refuses inputs with duplicated samples.

    Args:
        x: inputs `(n, *shape)`.
        name: the argument's name, for the message.

    Raises:
        DuplicateSamplesError: some samples are equal.
    """
    pairs = duplicate_pairs(x)
    if pairs:
        shown = ", ".join(f"{copy} = {first}" for first, copy in pairs[:5]) + (", ..." if len(pairs) > 5 else "")
        raise DuplicateSamplesError(
            f"{name} has {len(pairs)} of {len(x)} samples that repeat an earlier one (indices {shown}): a kernel is "
            "singular on equal samples; drop the copies, or regress with a ridge (diag_reg > 0)",
            pairs,
        )
