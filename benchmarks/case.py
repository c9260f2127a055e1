"""One side of a row, ready to be timed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """What is timed, and what is not.

    Attributes:
        run: the timed part; gets what `setup` returned, or None.
        arrays: NumPy arrays of a result by name, in the convention both sides share; not timed.
        setup: called before each repeat, not timed.
        warm_up: loads what a first call loads (code, thread pools) on a tiny problem, before memory is measured.
        result_bytes: what the result itself takes; not counted as peak memory.
    """

    run: Callable[[Any], Any]
    arrays: Callable[[Any], dict]
    setup: Callable[[], Any] | None = None
    warm_up: Callable[[], Any] | None = None
    result_bytes: int = 0
