"""Variance over initializations: matrix exponentials, explicit training of every f₀, limits, posteriors."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from ntk_atlas.arrays import Status
from ntk_atlas.regression import finite_time_variance, posterior_variance
from ntk_atlas.streams import torch_stream

N, N_TEST, N_OUTPUTS = 13, 5, 2
DYNAMICS = ("gradient_flow", "gradient_descent", "heavy_ball")


def gram_matrix(name: str, rank: int = 40) -> torch.Tensor:
    features = torch.randn(N + N_TEST, rank, generator=torch_stream(name), dtype=torch.float64)
    return features @ features.T / rank


NTK, NNGP = gram_matrix("ntk"), gram_matrix("nngp")
BLOCKS = (NTK[:N, :N], NTK[N:, :N], NNGP[:N, :N], NNGP[N:, :N], NNGP[N:, N:])


def stable_rate(share: float = 0.5) -> float:
    return share * 2 * N / float(torch.linalg.eigvalsh(NTK[:N, :N])[-1])


def assert_near(actual: torch.Tensor, expected, atol: float = 1e-10) -> None:
    np.testing.assert_allclose(actual.numpy(), np.asarray(expected), rtol=0, atol=atol)


@pytest.mark.parametrize("time", [0.3, 4.0, 60.0])
def test_gradient_flow_is_the_formula_with_matrix_exponentials(time):
    theta, rows, k, k_rows, k_test = (block.numpy() for block in BLOCKS)
    left = scipy.linalg.expm(-0.7 * time / N * theta)
    gain = rows @ np.linalg.solve(theta, np.eye(N) - left)
    crossed = gain @ k_rows.T
    expected = k_test + gain @ k @ gain.T - crossed - crossed.T
    result = finite_time_variance(*BLOCKS, times=[time], learning_rate=0.7, covariance=True)
    assert_near(result.test_covariance[0], expected)
    assert_near(result.test[0], np.diag(expected))
    assert_near(result.train_covariance[0], left @ k @ left)
    assert_near(result.train[0], np.diag(left @ k @ left))


@pytest.mark.parametrize(("dynamics", "momentum"), [("gradient_descent", 0.0), ("heavy_ball", 0.9)])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 9, 250])
def test_training_every_initial_function_transforms_the_prior(dynamics, momentum, n_steps):
    # f_t is linear in f₀: train from each unit vector, all targets zero, by explicit steps on the outputs.
    rate = stable_rate()
    outputs = before = torch.eye(N + N_TEST, dtype=torch.float64)
    for _ in range(n_steps):
        step = -rate / N * NTK[:, :N] @ outputs[:N]
        outputs, before = outputs + step + momentum * (outputs - before), outputs
    expected = outputs @ NNGP @ outputs.T
    result = finite_time_variance(
        *BLOCKS, times=[n_steps], learning_rate=rate, dynamics=dynamics, momentum=0.9, covariance=True
    )
    assert_near(result.train_covariance[0], expected[:N, :N])
    assert_near(result.test_covariance[0], expected[N:, N:])


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_it_starts_at_the_prior_and_vanishes_on_the_training_samples(dynamics):
    result = finite_time_variance(
        *BLOCKS, times=[0, math.inf], learning_rate=stable_rate(), dynamics=dynamics, covariance=True
    )
    assert_near(result.test_covariance[0], NNGP[N:, N:], atol=1e-14)
    assert_near(result.train[0], NNGP[:N, :N].diagonal(), atol=1e-14)
    assert result.train[1].abs().max() < 1e-20
    gain = NTK[N:, :N].numpy() @ np.linalg.inv(NTK[:N, :N].numpy())
    map_f0 = np.concatenate([-gain, np.eye(N_TEST)], axis=1)
    assert_near(result.test_covariance[1], map_f0 @ NNGP.numpy() @ map_f0.T)


def test_with_ntk_equal_to_nngp_training_to_the_end_samples_the_posterior():
    blocks = (NTK[:N, :N], NTK[N:, :N], NTK[:N, :N], NTK[N:, :N], NTK[N:, N:].diagonal())
    result = finite_time_variance(*blocks, times=[math.inf], learning_rate=1.0)
    posterior = posterior_variance(NTK[:N, :N], NTK[N:, :N], NTK[N:, N:])
    assert_near(result.test[0], posterior.variance[0])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    time=st.one_of(st.integers(0, 400), st.just(math.inf)),
    dynamics=st.sampled_from(DYNAMICS),
    share=st.floats(0.01, 0.95),
    seed=st.integers(0, 2**31),
)
def test_covariances_are_positive_and_do_not_know_the_order_of_samples(time, dynamics, share, seed):
    arguments = {"times": [time], "learning_rate": stable_rate(share), "dynamics": dynamics, "covariance": True}
    result = finite_time_variance(*BLOCKS, **arguments)
    for covariance in (result.train_covariance[0], result.test_covariance[0]):
        eigenvalues = torch.linalg.eigvalsh((covariance + covariance.mT) / 2)
        assert eigenvalues[0] > -1e-12
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    theta, rows, k, k_rows, k_test = BLOCKS
    other = finite_time_variance(
        theta[order][:, order], rows[:, order], k[order][:, order], k_rows[:, order], k_test, **arguments
    )
    assert_near(other.test_covariance, result.test_covariance)
    assert_near(other.train, result.train[:, order])


def test_variances_need_only_the_diagonal_of_the_prior_and_scale_with_it():
    theta, rows, k, k_rows, k_test = BLOCKS
    arguments = {"times": [0, 5, 50], "learning_rate": 0.3}
    whole = finite_time_variance(*BLOCKS, covariance=True, **arguments)
    cheap = finite_time_variance(theta, rows, k, k_rows, k_test.diagonal(), **arguments)
    assert torch.equal(whole.test, cheap.test)
    assert cheap.test_covariance is None
    assert_near(whole.test_covariance.diagonal(dim1=1, dim2=2), whole.test)
    scaled = finite_time_variance(theta, rows, 9 * k, 9 * k_rows, 9 * k_test, **arguments)
    assert_near(scaled.test, 9 * whole.test)


def test_a_mode_that_the_ntk_does_not_have_keeps_its_prior():
    direction = torch.randn(N + N_TEST, 1, generator=torch_stream("direction"), dtype=torch.float64)
    theta = direction @ direction.T
    result = finite_time_variance(
        theta[:N, :N], theta[N:, :N], *BLOCKS[2:], times=[math.inf], learning_rate=0.1, covariance=True
    )
    unit = direction[:N] / direction[:N].norm()
    left = torch.eye(N, dtype=torch.float64) - unit @ unit.T
    assert_near(result.train_covariance[0], left @ NNGP[:N, :N] @ left)


def test_a_full_ntk_mixes_outputs_and_takes_one_prior_for_all():
    jacobian = torch.randn(N + N_TEST, N_OUTPUTS, 90, generator=torch_stream("jacobian"), dtype=torch.float64)
    full = torch.einsum("icp,jdp->ijcd", jacobian, jacobian) / 90
    prior = torch.einsum("ij,cd->ijcd", NNGP, torch.eye(N_OUTPUTS, dtype=torch.float64))
    rate, n_steps = 0.4, 30
    flat, flat_prior = (k.transpose(1, 2).reshape((N + N_TEST) * N_OUTPUTS, -1) for k in (full, prior))
    outputs = torch.eye(len(flat), dtype=torch.float64)
    n = N * N_OUTPUTS
    for _ in range(n_steps):
        outputs = outputs - rate / N * flat[:, :n] @ outputs[:n]
    expected = outputs @ flat_prior @ outputs.T
    arguments = {"times": [n_steps], "learning_rate": rate, "dynamics": "gradient_descent"}
    mixed = finite_time_variance(full[:N, :N], full[N:, :N], *BLOCKS[2:], covariance=True, **arguments)
    assert mixed.test.shape == (1, N_TEST, N_OUTPUTS)
    assert mixed.test_covariance.shape == (1, N_TEST, N_TEST, N_OUTPUTS, N_OUTPUTS)
    assert_near(mixed.test[0].flatten(), expected[n:, n:].diagonal())
    assert_near(mixed.train[0].flatten(), expected[:n, :n].diagonal())
    assert_near(mixed.test_covariance[0].transpose(1, 2).reshape(N_TEST * N_OUTPUTS, -1), expected[n:, n:])
    blocks = (prior[:N, :N], prior[N:, :N], prior[N:, N:])
    same = finite_time_variance(full[:N, :N], full[N:, :N], *blocks, covariance=True, **arguments)
    assert_near(same.test_covariance, mixed.test_covariance)
    diagonal = (NNGP[:N, :N], NNGP[N:, :N], NNGP[N:, N:].diagonal())
    assert_near(finite_time_variance(full[:N, :N], full[N:, :N], *diagonal, **arguments).test, mixed.test)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.ones(4, 5), r"ntk_train_train has shape \(4, 5\), expected \(n = 4, n = 4\)"),
        (1, torch.ones(3, 5), r"ntk_test_train has shape \(3, 5\), expected \(n_test = 3, n = 4\)"),
        (2, torch.ones(4, 4, 2, 2), r"nngp_train_train has shape \(4, 4, 2, 2\), expected \(n = 4, n = 4\)"),
        (3, torch.ones(4, 3), r"nngp_test_train has shape \(4, 3\), expected \(n_test = 3, n = 4\)"),
        (4, torch.ones(4), r"nngp_test_test has shape \(4,\), expected \(n_test = 3\)"),
        (4, torch.ones(4, 4), r"nngp_test_test has shape \(4, 4\), expected \(n_test = 3, n_test = 3\)"),
    ],
)
def test_wrong_shapes_are_named(position, value, message):
    blocks = [torch.eye(4), torch.zeros(3, 4), torch.eye(4), torch.zeros(3, 4), torch.eye(3)]
    blocks[position] = value
    with pytest.raises(ValueError, match=message):
        finite_time_variance(*blocks, times=[1.0], learning_rate=0.1)


def test_covariances_need_the_whole_prior():
    blocks = (torch.eye(4), torch.zeros(3, 4), torch.eye(4), torch.zeros(3, 4), torch.ones(3))
    with pytest.raises(ValueError, match=r"nngp_test_test has shape \(3,\), expected \(n_test = 3, n_test = 3\)"):
        finite_time_variance(*blocks, times=[1.0], learning_rate=0.1, covariance=True)


def rbf(x: torch.Tensor, n: int) -> torch.Tensor:
    return torch.exp(-0.5 * torch.cdist(x, x[:n], compute_mode="donot_use_mm_for_euclid_dist") ** 2)


def test_the_posterior_variance_is_that_of_sklearn_at_every_size():
    x = torch.randn(34, 3, generator=torch_stream("posterior"), dtype=torch.float64)
    kernel = rbf(x, 24)
    result = posterior_variance(kernel[:24], kernel[24:], torch.ones(10), sizes=[1, 9, 24], diag_reg=0.05)
    for n, variance, report in zip([1, 9, 24], result.variance, result.reports, strict=True):
        process = GaussianProcessRegressor(RBF(1.0), alpha=0.05, optimizer=None).fit(x[:n].numpy(), np.zeros(n))
        deviation = process.predict(x[24:].numpy(), return_std=True)[1]
        assert_near(variance, deviation**2)
        assert (report.status, report.diag_reg, report.jitter) == (Status.CONVERGED, 0.05, 0.0)
    assert (result.variance[1:] <= result.variance[:-1] + 1e-14).all()


def test_a_posterior_knows_its_own_samples_and_failure_is_a_status():
    x = torch.randn(20, 3, generator=torch_stream("posterior"), dtype=torch.float64)
    gram = rbf(x, 20)
    assert posterior_variance(gram, gram, gram).variance.abs().max() < 1e-10
    gram[12, 12] = -1.0
    broken = posterior_variance(gram, gram[:4], torch.ones(4), sizes=[12, 13])
    assert [report.status for report in broken.reports] == [Status.CONVERGED, Status.SINGULAR]
    assert broken.variance[0].isfinite().all()
    assert broken.variance[1].isnan().all()
    with pytest.raises(ValueError, match=r"k_test_test has shape \(3,\), expected \(n_test = 4\)"):
        posterior_variance(gram, gram[:4], torch.ones(3))
    with pytest.raises(ValueError, match=r"k_train_train has shape \(4, 4, 2, 2\), expected \(n_train = 4, n_tr"):
        posterior_variance(torch.ones(4, 4, 2, 2), gram[:4], torch.ones(3))


def test_posterior_variances_below_zero_by_rounding_are_zero_at_every_size():
    x = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64)[:, None]
    kernel = torch.exp(-((x - x.mT) ** 2) / 0.18)
    variance = posterior_variance(kernel, kernel, kernel, sizes=(4, 8, 12)).variance
    assert variance.min() == 0.0 and variance[0].max() > 1e-3
