"""The memory limit of infinite-width kernels: the resident memory of a process, measured, stays below it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.kernels import MemoryLimitError, infinite_kernels
from ntk_atlas.numerics import memory_limited

_CLEAR = Path("/proc/self/clear_refs")
_PROGRAM = """
import json, sys
from pathlib import Path
import torch
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.infinite.kernels import infinite_kernels
from ntk_atlas.kernels.infinite.convolutional import infinite_convolutional_kernels
from ntk_atlas.networks import ConvolutionalArchitecture

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

torch.set_num_threads(1)
torch.manual_seed(0)
name, limit, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
choice = {"settings": NetworkSettings(parameterization="ntk"), "init_scale": 2.0}
if name == "convolutional":
    architecture = ConvolutionalArchitecture(((1, True), (1, False)), readout="global_average")
    run, shape, choice = infinite_convolutional_kernels, (1, 8, 8), choice | {"architecture": architecture}
else:
    run, shape = infinite_kernels, (100,)
    choice |= {"depths": [1, 3], "activation": name}
x = torch.randn(n, *shape)
run(x[:3], **choice)  # what libraries allocate once
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
kernels = run(x, memory_limit=limit, **choice)
peak = resident("VmHWM") - before
print(json.dumps({"peak": peak, "trace": float(kernels.ntk[-1].trace()), "sum": float(kernels.ntk.sum())}))
"""
MIB = 2**20
# Samples, and limits (MiB) from what is ample to what divides the work; results take 32, 11 and 0.3 MiB.
_CASES = {("relu", 1024): (200, 36), ("tanh", 600): (300, 42), ("convolutional", 128): (150, 9)}


@pytest.mark.skipif(not _CLEAR.exists(), reason="needs Linux's counter of peak memory")
@pytest.mark.parametrize(("name", "n"), _CASES)
def test_measured_peak_stays_below_the_limit(name, n):
    results = []
    for limit in _CASES[name, n]:
        run = subprocess.run(
            [sys.executable, "-c", _PROGRAM, name, str(limit * MIB), str(n)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        results.append(json.loads(run.stdout))
        assert results[-1]["peak"] <= limit * MIB
    ample, tight = results
    assert tight["trace"] == pytest.approx(ample["trace"], rel=1e-12)
    assert tight["sum"] == pytest.approx(ample["sum"], rel=1e-8)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_the_limit_changes_the_tiles_and_not_the_kernels(activation):
    x = torch.randn(90, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    choice = {"depths": [0, 2], "init_scale": 1.5, "activation": activation}
    choice["settings"] = NetworkSettings(parameterization="ntk", bias_variance=0.1)
    whole = infinite_kernels(x, **choice)
    result = 2 * 2 * 90 * 90 * 8
    limit = result + (26_350_000 if activation == "tanh" else 1_110_000)
    for cut in (infinite_kernels(x, memory_limit=limit, **choice), _within(limit, x, choice)):
        for a, b in ((cut.nngp, whole.nngp), (cut.ntk, whole.ntk)):
            torch.testing.assert_close(a, b, rtol=1e-8 if activation == "tanh" else 1e-12, atol=0)
            assert torch.equal(a, a.mT)
    with pytest.raises(MemoryLimitError, match=r"90 x 90 samples at 2 depths take 0.3 MB for the result and at least"):
        infinite_kernels(x, memory_limit=result, **choice)


def _within(limit, x, choice):
    with memory_limited(limit):
        return infinite_kernels(x, **choice)
