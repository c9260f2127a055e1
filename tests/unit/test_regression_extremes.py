"""The ends of a spectrum: iterations against all eigenvalues, and what iterations cannot say."""

import numpy as np
import pytest
import torch

from ntk_atlas.regression import extreme_eigenvalues
from ntk_atlas.regression import regress as module
from ntk_atlas.streams import torch_stream


def kernel(n, name="laplace", ridge=0.0):
    x = torch.randn(n, 6, generator=torch_stream("ends of a spectrum"), dtype=torch.float64)
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    matrix = torch.exp(-distance) if name == "laplace" else torch.exp(-0.02 * distance**2)
    return matrix + ridge * torch.eye(n, dtype=torch.float64)


@pytest.mark.parametrize(("name", "ridge"), [("laplace", 0.0), ("laplace", 1e-3), ("gauss", 1e-6), ("gauss", 1.0)])
def test_iterations_find_what_all_eigenvalues_say(name, ridge):
    matrix = 7.0 * kernel(900, name, ridge)
    expected = torch.linalg.eigvalsh(matrix)
    ends = module._by_iteration(matrix)
    np.testing.assert_allclose(ends, [expected[0], expected[-1]], rtol=1e-7)
    assert extreme_eigenvalues(matrix) == ends
    assert extreme_eigenvalues(matrix) == ends  # the same start, the same digits


def test_a_singular_matrix_gets_all_of_its_eigenvalues(monkeypatch):
    matrix = kernel(900, "gauss")  # smooth: most eigenvalues are rounding
    matrix[500] = matrix[400]
    matrix[:, 500] = matrix[:, 400]
    assert module._by_iteration(matrix) is None
    expected = torch.linalg.eigvalsh(matrix)
    assert extreme_eigenvalues(matrix) == (float(expected[0]), float(expected[-1]))


def test_small_and_broken_matrices():
    assert extreme_eigenvalues(torch.diag(torch.tensor([3.0, -2.0, 1.0]))) == (-2.0, 3.0)
    assert np.isnan(extreme_eigenvalues(torch.full((2, 2), torch.nan))).all()
    indefinite = kernel(900) - 2.0 * torch.eye(900, dtype=torch.float64)
    expected = torch.linalg.eigvalsh(indefinite)
    assert extreme_eigenvalues(indefinite) == (float(expected[0]), float(expected[-1]))
