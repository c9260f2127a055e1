"""Theory of R: tabulated values, limits, and brute-force sums; the exact law at its edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.config import NetworkSettings
from ntk_atlas.dispersion import (
    InitialKernelLaw,
    critical_ratio_limit,
    exact_draws,
    exact_moments,
    exponential_ratio,
    finite_sum,
    ordered_ratio_limit,
    ratio_limit,
    weights_ratio_limit,
)


def law(depth=9, width=100, n_inputs=100, squared_norm=1.0, **network):
    return InitialKernelLaw(NetworkSettings(**network), depth, width, n_inputs, squared_norm)


@pytest.mark.parametrize(
    ("lam", "exponential", "weights", "critical_1", "critical_0"),
    [
        (0.10, 1.6487, 1.4492, 1.2644, 1.1898),
        (0.25, 3.4903, 2.5681, 1.8639, 1.5876),
        (0.50, 12.182, 6.9156, 3.9120, 2.7784),
        (1.00, 148.41, 55.995, 23.166, 11.393),
    ],
)
def test_tabulated_limits(lam, exponential, weights, critical_1, critical_0):
    values = (
        exponential_ratio(lam), weights_ratio_limit(lam), critical_ratio_limit(lam, 1.0), critical_ratio_limit(lam, 0.0)
    )  # fmt: skip
    assert values == pytest.approx((exponential, weights, critical_1, critical_0), rel=5e-5)


@pytest.mark.parametrize(
    ("depth", "width", "n_inputs", "init_scale", "weights_only", "expected"),
    [
        (9, 100, 100, 2.0, False, 1.220),
        (24, 100, 100, 2.0, False, 1.777),
        (24, 100, 100, 2.0, True, 2.394),
        (14, 60, 60, 2.0, False, 1.724),
        (14, 60, 60, 2.0, True, 2.290),
        (14, 60, 400, 2.0, False, 1.559),
        (24, 100, 100, 3.0, False, 2.330),
    ],
)
def test_tabulated_sums(depth, width, n_inputs, init_scale, weights_only, expected):
    value = finite_sum(law(depth, width, n_inputs), init_scale, weights_only=weights_only)
    assert value == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("init_scale", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_sums_are_the_double_loop_over_layers(init_scale, parameterization):
    setting = law(4, 7, 3, 1.9, parameterization=parameterization)
    M, L, a = 7, 5, init_scale / 2
    p, q = 1 + 5 / M, 1 + 1 / M
    factors = [1.0] * L if parameterization == "standard" else [init_scale / 3, *[init_scale / M] * 4]
    weights = [factors[l] * (1.9 if l == 0 else M * 1.9 / 3) * a ** (L - 1) for l in range(L)]  # noqa: E741
    biases = [a ** (L - 1 - k) if parameterization == "standard" else 0.0 for k in range(L)]
    second = 0.0
    for l in range(1, L + 1):  # noqa: E741
        for k in range(1, L + 1):
            i, j = min(l, k), max(l, k)
            second += weights[l - 1] * weights[k - 1] * p ** (i - 1) * q ** (j - i) * p ** (L - j)
            second += biases[l - 1] * biases[k - 1] * p ** (L - j)
            mixed = p ** (L - k) if l <= k else q ** (l - k) * p ** (L - l)
            second += 2 * weights[l - 1] * biases[k - 1] * mixed
    assert finite_sum(setting, init_scale) == pytest.approx(second / (sum(weights) + sum(biases)) ** 2, rel=1e-12)


@pytest.mark.parametrize("lam", [0.1, 0.5])
@pytest.mark.parametrize("init_scale", [2.0, 3.0])
def test_sums_tend_to_the_limits(lam, init_scale):
    width = 4000
    setting = law(round(lam * width) - 1, width, n_inputs=width)
    assert finite_sum(setting, init_scale) == pytest.approx(ratio_limit(setting, init_scale), rel=0.01)
    limit = ratio_limit(setting, init_scale, weights_only=True)
    assert finite_sum(setting, init_scale, weights_only=True) == pytest.approx(limit, rel=0.01)


def test_ordered_sums_tend_to_the_ordered_limit_or_there_is_none():
    assert finite_sum(law(200, 1000, 1000), 1.0) == pytest.approx(ordered_ratio_limit(0.5, 1000), rel=1e-6)
    assert ordered_ratio_limit(0.5, 100) == pytest.approx(1.0169, abs=5e-5)
    assert math.isnan(ordered_ratio_limit(0.99, 10))


@settings(deadline=None, derandomize=True)
@given(st.floats(1e-4, 1.5), st.floats(0.0, 100.0))
def test_limits_lie_between_one_and_the_exponential(lam, w):
    assert 1.0 - 1e-9 <= critical_ratio_limit(lam, w) <= exponential_ratio(lam) * (1 + 1e-9)
    assert 1.0 - 1e-9 <= weights_ratio_limit(lam) <= exponential_ratio(lam) * (1 + 1e-9)


@settings(deadline=None, derandomize=True)
@given(st.floats(0.05, 500.0), st.integers(1, 300), st.integers(1, 500))
def test_sums_are_numbers_in_every_phase(init_scale, depth, width):
    value = finite_sum(law(depth, width, width), init_scale)
    assert value >= 1.0 - 1e-9


@pytest.mark.parametrize("network", [{"activation": "tanh"}, {"bias_variance": 0.1}])
def test_no_theory_where_none_holds(network):
    assert math.isnan(finite_sum(law(**network), 2.0))
    assert math.isnan(ratio_limit(law(**network), 2.0))
    with pytest.raises(ValueError, match=r"ReLU networks whose biases are 0 at initialization, not of"):
        next(exact_draws(law(**network), [2.0], 10, np.random.default_rng(0)))


@pytest.mark.parametrize("network", [{"parameterization": "ntk"}, {"trainable_biases": False}])
def test_without_gradients_in_biases_phases_coincide(network):
    setting = law(**network)
    sums = [finite_sum(setting, scale) for scale in (1.0, 2.0, 3.0)]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)
    moments = exact_moments(setting, [1.0, 2.0, 3.0], 2000, np.random.default_rng(0))
    np.testing.assert_allclose(moments.ratio[:, 0], moments.ratio[0, 0], rtol=1e-12)
    np.testing.assert_allclose(moments.log_variance, moments.log_variance[0, 0], rtol=1e-10)


def test_draws_do_not_depend_on_their_number_and_moments_are_those_of_the_draws():
    setting = law(3, 20, 5)
    few = np.concatenate(list(exact_draws(setting, [2.0], 1000, np.random.default_rng(1))), axis=1)
    blocks = list(exact_draws(setting, [2.0], 600_000, np.random.default_rng(1)))
    many = np.concatenate(blocks, axis=1)
    assert len(blocks) > 1
    assert few.shape == (1, 1000, 2)
    assert many.shape == (1, 600_000, 2)
    assert np.array_equal(few, many[:, :1000])
    moments = exact_moments(setting, [2.0], 600_000, np.random.default_rng(1))
    np.testing.assert_allclose(moments.mean, many.mean(axis=1))
    np.testing.assert_allclose(moments.ratio, (many**2).mean(axis=1) / many.mean(axis=1) ** 2)
    alive = np.where(many > 0.0, many, np.nan)  # of the weights alone, a dead layer leaves nothing
    np.testing.assert_allclose(moments.log_variance, np.nanvar(np.log(alive), axis=1), rtol=1e-6)
    parts = many.reshape(1, 100, 6000, 2)
    spread = ((parts**2).mean(axis=2) / parts.mean(axis=2) ** 2).std(axis=1, ddof=1) / 10
    np.testing.assert_allclose(moments.ratio_error, spread, rtol=0.25)
    spread = np.nanvar(np.log(alive.reshape(parts.shape)), axis=2).std(axis=1, ddof=1) / 10
    np.testing.assert_allclose(moments.log_variance_error, spread, rtol=0.25)


def test_a_layer_without_active_units_ends_a_network():
    """With one unit a layer, half of all layers are dead, and the kernel is that of the output bias."""
    (block,) = exact_draws(law(3, 1, 1), [2.0], 4000, np.random.default_rng(2))
    dead = block[0, :, 1] == 0.0
    assert dead.mean() == pytest.approx(1 - 0.5**3, abs=0.03)
    np.testing.assert_array_equal(block[0, dead, 0], 1.0)
    moments = exact_moments(law(3, 1, 1), [2.0], 4000, np.random.default_rng(2))
    assert np.isfinite(moments.log_variance).all()


def test_the_mean_is_known():
    """E[Θ] = (1 + w + (L − 2)(1 + w)) at criticality with n₀ = M and ‖x‖² = 1: each layer adds 1 for biases, w = 1."""
    moments = exact_moments(law(), [2.0], 400_000, np.random.default_rng(3))
    assert moments.mean[0] == pytest.approx([20.0, 10.0], rel=0.005)
