"""Solutions refined from a float32 factor, against factorizations in float64."""

import numpy as np
import pytest
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.regression import is_worth_refining, refined_solution, solve, solve_misfit
from ntk_atlas.streams import torch_stream

N = 700


@pytest.fixture(scope="module")
def gram():
    x = torch.randn(N, 5, generator=torch_stream("refinement"), dtype=torch.float64)
    return 4.0 * torch.exp(-0.05 * torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** 2)


@pytest.fixture(scope="module")
def targets():
    return torch.randn(N, 3, generator=torch_stream("refined targets"), dtype=torch.float64)


def direct(gram, targets, shift):
    lower = torch.linalg.cholesky(gram + shift * torch.eye(len(gram), dtype=torch.float64))
    return torch.cholesky_solve(targets, lower)


@pytest.mark.parametrize("diag_reg", [1e-3, 1e-2, 1.0, 1e3])
def test_it_is_as_accurate_as_a_factor_in_float64(gram, targets, diag_reg):
    found, misfit = refined_solution(gram, targets, shift=4.0 * diag_reg, scale=4.0)
    expected = direct(gram, targets, 4.0 * diag_reg)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    rounding = N * torch.finfo(torch.float64).eps * float((gram.abs() @ found.abs()).max())
    torch.testing.assert_close(misfit, gram @ found + 4.0 * diag_reg * found - targets, rtol=0, atol=rounding)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_units_do_not_matter(gram, targets, unit):
    plain = refined_solution(gram, targets, shift=0.04, scale=4.0)[0]
    scaled = refined_solution(gram, unit * targets, shift=0.04, scale=4.0)[0]
    torch.testing.assert_close(scaled / unit, plain, rtol=0, atol=1e-9 * float(plain.abs().max()))


def test_a_column_of_zeros_stays_zero(gram, targets):
    mixed = torch.cat([targets[:, :1], torch.zeros(N, 1, dtype=torch.float64)], dim=1)
    found, _ = refined_solution(gram, mixed, shift=0.04, scale=4.0)
    assert (found[:, 1] == 0).all()
    torch.testing.assert_close(found[:, 0], direct(gram, targets, 0.04)[:, 0], rtol=0, atol=1e-9)


def test_what_cannot_be_refined_is_left_to_float64(gram, targets):
    assert refined_solution(gram, targets, shift=4e-13, scale=4.0) is None
    assert refined_solution(torch.tril(gram), targets, shift=0.04, scale=4.0) is None


def test_a_solve_takes_it_where_it_pays(gram, targets):
    assert not is_worth_refining(N, 0.0)
    assert not is_worth_refining(N, 1e-6)
    assert not is_worth_refining(100, 1.0)
    assert is_worth_refining(N, 1e-3)
    solution = solve(gram, targets, diag_reg=1e-3)
    assert torch.equal(solution.coefficients, refined_solution(gram, targets, shift=4e-3, scale=4.0)[0])
    assert (solution.report.status, solution.report.jitter) == (Status.CONVERGED, 0.0)
    assert 0.0 < solution.report.residual < 1e-10
    assert np.isnan(solve(gram, targets, diag_reg=1e-3, residual=False).report.residual)


@pytest.mark.parametrize("place", [(500, 20), (20, 500), (7, 7)], ids=["lower", "upper", "diagonal"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_refined(gram, targets, place, value):
    broken = gram.clone()
    broken[place] = value
    assert refined_solution(broken, targets, shift=4e-3, scale=float(broken.diagonal().mean())) is None
    for y in (targets, torch.zeros_like(targets)):
        assert solve(broken, y, diag_reg=1e-3).report.status == Status.SINGULAR


@pytest.mark.parametrize("n_columns", [1, 2, 8, 11])
def test_misfits_are_those_of_a_plain_product(gram, n_columns):
    y, alpha = torch.randn(2, N, n_columns, generator=torch_stream("misfit"), dtype=torch.float64)
    for given in (gram, gram.to(torch.float32)):
        expected = given.to(torch.float64) @ alpha + 0.3 * alpha - y
        torch.testing.assert_close(solve_misfit(given, alpha, y, shift=0.3), expected, rtol=0, atol=1e-11)


def test_a_matrix_that_float32_cannot_factor_costs_an_attempt_only(gram, targets):
    broken = gram.clone()
    broken[3, 3] = -50.0
    assert refined_solution(broken, targets, shift=4e-3, scale=4.0) is None
    assert solve(broken, targets, diag_reg=1e-3).report.status == Status.SINGULAR
