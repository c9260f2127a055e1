"""Finite convolutional networks meet the infinite-width kernels of the same architecture as the channels grow."""

import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.streams import torch_stream

MEMBERS = {8: 160, 32: 96, 128: 24}
"""Networks of each width: narrow ones scatter most."""
SHAPE = (2, 5, 4)
LAYOUTS = {
    "flatten": {"readout": "flatten", "blocks": 2},
    "global_average": {"readout": "global_average", "blocks": 2, "channels": (1, 2)},
}


def images(n=5):
    return torch.randn(n, *SHAPE, dtype=torch.float64, generator=torch_stream("x"))


def settings_of(readout, parameterization, activation="relu"):
    return NetworkSettings(
        architecture="convolutional",
        convolutional=LAYOUTS[readout],
        parameterization=parameterization,
        activation=activation,
        bias_variance=0.1,
        output_scale=1.3,
    )


def networks(settings, *, width, seeds, n_outputs=1):
    return build_networks(
        settings,
        depth=2,
        width=width,
        init_scale=1.6,
        input_shape=SHAPE,
        n_outputs=n_outputs,
        generators=[torch_stream("net", seed) for seed in seeds],
        dtype=torch.float64,
    )


def limit(settings, width):
    return settings.family.infinite_kernels(images(), depths=[2], settings=settings, init_scale=1.6, width=width)


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("readout", LAYOUTS)
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_gap_halves_with_four_times_the_channels(parameterization, readout, activation):
    """Fluctuations are O(1/√channels) (Arora et al. 2019, section 4; Yang 2020)."""
    settings, gaps, biases = settings_of(readout, parameterization, activation), [], []
    for width, count in MEMBERS.items():
        expected = limit(settings, width).ntk[0]
        kernels = empirical_ntk(networks(settings, width=width, seeds=range(count)), images())
        gaps.append(float(((kernels - expected).norm(dim=(1, 2)) / expected.norm()).pow(2).mean().sqrt()))
        biases.append(float((kernels.mean(0) - expected).norm() / expected.norm()))
    ratios = [small / large for small, large in zip(gaps[1:], gaps[:-1], strict=True)]
    assert all(0.33 < ratio < 0.7 for ratio in ratios), (ratios, gaps)
    # The mean over members is closer than one member: what is left is noise/√members plus O(1/channels).
    assert biases[-1] < 0.5 * gaps[-1]
    assert gaps[-1] < 0.2


@pytest.mark.parametrize("readout", LAYOUTS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_output_covariance_over_initializations_is_the_nngp(readout, activation):
    """E f(x) f(x') over draws (Novak et al. 2019), the same in both parameterizations."""
    settings = settings_of(readout, "standard", activation)
    outputs = []
    with torch.no_grad():
        for block in range(8):
            seeds = range(50 * block, 50 * block + 50)
            outputs.append(networks(settings, width=64, seeds=seeds, n_outputs=8)(images()))
    drawn = torch.cat(outputs)
    measured = torch.einsum("sic,sjc->ij", drawn, drawn) / (len(drawn) * 8)
    expected = limit(settings, 64).nngp[0]
    # 3,200 outputs, dependent within a network of finite width: 3 to 4 % of noise.
    assert float((measured - expected).norm() / expected.norm()) < 0.09
    torch.testing.assert_close(measured.diagonal(), expected.diagonal(), rtol=0.15, atol=0)


def test_pooling_and_channels_matter():
    """A limit of another architecture would not pass: what tells the readouts apart is far above the noise."""
    kernels = [limit(settings_of(readout, "standard"), 128).ntk[0] for readout in LAYOUTS]
    correlations = [k / torch.outer(k.diagonal(), k.diagonal()).sqrt() for k in kernels]
    assert float((correlations[0] - correlations[1]).abs().max()) > 0.1
