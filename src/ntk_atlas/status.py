"""What became of a network or a solve: a value in the cube, never an exception."""

from enum import IntEnum


class Status(IntEnum):
    """Status flags; `meanings` documents them in the cube."""

    MISSING = -1
    CONVERGED = 0
    BUDGET_SPENT = 1
    DIVERGED = 2
    JITTERED = 3
    SINGULAR = 4
    TIMED_OUT = 5

    @property
    def meaning(self) -> str:
        """One word-group a flag, as CF's `flag_meanings` wants it."""
        return self.name.lower()


NOT_TRAINED = (int(Status.MISSING), int(Status.TIMED_OUT))
"""Flags of networks that have no result, or not yet."""
