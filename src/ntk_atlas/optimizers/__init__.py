"""Optimizers by name: how weights follow gradients, when that is stable, and what it is in a linear model.

A new optimizer is one file in this folder, or a file of the user's (`docs/extending.md`). A run is planned with the
same objects that train: they import torch only where they make its optimizer.
"""

from ntk_atlas.optimizers.base import Linearization, Optimizer, OptimizerError
from ntk_atlas.registry import Registry

OPTIMIZERS = Registry("ntk_atlas.optimizers", Optimizer, "optimizer", error=OptimizerError)
"""The room."""

__all__ = ["OPTIMIZERS", "Linearization", "Optimizer", "OptimizerError", "optimizer"]


def optimizer(name: str) -> Optimizer:
    """The optimizer called `name`, or the one in a user's file that `my_file.py:name` says.

    Raises:
        OptimizerError: if there is none of that name, or the file does not hold one.
    """
    return OPTIMIZERS.get(name)
