"""What a network of the user's own costs, measured at one cell when it was tried."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class OwnCost:
    """CPU time and size of one network.

    Attributes:
        depth: of the cell.
        width: of the cell.
        parameters: trainable ones.
        step_seconds: of a forward and a backward pass, a sample.
        kernel_seconds: of the gradients of all outputs, a sample.
    """

    depth: int
    width: int
    parameters: int
    step_seconds: float
    kernel_seconds: float


def cost_at(costs: Sequence[OwnCost], depth: int, width: int) -> OwnCost:
    """The cost at another cell, between the measured ones: a power of depth · width², through both.

    Args:
        costs: of the smallest cell, and of the largest if there is another.
        depth: of the cell.
        width: of the cell.

    Returns:
        Its cost; that of the smallest alone grows in proportion to depth · width².
    """
    small, large = costs[0], costs[-1]
    here = math.log(depth * width**2) - _size(small)
    share = here / span if (span := _size(large) - _size(small)) > 0 else None

    def between(name: str) -> float:
        low, high = (max(getattr(cost, name), 1e-9) for cost in (small, large))
        return low * math.exp(here) if share is None else low * (high / low) ** share

    return OwnCost(depth, width, round(between("parameters")), between("step_seconds"), between("kernel_seconds"))


def _size(cost: OwnCost) -> float:
    return math.log(cost.depth * cost.width**2)
