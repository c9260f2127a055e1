"""Safe Cholesky: untouched where it can be, jittered as little as needed, a status where nothing helps."""

import logging

import numpy as np
import pytest
import scipy.linalg
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.regression import MAX_JITTER, MAX_JITTER_FLOAT32, jitter_ladder, leading_factor, safe_cholesky
from ntk_atlas.streams import torch_stream


def spd_matrix(n: int, condition: float, seed: int = 0) -> torch.Tensor:
    """Symmetric matrix with log-spaced eigenvalues between 1/condition and 1."""
    generator = torch_stream("spd", n, seed)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    eigenvalues = torch.logspace(-np.log10(condition), 0, n, dtype=torch.float64)
    return (q * eigenvalues) @ q.T


def random_features(n: int, rank: int, seed: int = 0) -> torch.Tensor:
    """Gram matrix of `n` samples with `rank` parameters."""
    features = torch.randn(n, rank, generator=torch_stream("features", n, rank, seed), dtype=torch.float64)
    return features @ features.T / rank


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_positive_definite_matrix_is_factored_as_scipy_does_and_gets_no_jitter(scale):
    matrix = scale * spd_matrix(40, 1e6)
    factor = safe_cholesky(matrix, jitter=1e-7)
    expected = scipy.linalg.cholesky(matrix.numpy() / scale, lower=True) * np.sqrt(scale)
    assert (factor.status, factor.jitter) == (Status.CONVERGED, 0.0)
    np.testing.assert_allclose(factor.lower.numpy(), expected, rtol=0, atol=1e-10 * np.sqrt(scale))


def test_a_singular_matrix_is_jittered_and_the_jitter_reported_and_logged(caplog):
    matrix = 7.0 * random_features(30, 10)
    with caplog.at_level(logging.INFO, logger="ntk_atlas"):
        factor = safe_cholesky(matrix, jitter=1e-9)
    assert (factor.status, factor.jitter) == (Status.JITTERED, 1e-9)
    shifted = matrix + 1e-9 * matrix.diagonal().mean() * torch.eye(30, dtype=torch.float64)
    torch.testing.assert_close(factor.lower @ factor.lower.T, shifted, rtol=0, atol=1e-13)
    assert "added 1e-09 of the mean diagonal" in caplog.text


def test_the_jitter_grows_until_it_cures():
    matrix = spd_matrix(20, 10.0)
    smallest = torch.linalg.eigvalsh(matrix)[0]
    matrix = matrix - (smallest + 3e-8 * matrix.diagonal().mean()) * torch.eye(20, dtype=torch.float64)
    factor = safe_cholesky(matrix, jitter=1e-12)
    assert factor.status == Status.JITTERED
    assert factor.jitter == pytest.approx(1e-7, rel=1e-12)


def test_an_indefinite_matrix_beyond_the_largest_jitter_is_singular():
    matrix = torch.diag(torch.tensor([1.0, 1.0, -1e-3], dtype=torch.float64))
    factor = safe_cholesky(matrix)
    assert factor.status == Status.SINGULAR
    assert np.isnan(factor.jitter)
    assert factor.lower.isnan().all()


@pytest.mark.parametrize(
    "matrix",
    [
        torch.full((3, 3), torch.nan),
        torch.diag(torch.tensor([1.0, torch.inf])),
        torch.zeros(4, 4),
        -torch.eye(4),
        torch.zeros(0, 0),
    ],
    ids=["nan", "inf", "zero", "negative", "empty"],
)
def test_what_cannot_be_factored_is_a_status_not_an_exception(matrix):
    factor = safe_cholesky(matrix)
    assert factor.status == Status.SINGULAR
    assert factor.lower.shape == matrix.shape


def test_the_ladder_ends_at_the_largest_jitter():
    assert jitter_ladder(1e-8) == pytest.approx((1e-8, 1e-7, 1e-6), rel=1e-12)
    assert jitter_ladder(3e-7) == (3e-7,)
    assert jitter_ladder(1e-3) == (1e-3,)
    assert jitter_ladder(0.0, torch.float64)[0] == jitter_ladder(None)[0] == 1e-12
    assert jitter_ladder(None, torch.float32)[0] == 1e-8
    assert max(jitter_ladder(None)) <= MAX_JITTER * (1 + 1e-12)
    assert jitter_ladder(1e-9, working=torch.float32) == pytest.approx((1e-6, 1e-5, MAX_JITTER_FLOAT32), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "rank"), [(12, 5), (80, 40), (300, 120)])
def test_the_sound_leading_block_ends_exactly_at_the_rank(n, rank, seed):
    lower = leading_factor(random_features(n, rank, seed))
    assert lower.shape == (rank, rank)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_either_triangle_of_a_symmetric_matrix_gives_the_same_factor(dtype):
    matrix = spd_matrix(60, 1e3)
    one, other = (leading_factor(matrix, shift=0.1, dtype=dtype, symmetric=which) for which in (False, True))
    assert other.dtype == dtype
    torch.testing.assert_close(other, one, rtol=0, atol=60 * torch.finfo(dtype).eps * float(one.abs().max()))
    assert leading_factor(random_features(80, 40, 1), symmetric=True).shape == (40, 40)


@pytest.mark.parametrize("first_copy", [1, 7, 33])
def test_a_duplicated_sample_ends_the_sound_block_whatever_the_sign_of_its_pivot(first_copy):
    x = torch.randn(40, 6, generator=torch_stream("duplicates", first_copy), dtype=torch.float64)
    x[first_copy:] = x[first_copy:].flip(0)
    x[first_copy] = x[0]
    gram = torch.exp(-torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"))
    lower = leading_factor(gram)
    assert lower.shape == (first_copy, first_copy)
    torch.testing.assert_close(lower @ lower.T, gram[:first_copy, :first_copy], rtol=0, atol=1e-13)


def test_an_ill_conditioned_but_regular_matrix_is_sound():
    assert leading_factor(spd_matrix(60, 1e10)).shape == (60, 60)


def test_small_diagonal_entries_do_not_count_as_singular():
    matrix = torch.diag(torch.tensor([1.0, 1e-9, 1.0, 1e-12], dtype=torch.float64))
    assert leading_factor(matrix).shape == (4, 4)


@pytest.mark.parametrize("seed", range(5))
def test_in_single_precision_the_sound_block_ends_at_the_rank_too(seed):
    lower = leading_factor(random_features(80, 40, seed), dtype=torch.float32)
    assert lower.dtype == torch.float32
    assert 39 <= lower.shape[0] <= 40


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_a_ridge_is_relative_and_no_jitter(scale):
    matrix = scale * random_features(30, 10)
    factor = safe_cholesky(matrix, diag_reg=0.5)
    assert (factor.status, factor.jitter) == (Status.CONVERGED, 0.0)
    shifted = matrix + 0.5 * matrix.diagonal().mean() * torch.eye(30, dtype=torch.float64)
    torch.testing.assert_close(factor.lower @ factor.lower.T / scale, shifted / scale, rtol=0, atol=1e-13)
