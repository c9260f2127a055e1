"""How the cost of the empirical NTK grows with samples, width, depth and outputs, beside the least it could be."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from client import MissingError, SideError, Worker
from floors import SGEMM_FLOPS, dense_ntk_flops
from measure import alternate, summary

BASE = {"n": 1000, "n_inputs": 784, "width": 256, "depth": 3, "n_outputs": 1, "output_reduction": "trace"}
VALUES = {
    "n": (250, 500, 1000, 2000, 4000),
    "width": (64, 128, 256, 512, 1024, 2048),
    "depth": (1, 2, 4, 8, 16),
    "n_outputs": (1, 2, 4, 8, 16),
}
_QUICK_BASE = BASE | {"n": 40, "n_inputs": 10, "width": 8}
_QUICK_VALUES = {"n": (20, 40), "width": (8, 16), "depth": (1, 2), "n_outputs": (1, 3)}
THREADS = 2


def sweep(pythons: Mapping[str, Path], *, quick: bool) -> Iterator[dict]:
    """Measures one axis after the other, with the other sizes at `BASE`.

    The floor is the least number of flops by the rate of the matrix product, measured in the same process in turns
    with the kernel.

    Args:
        pythons: interpreter of each side.
        quick: tiny sizes.

    Yields:
        `axis`, `value`, best `seconds`, `floor` in seconds and `gflops`, the rate; or `axis` and `reason` where
        our side failed.
    """
    base, axes = (_QUICK_BASE, _QUICK_VALUES) if quick else (BASE, VALUES)
    with Worker(pythons["default"], "atlas", THREADS) as worker:
        for axis, values in axes.items():
            for value in values:
                size = base | {axis: value}
                try:
                    worker.ask("prepare", "ours", case="empirical_dense", parameters=size)
                    worker.ask("prepare", "theirs", case="sgemm", parameters={})
                    seconds = alternate({"ours": worker, "theirs": worker}, "wall", quick)
                except (MissingError, SideError) as failure:
                    yield {"axis": axis, "reason": str(failure)}
                    return
                rate = SGEMM_FLOPS / summary(seconds["theirs"])["best"]
                yield {
                    "axis": axis,
                    "value": value,
                    "seconds": summary(seconds["ours"])["best"],
                    "floor": dense_ntk_flops(**size) / rate,
                    "gflops": rate / 1e9,
                }
