"""Networks against the exact law, the exact law against sums over layers, and smooth activations against the phases."""

import numpy as np
import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.dispersion import CHUNK, InitialKernelLaw, exact_moments, finite_sum, initial_kernels
from ntk_atlas.kernels import infinite_ntk
from ntk_atlas.streams import numpy_stream

PHASES = (1.0, 2.0, 3.0)


def law(n_layers, width=100, **network):
    return InitialKernelLaw(NetworkSettings(**network), n_layers - 1, width, n_inputs=width)


def ratio_with_error(kernels):
    """R over the last axis and its standard error by the delta method."""
    mean, square = kernels.mean(-1), (kernels**2).mean(-1)
    influence = kernels**2 / square[..., None] - 2 * kernels / mean[..., None] + 1
    ratio = square / mean**2
    return ratio, ratio * influence.std(-1) / np.sqrt(kernels.shape[-1])


def log_variance_with_error(kernels):
    logs = np.log(kernels)
    deviations = (logs - logs.mean(-1, keepdims=True)) ** 2
    return deviations.mean(-1), deviations.std(-1) / np.sqrt(kernels.shape[-1])


def check_networks_against_the_law(setting, n_networks, n_draws):
    kernels = initial_kernels(setting, PHASES, seed=11, chunks=range(n_networks // CHUNK), workers=2)
    kernels = kernels[..., 0].reshape(len(PHASES), -1, 2).transpose(0, 2, 1)
    exact = exact_moments(setting, PHASES, n_draws, numpy_stream("exact", 1))
    for (value, error), (truth, truth_error) in (
        (ratio_with_error(kernels), (exact.ratio, exact.ratio_error)),
        (log_variance_with_error(kernels), (exact.log_variance, exact.log_variance_error)),
    ):
        deviations = (value - truth) / np.hypot(error, truth_error)
        assert np.abs(deviations).max() < 3.0, deviations
        assert (error / value < 0.2).all()  # the check could fail
    means = kernels.mean(-1) - exact.mean
    assert (np.abs(means) < 3.5 * kernels.std(-1) / np.sqrt(n_networks)).all()


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_networks_have_the_exact_law(parameterization):
    check_networks_against_the_law(law(9, parameterization=parameterization), 3000, 300_000)


@pytest.mark.slow
def test_ten_thousand_deep_networks_have_the_exact_law():
    check_networks_against_the_law(law(25), 10_000, 1_000_000)


@pytest.mark.parametrize(("n_layers", "tolerance"), [(10, 0.01), (25, 0.04)])
def test_the_exact_law_has_the_moments_of_the_sums(n_layers, tolerance):
    setting = law(n_layers)
    exact = exact_moments(setting, PHASES, 1_000_000, numpy_stream("exact", 2))
    for i, init_scale in enumerate(PHASES):
        for j, weights_only in enumerate((False, True)):
            expected = finite_sum(setting, init_scale, weights_only=weights_only)
            assert exact.ratio[i, j] == pytest.approx(expected, rel=tolerance)
            assert exact.ratio_error[i, j] < 0.01 * expected


@pytest.mark.parametrize(
    ("n_layers", "width", "n_inputs", "init_scale", "weights_only", "measured", "error"),
    [
        (10, 100, 100, 2.0, False, 1.202, 0.006),
        (25, 100, 100, 2.0, False, 1.812, 0.02),
        (25, 100, 100, 3.0, False, 2.411, 0.03),
        (15, 60, 60, 2.0, True, 2.36, 0.07),
        (15, 60, 400, 2.0, False, 1.574, 0.033),
        (30, 100, 100, 1.5, False, 1.0655, 0.0023),
    ],
)
def test_the_exact_law_has_ratios_measured_elsewhere(
    n_layers, width, n_inputs, init_scale, weights_only, measured, error
):
    setting = InitialKernelLaw(NetworkSettings(), n_layers - 1, width, n_inputs)
    exact = exact_moments(setting, [init_scale], 100_000, numpy_stream("exact", 3))
    j = int(weights_only)
    assert abs(exact.ratio[0, j] - measured) < 4 * np.hypot(error, exact.ratio_error[0, j])


@pytest.mark.parametrize(
    ("network", "init_scales"),
    [
        ({"activation": "tanh", "bias_variance": 0.05}, (1.0, 1.761, 3.0)),
        ({"activation": "sigmoid"}, (20.0, 103.0076, 300.0)),
    ],
    ids=["tanh", "sigmoid"],
)
def test_dispersion_grows_with_depth_in_chaos_and_stays_small_in_order(network, init_scales):
    """R at L = 5 and 15 with ‖x‖² = n₀ and 400 networks was 1.03, 1.03 (ordered) and ≥ 1.10, ≥ 1.54 (chaotic)."""
    spreads = []
    for n_layers in (5, 15):
        setting = InitialKernelLaw(NetworkSettings(**network), n_layers - 1, 100, 100, squared_norm=100.0)
        kernels = initial_kernels(setting, init_scales, seed=12, chunks=[0])[:, 0, :, 0, 0]
        spreads.append(log_variance_with_error(kernels)[0])
    shallow, deep = spreads
    assert deep[0] < 0.06
    assert abs(deep[0] - shallow[0]) < 0.03
    assert deep[1] > 1.5 * shallow[1]
    assert deep[2] > max(2.5 * shallow[2], 0.3)


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_means_off_the_diagonal_are_those_of_the_infinite_width(parameterization):
    network = NetworkSettings(parameterization=parameterization)
    setting = InitialKernelLaw(network, 3, 200, 7, 2.0, (1.0, 0.5, 0.0, -0.7))
    kernels = initial_kernels(setting, [2.0], seed=13, chunks=[0, 1])[0, :, :, 0].reshape(-1, 4)
    x = torch.zeros(4, 7, dtype=torch.float64)
    x[:, :2] = torch.from_numpy(setting.inputs)
    expected = infinite_ntk(x[:1], x, depth=3, settings=network, init_scale=2.0, width=200)[0].numpy()
    error = kernels.std(0) / np.sqrt(len(kernels))
    assert (np.abs(kernels.mean(0) - expected) < 4 * error + 0.01 * expected).all()  # 1/M corrections
    assert (error < 0.05 * expected).all()
