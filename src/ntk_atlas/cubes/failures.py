"""Failed networks are data, up to a share of them."""

import numpy as np

from ntk_atlas.status import Status

FAILURES = (Status.DIVERGED, Status.TIMED_OUT, Status.MISSING)


def check_failures(status: np.ndarray, allowed: float) -> None:
    """Stops an assembly of which too much failed.

    Args:
        status: of all networks.
        allowed: share of networks that may be diverged, timed out or missing.

    Raises:
        ValueError: if more are.
    """
    counts = {flag: int((status == int(flag)).sum()) for flag in FAILURES}
    failed = sum(counts.values())
    if failed > allowed * status.size:
        listed = ", ".join(f"{count} {flag.meaning}" for flag, count in counts.items() if count)
        raise ValueError(
            f"{failed} of {status.size} networks failed ({listed}), more than the {allowed:g} of them that "
            "max_failed_share allows: mend what made them fail, or raise max_failed_share of this experiment"
        )
