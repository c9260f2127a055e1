"""Time and memory of sampling kernels of untrained networks: 10,000 of width 100 and depth 24.

python benchmarks/dispersion.py [--networks 10000] [--depth 24] [--width 100] [--workers 2]
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers are threads of their own
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import resource
import time

import torch
from machine import machine

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.dispersion.networks import CHUNK, initial_kernels
from ntk_atlas.dispersion.theory import InitialKernelLaw


def main() -> None:
    """Prints seconds and memory at one and at three init scales."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--activation", default="relu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    correlations = (1.0, 0.9, 0.5, 0.0)
    network = NetworkSettings(activation=options.activation)
    law = InitialKernelLaw(network, options.depth, options.width, options.width, 1.0, correlations)
    before = _peak_mib()
    print(f"{machine()['cpu']}, {machine()['cores']} cores; {options.workers} threads")
    for init_scales in ((2.0,), (1.0, 2.0, 3.0)):
        start = time.perf_counter()
        chunks = range(-(-options.networks // CHUNK))
        kernels = initial_kernels(law, init_scales, seed=0, chunks=chunks, workers=options.workers)
        seconds = time.perf_counter() - start
        print(
            f"{len(chunks) * CHUNK} networks of width {options.width} and depth {options.depth} at {len(init_scales)} "
            f"init scales, {len(correlations)} inputs: {seconds:.1f} s; memory grew by {_peak_mib() - before:.0f} MiB, "
            f"{kernels.nbytes / 2**20:.1f} MiB of them kernels"
        )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
