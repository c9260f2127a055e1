"""Lightning comes without `scipy.signal`, which is whole when somebody wants it afterwards or had it before."""

import subprocess
import sys

import pytest

AFTERWARDS = """
import sys
from ntk_atlas.training.lightning_import import pl
assert pl.Trainer
assert "scipy.signal" not in sys.modules
import scipy.signal
assert scipy.signal.find_peaks([0, 1, 0])[0] == [1]
"""
BEFORE = """
import scipy.signal
from ntk_atlas.training.lightning_import import pl
import sys
assert sys.modules["scipy.signal"] is scipy.signal
assert scipy.signal.find_peaks([0, 1, 0])[0] == [1]
"""


@pytest.mark.parametrize("code", [AFTERWARDS, BEFORE], ids=["afterwards", "before"])
def test_scipy_signal_is_left_out_and_left_alone(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
