"""`make card` of a network of the user's own on a table of theirs: numbers in the terminal are those of the files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
import yaml

from ntk_atlas.regimes import Regime

CARD = Path(__file__).parents[2] / "workflow" / "card.py"
NETWORK = """
import torch
from torch import nn

def build(*, depth, width, init_scale, input_shape, n_outputs, generator):
    torch.manual_seed(int(generator.initial_seed()) % 2**31)
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, n_outputs))

def fixed(*, depth, width, init_scale, input_shape, n_outputs, generator):
    return build(depth=2, width=5, init_scale=1, input_shape=input_shape, n_outputs=n_outputs, generator=generator)
"""


def card(folder, *options):
    options = (
        "--data",
        "data.csv",
        "--target",
        "price",
        "--n-train",
        "16",
        "--minutes",
        "0.01",
        *options,
        "--cores",
        "2",
    )
    return subprocess.run([sys.executable, CARD, *options], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_card_of_an_own_network_says_what_its_files_say(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    rows = [
        f"{(i * 37) % 101 / 50},{(i * 53) % 97 / 48},{((i * 37) % 101 / 50) ** 2 - (i % 5) / 10}" for i in range(80)
    ]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,price", *rows]))
    done = card(tmp_path, "--network", "net.py:build", "--width", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    overlay = yaml.safe_load((tmp_path / "cards/card_net_data.yaml").read_text())
    assert overlay["experiments"]["card_net_data"]["grid"]["width"] == [2, 8, 16, 32]
    with xr.open_dataset(tmp_path / "results/card_net_data/regimes.nc") as found:
        one = found.sel(depth=2, width=8, init_scale=2.0, n_train=16)
        assert f"Regime at width 8, depth 2, σ_w² = 2, n = 16: {Regime(int(one.regime)).words}." in done.stdout
        shown = re.search(r"to its own initial NTK\s+(\S+) \[(\S+), (\S+)\]", done.stdout)
        ends = [float(one[f"distance_own_ntk{end}"]) for end in ("", "_low", "_high")]
        assert [float(number) for number in shown.groups()] == pytest.approx(ends, rel=6e-3)
    assert (tmp_path / "results/card_net_data.html").is_file()
    assert "make run MINE=cards/card_net_data.yaml" in done.stdout
    same = card(tmp_path, "--network", "net.py:fixed", "--width", "8", "--dry-run")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "the network knows no width" in same.stderr
    overlay = yaml.safe_load((tmp_path / "cards/card_net_data.yaml").read_text())
    assert overlay["experiments"]["card_net_data"]["grid"]["width"] == [8]
