"""Regression without a Gram matrix: equal to the dense one whatever the tiles, within its memory; duplicates named."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.arrays import Status
from ntk_atlas.kernels import MemoryLimitError
from ntk_atlas.numerics import memory_limited
from ntk_atlas.regression import (
    DuplicateSamplesError,
    TiledKernel,
    check_distinct,
    duplicate_pairs,
    nystrom_preconditioner,
    regress_tiled,
    solve,
)
from ntk_atlas.streams import torch_stream

N, N_TEST = 97, 23


def laplace(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    distance = torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    return 1.5 * torch.exp(-distance)


X = torch.randn(N + N_TEST, 2, 2, generator=torch_stream("tiled x"), dtype=torch.float64)
Y = torch.randn(N, 3, generator=torch_stream("tiled y"), dtype=torch.float64)
X_TRAIN, X_TEST = X[:N], X[N:]
GRAM = laplace(X_TRAIN, X_TRAIN)


def limit_of(side: int) -> int:
    return 8 * 8 * side**2


@settings(max_examples=20, deadline=None, derandomize=True)
@given(side=st.integers(8, 120))
def test_tiles_of_any_size_are_one_kernel(side):
    tiles = TiledKernel(laplace, X_TRAIN, memory_limit=limit_of(side))
    assert tiles.side == min(side, N)
    assert len(tiles) == N
    torch.testing.assert_close(tiles(Y), GRAM @ Y, rtol=0, atol=1e-12)
    torch.testing.assert_close(tiles.diagonal(), GRAM.diagonal(), rtol=0, atol=1e-14)
    torch.testing.assert_close(tiles.columns(torch.tensor([3, 50])), GRAM[:, [3, 50]], rtol=0, atol=1e-14)
    torch.testing.assert_close(tiles.predict(X_TEST, Y), laplace(X_TEST, X_TRAIN) @ Y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("diag_reg", [0.0, 1e-3])
@pytest.mark.parametrize("rank", [0, 20])
def test_it_equals_dense_regression(diag_reg, rank):
    result = regress_tiled(laplace, X_TRAIN, Y, diag_reg=diag_reg, rank=rank, tolerance=1e-12, memory_limit=200_000)
    dense = solve(GRAM, Y, diag_reg=diag_reg)
    assert result.solution.status == Status.CONVERGED
    torch.testing.assert_close(result.solution.coefficients, dense.coefficients, rtol=0, atol=1e-8)
    expected = dense.predict(laplace(X_TEST, X_TRAIN))
    torch.testing.assert_close(result.predict(X_TEST), expected, rtol=0, atol=1e-8)


def test_no_tile_is_larger_than_the_limit_says_and_the_triangle_is_enough():
    tiles, pairs = [], 0

    def spying(a, b):
        tiles.append(len(a) * len(b))
        return laplace(a, b)

    limit = 80_000
    kernel = TiledKernel(spying, X_TRAIN, memory_limit=limit)
    kernel(Y)
    assert 8 * 8 * max(tiles) <= limit
    pairs = sum(tiles)
    assert pairs == sum(b * (N - s) for s, b in _blocks(kernel.side))
    assert pairs < 0.75 * N**2
    tiles.clear()
    result = regress_tiled(spying, X_TRAIN, Y, rank=10, memory_limit=limit)
    result.predict(X_TEST)
    assert result.solution.converged
    assert 8 * 8 * max(tiles) <= limit


def _blocks(side: int) -> list[tuple[int, int]]:
    return [(start, min(side, N - start)) for start in range(0, N, side)]


def test_the_default_limit_is_the_one_in_force():
    with memory_limited(limit_of(10)):
        assert TiledKernel(laplace, X_TRAIN).side == 10
        assert regress_tiled(laplace, X_TRAIN, Y, rank=0).kernel.side == 10


def test_out_of_memory_halves_the_tiles_and_goes_on(caplog):
    def greedy(a, b):
        if len(a) * len(b) > 30 * 30:
            raise torch.OutOfMemoryError("out of memory")
        return laplace(a, b)

    tiles = TiledKernel(greedy, X_TRAIN, memory_limit=limit_of(97))
    with caplog.at_level(logging.WARNING, logger="ntk_atlas"):
        torch.testing.assert_close(tiles(Y), GRAM @ Y, rtol=0, atol=1e-12)
    assert tiles.side == 24
    assert "out of memory: going on with tiles of 48 × 48" in caplog.text

    def broken(a, b):
        raise RuntimeError("another error")

    with pytest.raises(RuntimeError, match="another error"):
        TiledKernel(broken, X_TRAIN)(Y)


def test_a_limit_without_room_for_a_tile_is_refused():
    with pytest.raises(MemoryLimitError, match=r"memory_limit is 1000 bytes, but 8 tiles of 8 × 8 samples take 4096"):
        TiledKernel(laplace, X_TRAIN, memory_limit=1000)


def test_a_kernel_that_is_not_finite_is_a_status():
    def broken(a, b):
        return torch.full((len(a), len(b)), torch.nan, dtype=torch.float64)

    result = regress_tiled(broken, X_TRAIN, Y)
    assert result.solution.status == Status.SINGULAR
    assert result.predict(X_TEST).isnan().all()


def test_duplicates_are_refused_only_where_there_is_no_ridge():
    x = X_TRAIN.clone()
    x[40] = x[7]
    with pytest.raises(DuplicateSamplesError, match=r"x_train has 1 of 97 samples .* \(indices 40 = 7\)"):
        regress_tiled(laplace, x, Y)
    result = regress_tiled(laplace, x, Y, diag_reg=1e-2, tolerance=1e-12)
    dense = solve(laplace(x, x), Y, diag_reg=1e-2)
    torch.testing.assert_close(result.solution.coefficients, dense.coefficients, rtol=0, atol=1e-8)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(values=st.lists(st.integers(0, 6), min_size=1, max_size=12), dtype=st.sampled_from([torch.float64, torch.int16]))
def test_every_copy_is_paired_with_its_first_occurrence(values, dtype):
    x = torch.tensor(values).to(dtype)[:, None, None].expand(-1, 2, 2)
    expected = [(values.index(value), i) for i, value in enumerate(values) if values.index(value) < i]
    assert list(duplicate_pairs(x)) == expected
    if expected:
        with pytest.raises(DuplicateSamplesError, match=f"inputs has {len(expected)} of {len(values)}") as caught:
            check_distinct(x, "inputs")
        assert list(caught.value.pairs) == expected
        assert isinstance(caught.value, ValueError)
    else:
        check_distinct(x)


def test_the_sign_of_zero_and_one_ulp():
    assert duplicate_pairs(torch.tensor([[0.0, 1.0], [-0.0, 1.0], [1e-300, 1.0]])) == ((0, 1), (0, 2))
    assert duplicate_pairs(torch.tensor([[1.0], [1.0 + 2**-52]], dtype=torch.float64)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": torch.ones(5, 1)}, r"y_train has shape \(5, 1\), expected \(n = 97, n_outputs\)"),
        ({"y_train": torch.full((N, 1), torch.inf)}, r"y_train.* has 97 entries that are NaN or infinite"),
        ({"dtype": torch.float16}, "dtype is torch.float16"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        regress_tiled(laplace, **{"x_train": X_TRAIN, "y_train": Y} | change)


def test_vectors_of_integers_do_not_round_the_kernel():
    x = torch.rand(20, 3, generator=torch_stream("integers"), dtype=torch.float64)

    def kernel(a, b):
        return torch.exp(-torch.cdist(a, b))

    k, whole = kernel(x, x), torch.arange(20)[:, None]
    tiled = TiledKernel(kernel, x)
    torch.testing.assert_close(tiled(whole), k @ whole.double())
    torch.testing.assert_close(tiled.predict(x[:4], whole), k[:4] @ whole.double())
    precondition = nystrom_preconditioner(tiled, 20, rank=5, generator=torch_stream("omega"), diag_reg=0.1)
    torch.testing.assert_close(precondition(whole), precondition(whole.double()))
