"""Closed-form leave-one-out against refits, the ridge path against dense solves."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from ntk_atlas.regression import ridge_path
from ntk_atlas.streams import torch_stream

RIDGES = (1e-6, 1e-3, 0.1, 1.0, 30.0)


@pytest.fixture(scope="module")
def problem():
    generator = torch_stream("leave one out")
    x = torch.randn(25, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(25, 2, generator=generator, dtype=torch.float64)
    return 3.0 * torch.exp(-torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")), y


def refit_without_each(gram: np.ndarray, y: np.ndarray, ridge: float) -> float:
    """Slow twin: as many fits as samples, each tested on the sample it did not see."""
    squares = []
    for i in range(len(y)):
        kept = np.delete(np.arange(len(y)), i)
        block = gram[np.ix_(kept, kept)] + ridge * np.eye(len(kept))
        squares.append((gram[i, kept] @ np.linalg.solve(block, y[kept]) - y[i]) ** 2)
    return float(np.mean(squares))


def test_leave_one_out_equals_refits_at_all_ridges_and_at_zero(problem):
    gram, y = problem
    path = ridge_path(gram, y, diag_reg=(0.0, *RIDGES))
    expected = [refit_without_each(gram.numpy(), y.numpy(), 3.0 * r) for r in (0.0, *RIDGES)]
    np.testing.assert_allclose(path.leave_one_out_mse.numpy(), expected, rtol=1e-10)


def test_coefficients_and_eigenvalues_equal_dense_ones(problem):
    gram, y = problem
    path = ridge_path(gram, y, diag_reg=RIDGES, scale=2.0)
    for ridge, coefficients in zip(RIDGES, path.coefficients, strict=True):
        expected = np.linalg.solve(gram.numpy() + 2.0 * ridge * np.eye(25), y.numpy())
        np.testing.assert_allclose(coefficients.numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(path.eigenvalues.numpy(), np.linalg.eigvalsh(gram.numpy()), atol=1e-12)


def test_sklearn_agrees_for_a_linear_kernel():
    generator = torch_stream("ridge cv")
    x = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(30, 1, generator=generator, dtype=torch.float64)
    alphas = (0.1, 1.0, 10.0)
    sklearn = RidgeCV(alphas, fit_intercept=False, store_cv_results=True).fit(x.numpy(), y.numpy()[:, 0])
    path = ridge_path(x @ x.T, y, diag_reg=alphas, scale=1.0)
    np.testing.assert_allclose(path.leave_one_out_mse.numpy(), sklearn.cv_results_.mean(axis=0), rtol=1e-10)


def test_a_sample_alone_is_predicted_as_zero():
    path = ridge_path(torch.tensor([[2.0]]), torch.tensor([[3.0]]), diag_reg=[0.0, 1.0])
    np.testing.assert_allclose(path.leave_one_out_mse.numpy(), [9.0, 9.0], rtol=1e-14)


def test_a_large_ridge_leaves_the_targets(problem):
    gram, y = problem
    path = ridge_path(gram, y, diag_reg=[1e14])
    assert path.leave_one_out_mse.item() == pytest.approx(float((y**2).mean()), rel=1e-10)


def test_ridges_that_leave_the_matrix_indefinite_are_nan_and_the_others_are_not():
    gram = torch.diag(torch.tensor([1.0, -0.5], dtype=torch.float64))
    path = ridge_path(gram, torch.ones(2, 1, dtype=torch.float64), diag_reg=[0.1, 1.0], scale=1.0)
    assert path.leave_one_out_mse.isnan().tolist() == [True, False]


def test_a_kernel_that_is_not_finite_gives_nan():
    path = ridge_path(torch.full((3, 3), torch.nan), torch.ones(3, 1), diag_reg=[1.0])
    assert path.leave_one_out_mse.isnan().all()
    assert path.coefficients.isnan().all()
