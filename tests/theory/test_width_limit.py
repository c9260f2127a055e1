"""Kernels of finite networks meet the infinite-width kernels as the width grows."""

import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk, infinite_kernels, output_variance
from ntk_atlas.streams import torch_stream

WIDTHS = (16, 64, 256)
N_MEMBERS = 64
N_BLOCK = 16


def inputs(n=6, d=5):
    x = torch.randn(n, d, dtype=torch.float64, generator=torch_stream("x"))
    return x / x.norm(dim=1, keepdim=True) * d**0.5


def blocks(settings, *, width, depth, init_scale, n_outputs=1):
    """`N_MEMBERS` networks, a few at a time."""
    for start in range(0, N_MEMBERS, N_BLOCK):
        yield build_networks(
            settings,
            depth=depth,
            width=width,
            init_scale=init_scale,
            input_shape=(5,),
            n_outputs=n_outputs,
            generators=[torch_stream("net", start + i) for i in range(N_BLOCK)],
            dtype=torch.float64,
        )


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize(("activation", "init_scale"), [("relu", 2.0), ("erf", 1.5)])
def test_the_gap_halves_with_four_times_the_width(parameterization, activation, init_scale):
    """Fluctuations are O(1/√width) (Jacot et al. 2018; Lee et al. 2019, theorem 2.1): slope −1/2 in log-log."""
    settings = NetworkSettings(activation=activation, parameterization=parameterization, bias_variance=0.1)
    x, gaps, biases = inputs(), [], []
    for width in WIDTHS:
        limit = infinite_kernels(x, depths=[2], settings=settings, init_scale=init_scale, width=width).ntk[0]
        kernels = torch.cat(
            [empirical_ntk(net, x) for net in blocks(settings, width=width, depth=2, init_scale=init_scale)]
        )
        gaps.append(((kernels - limit).norm(dim=(1, 2)) / limit.norm()).pow(2).mean().sqrt())
        biases.append((kernels.mean(0) - limit).norm() / limit.norm())
    ratios = [float(small / large) for small, large in zip(gaps[1:], gaps[:-1], strict=True)]
    assert all(0.38 < ratio < 0.62 for ratio in ratios), ratios
    # The mean over members is closer than one member: what is left is noise/√members plus O(1/width).
    assert float(biases[-1]) < 0.4 * float(gaps[-1])


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_outputs_decouple_at_infinite_width(parameterization):
    """Θ_cc' → δ_cc' Θ (Jacot et al. 2018, theorem 1): Θ_01/Θ_00 is O(M^−1/2), O(M^−3/2) where Θ_00 grows with M."""
    settings = NetworkSettings(parameterization=parameterization)
    off = []
    for width in (32, 512):
        full = torch.cat(
            [
                empirical_ntk(net, inputs(), output_reduction="full")
                for net in blocks(settings, width=width, depth=1, init_scale=2.0, n_outputs=2)
            ]
        )
        off.append((full[..., 0, 1].pow(2).mean() / full[..., 0, 0].pow(2).mean()).sqrt())
    expected = {"ntk": 16**-0.5, "standard": 16**-1.5}[parameterization]
    assert 0.6 < float(off[1] / off[0]) / expected < 1.6


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "sigmoid", "gelu"])
def test_output_variance_over_initializations(activation):
    """Var f(x) over draws is the NNGP diagonal, for every activation, at two depths."""
    settings = NetworkSettings(activation=activation, bias_variance=0.2, output_scale=1.5)
    x = inputs(3)
    for depth in (1, 2):
        outputs = []
        for block in range(8):
            network = build_networks(
                settings,
                depth=depth,
                width=256,
                init_scale=1.7,
                input_shape=(5,),
                n_outputs=64,
                generators=[torch_stream("variance", block, i) for i in range(8)],
                dtype=torch.float64,
            )
            with torch.no_grad():
                outputs.append(network(x))
        measured = torch.cat(outputs).pow(2).mean((0, 2))
        # 4096 outputs, dependent within a network of finite width: some 4 % of noise.
        expected = output_variance(x, depth=depth, settings=settings, init_scale=1.7)
        torch.testing.assert_close(measured, expected, rtol=0.12, atol=0)
