"""The memory limit is a promise: the resident memory of a process, measured, stays below it."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ntk_atlas.config import JobSettings
from ntk_atlas.numerics import default_memory_limit, memory_limited

_CLEAR = Path("/proc/self/clear_refs")
_PROGRAM = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from ntk_atlas.kernels import empirical_ntk_with_record

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Bilinear(64, 64, 24), nn.Linear(24, 3)
    def forward(self, x):
        return self.last(torch.tanh(self.first(x, x) / 8))

torch.set_num_threads(2)
torch.manual_seed(0)
name, reduction, limit, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
network, shape = {
    "linear": (lambda: nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                                     nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 5)), (256,)),
    "convolutional": (lambda: nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 3)), (3, 16, 16)),
    "unknown": (Unknown, (64,)),
}[name]
network, x = network(), torch.randn(n, *shape)
empirical_ntk_with_record(network, x[:3], output_reduction=reduction)  # what libraries allocate once
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
kernel, record = empirical_ntk_with_record(network, x, output_reduction=reduction, memory_limit=limit)
peak = resident("VmHWM") - before
trace = float(kernel.diagonal().sum())
print(json.dumps({"peak": peak, "estimate": record.peak_bytes, "trace": trace, "layers": record.layers}))
"""

MIB = 2**20
# A kernel of n samples, and limits (MiB) from what is ample to what divides the work.
_CASES = {
    ("linear", "trace", 2000): (400, 75),
    ("linear", "full", 400): (150, 60),
    ("convolutional", "trace", 300): (500, 60),
    ("convolutional", "full", 100): (250, 60),
    ("unknown", "mean", 300): (1200, 140),
}


@pytest.mark.skipif(not _CLEAR.exists(), reason="needs Linux's counter of peak memory")
@pytest.mark.parametrize(("network", "reduction", "n"), _CASES)
def test_measured_peak_stays_below_the_limit(network, reduction, n):
    results = []
    for limit in _CASES[network, reduction, n]:
        run = subprocess.run(
            [sys.executable, "-c", _PROGRAM, network, reduction, str(limit * MIB), str(n)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        found = json.loads(run.stdout)
        sys.stdout.write(f"{network} {reduction} {n} of {limit} MiB: {found['peak'] / MIB:.0f}, {found}\n")
        assert found["peak"] <= limit * MIB
        assert found["estimate"] <= limit * MIB
        results.append(found)
    ample, tight = results
    assert tight["estimate"] < ample["estimate"], "the tight limit was meant to bind"
    assert tight["trace"] == pytest.approx(ample["trace"], rel=1e-4)


def test_limit_of_a_block_and_of_a_job():
    cpu = torch.device("cpu")
    free = default_memory_limit(cpu)
    with memory_limited(123):
        assert default_memory_limit(cpu) == 123
        with memory_limited(45):
            assert default_memory_limit(cpu) == 45
        assert default_memory_limit(cpu) == 123
    assert default_memory_limit(cpu) > 1000 < free
    assert JobSettings().kernel_job_mb == 2000
    assert JobSettings().kernels_mb == 1200
    assert JobSettings(memory_limit_mb=300).kernels_mb == 300
    assert JobSettings(memory_limit_mb=300).kernel_job_mb == 1100


CHURN = """
import resource, threading, torch
from ntk_atlas.numerics import freed_memory

def churn():
    for _ in range(50):
        blocks = [torch.ones(450_000) for _ in range(4)]
        del blocks

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=churn)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

before, held = faults(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with freed_memory(kept=True):
    print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held, faults(), end=" ")
with freed_memory(kept=False):
    print(faults(), end=" ")
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")
def test_memory_that_is_freed_and_asked_for_again_costs_no_page_faults():
    # As a process starts that has not yet freed a large block: the C library then keeps larger ones by itself.
    tunables = "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=262144"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": tunables}
    run = subprocess.run([sys.executable, "-c", CHURN], capture_output=True, text=True, env=environment)
    before, kibibytes, kept, given_back, afterwards = map(int, run.stdout.split())
    assert before > 5000  # 50 times 7 MB
    assert kept < before / 2
    assert kibibytes < 4096
    assert given_back > 5000
    assert afterwards < before / 2
