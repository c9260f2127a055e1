"""Rival kernels against scikit-learn and against Monte Carlo; choice by marginal likelihood against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, RationalQuadratic, WhiteKernel
from sklearn.metrics.pairwise import polynomial_kernel

from ntk_atlas.config import RivalSettings
from ntk_atlas.kernels import RIVALS, median_distance, rival
from ntk_atlas.regression import regress_rival, ridge_path
from ntk_atlas.streams import torch_stream


def normal(*shape, name="x"):
    return torch.randn(*shape, dtype=torch.float64, generator=torch_stream(name))


def kernel(name, x1, x2=None, scale=1.3):
    return rival(name).pairs(x1, x2)(scale)


PEERS = {
    "rational_quadratic": lambda a, b, s: RationalQuadratic(length_scale=s, alpha=1.0)(a, b),
    "linear": lambda a, b, s: DotProduct(sigma_0=1.0)(a / s, b / s),
    "polynomial": lambda a, b, s: polynomial_kernel(a, b, degree=3, gamma=s**-2, coef0=1.0),
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_kernels_agree_with_scikit_learn(name, scale):
    x1, x2 = normal(7, 3), normal(4, 3, name="x2")
    expected = PEERS[name](x1.numpy(), x2.numpy(), scale)
    np.testing.assert_allclose(kernel(name, x1, x2, scale), expected, rtol=1e-10)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_kernels_are_gaussian_averages(order):
    """k_n = 2 E[Θ(w·x)(w·x)ⁿ Θ(w·x')(w·x')ⁿ] over w ~ N(0, I), Cho & Saul's equation 1."""
    x = normal(4, 2)
    seen = torch.cat([x / 1.3, torch.ones(4, 1, dtype=torch.float64)], 1)
    features = torch.relu(normal(400_000, 3, name="w") @ seen.T)
    features = (features > 0).double() if order == 0 else features**order
    sampled = 2.0 * features.T @ features / len(features)
    exact = kernel(f"arc_cosine_{order}", x)
    assert float((sampled - exact).norm() / exact.norm()) < 0.02


def test_orders_have_their_diagonals():
    x = normal(5, 3)
    squares = 1.0 + (x**2).sum(1) / 1.3**2
    for order, factor in ((0, 1.0), (1, 1.0), (2, 3.0)):
        torch.testing.assert_close(kernel(f"arc_cosine_{order}", x).diagonal(), factor * squares**order)


@pytest.mark.parametrize("name", RIVALS.names())
def test_every_rival_is_symmetric_positive_and_the_same_in_parts(name):
    x = normal(12, 3)
    gram = kernel(name, x)
    torch.testing.assert_close(gram, gram.T, rtol=1e-13, atol=1e-13)
    assert torch.linalg.eigvalsh(gram).min() > -1e-10 * gram.diagonal().mean()
    torch.testing.assert_close(kernel(name, x, x[:5]), gram[:, :5], rtol=1e-7, atol=1e-7)
    leading = rival(name).pairs(x)(1.3, 4)
    torch.testing.assert_close(leading, gram[:4, :4], rtol=0, atol=0)


def test_marginal_likelihood_is_that_of_scikit_learn_at_its_best_scale():
    x, y = normal(15, 2), normal(15, 2, name="y")
    gram, scale = kernel("rbf", x), 1.0
    path = ridge_path(gram, y, diag_reg=[1e-2, 1.0])
    for position, ridge in enumerate((1e-2, 1.0)):
        covariance = gram.numpy() + ridge * np.eye(15)
        best = float(np.trace(y.numpy().T @ np.linalg.solve(covariance, y.numpy())) / y.numel())
        process = GaussianProcessRegressor(
            ConstantKernel(best) * (_Fixed(gram.numpy()) + WhiteKernel(ridge)), alpha=0.0, optimizer=None
        ).fit(x.numpy(), y.numpy())
        # scikit-learn adds the likelihoods of the outputs, each with the same covariance.
        expected = process.log_marginal_likelihood(process.kernel_.theta)
        assert math.isclose(float(path.log_marginal_likelihood[position]), expected, rel_tol=1e-9)
        for factor in (0.8, 1.25):  # no other scale is better
            other = GaussianProcessRegressor(
                ConstantKernel(factor * best) * (_Fixed(gram.numpy()) + WhiteKernel(ridge)), alpha=0.0, optimizer=None
            ).fit(x.numpy(), y.numpy())
            assert other.log_marginal_likelihood(other.kernel_.theta) < expected
    assert scale == 1.0


class _Fixed(DotProduct):
    """A kernel of scikit-learn with a given matrix."""

    def __init__(self, matrix, sigma_0=1.0, sigma_0_bounds="fixed"):
        super().__init__(sigma_0, sigma_0_bounds)
        self.matrix = matrix

    def __call__(self, X, Y=None, eval_gradient=False):
        return (self.matrix, np.empty((*self.matrix.shape, 0))) if eval_gradient else self.matrix

    def diag(self, X):
        return np.diag(self.matrix)


@pytest.mark.parametrize("rule", ["validation", "leave_one_out", "marginal_likelihood"])
def test_every_rule_finds_the_scale_of_a_process_and_never_sees_test_data(rule):
    x = normal(120, 1)
    true_scale = 2.0 * median_distance(x[:60])
    covariance = kernel("rbf", x, scale=true_scale) + 0.01 * torch.eye(120, dtype=torch.float64)
    y = torch.linalg.cholesky(covariance) @ normal(120, 1, name="z")
    settings = RivalSettings(ridge_grid=(1e-4, 1e-2, 1.0), length_scales=(0.125, 0.5, 2.0, 16.0), select_ridge=rule)
    found = [
        regress_rival(
            rival("rbf"), x[:60], x[60:90], x[90:], y_train=y[:60], y_validation=y[60:90], y_test=test, sizes=[60],
            settings=settings,
        )
        for test in (y[90:], -y[90:])
    ]  # fmt: skip
    assert found[0].length_scale[1, 0] in (2.0, 0.5) and found[0].diag_reg[1, 0] in (1e-2, 1e-4)
    np.testing.assert_array_equal(found[0].length_scale, found[1].length_scale)
    np.testing.assert_array_equal(found[0].diag_reg, found[1].diag_reg)
