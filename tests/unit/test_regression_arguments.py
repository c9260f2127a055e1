"""One check of kernels, targets and numbers for the whole family of solvers and measures: nothing broadcasts."""

import math

import numpy as np
import pytest
import torch

from ntk_atlas.config import RegressionSettings
from ntk_atlas.kernels import rival
from ntk_atlas.regression import (
    TiledKernel,
    check_distinct,
    classification_error,
    conjugate_gradient,
    finite_time_mean,
    finite_time_variance,
    mean_squared_error,
    nystrom_preconditioner,
    pivoted_cholesky_preconditioner,
    posterior_variance,
    regress_nested,
    regress_rival,
    regress_tiled,
    ridge_path,
    safe_cholesky,
    solve,
    solve_nested,
)
from ntk_atlas.streams import torch_stream

N, N_TEST = 12, 5
X = torch.randn(N + N_TEST, 3, generator=torch_stream("arguments x"), dtype=torch.float64)
Y = torch.randn(N + N_TEST, 2, generator=torch_stream("arguments y"), dtype=torch.float64)
KERNEL = torch.exp(-torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist"))
GRAM, ROWS = KERNEL[:N, :N], KERNEL[N:, :N]
SETTINGS = RegressionSettings(ridge_grid=(1e-2, 1.0))


def laplace(a, b):
    return torch.exp(-torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"))


def nested(gram=GRAM, y=Y[:N], y_test=Y[N:], **settings):
    targets = {"y_train": y, "y_validation": Y[N:], "y_test": y_test}
    return regress_nested(gram, ROWS, ROWS, **targets, sizes=[N], settings=SETTINGS, **settings)


def with_rbf(y, x=X[:N]):
    targets = {"y_train": y, "y_validation": Y[N:], "y_test": Y[N:]}
    return regress_rival(rival("rbf"), x, X[N:], X[N:], **targets, sizes=[N], settings=SETTINGS)


PATH = {"times": [3.0], "learning_rate": 0.1}
OF_TARGETS = {
    "solve": lambda y: solve(GRAM, y),
    "solve_nested": lambda y: solve_nested(GRAM, y, ROWS, sizes=[N]),
    "ridge_path": lambda y: ridge_path(GRAM, y, diag_reg=[0.1]),
    "regress_nested": lambda y: nested(y=y),
    "regress_rival": with_rbf,
    "finite_time_mean": lambda y: finite_time_mean(GRAM, ROWS, y, **PATH),
    "conjugate_gradient": lambda y: conjugate_gradient(lambda v: GRAM @ v, y),
    "regress_tiled": lambda y: regress_tiled(laplace, X[:N], y).solution,
}
OF_MEASURES = {
    "mean_squared_error": lambda y: mean_squared_error(Y[:N, :1], y),
    "classification_error": lambda y: classification_error(Y[:N, :1], y),
}
OF_KERNELS = {
    "solve": lambda k: solve(k, Y[:N]),
    "solve_nested": lambda k: solve_nested(k, Y[:N], ROWS, sizes=[N]),
    "ridge_path": lambda k: ridge_path(k, Y[:N], diag_reg=[0.1]),
    "regress_nested": lambda k: nested(gram=k),
    "posterior_variance": lambda k: posterior_variance(k, ROWS, torch.ones(N_TEST)),
    "finite_time_mean": lambda k: finite_time_mean(k, ROWS, Y[:N], **PATH),
    "finite_time_variance": lambda k: finite_time_variance(k, ROWS, GRAM, ROWS, torch.ones(N_TEST), **PATH),
    "safe_cholesky": safe_cholesky,
}
OF_RIDGES = {
    "solve": lambda r: solve(GRAM, Y[:N], diag_reg=r),
    "solve_nested": lambda r: solve_nested(GRAM, Y[:N], ROWS, sizes=[N], diag_reg=r),
    "ridge_path": lambda r: ridge_path(GRAM, Y[:N], diag_reg=[0.1, r]),
    "posterior_variance": lambda r: posterior_variance(GRAM, ROWS, torch.ones(N_TEST), diag_reg=r),
    "conjugate_gradient": lambda r: conjugate_gradient(lambda v: GRAM @ v, Y[:N], diag_reg=r, mean_diagonal=1.0),
    "regress_tiled": lambda r: regress_tiled(laplace, X[:N], Y[:N], diag_reg=r),
    "safe_cholesky": lambda r: safe_cholesky(GRAM, diag_reg=r),
    "pivoted": lambda r: pivoted_cholesky_preconditioner(
        GRAM.diagonal(), lambda i: GRAM[:, i], rank=2, diag_reg=r
    ),
    "nystrom": lambda r: nystrom_preconditioner(
        lambda v: GRAM @ v, N, rank=2, generator=torch_stream("nystrom"), diag_reg=r
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_TARGETS, *OF_MEASURES])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:N, 0], rf"has shape \({N},\), expected \(n.* = {N}, n_outputs.*\): of one output give \w+\[:, None\]"),
        (Y[: N - 1, :1], rf"has shape \({N - 1}, 1\), expected \(n"),
        (Y[None, :N, :1], rf"has shape \(1, {N}, 1\), expected \(n"),
        (Y[:N, :0], rf"has shape \({N}, 0\)"),
        (torch.full((N, 1), math.nan), f"has {N} entries that are NaN or infinite"),
        (Y[:N, :1].to(torch.complex128), "is complex"),
        (np.zeros((N, 1), dtype=np.longdouble), "which torch lacks"),
        (np.full((N, 1), "cat"), "give numbers"),
        (None, "is a NoneType: give a torch tensor or a NumPy array"),
    ],
    ids=["one axis", "a sample less", "three axes", "no outputs", "nan", "complex", "longdouble", "text", "none"],
)
def test_targets_that_no_solver_can_take_get_the_same_message_from_all(name, y, message):
    call = (OF_TARGETS | OF_MEASURES)[name]
    if name == "conjugate_gradient" and "expected" in message:
        # It learns n from the targets: one axis is all that it can see.
        message = r"expected \(n, n_outputs\)" if y.dim() != 2 else "must match|has shape|shape|size"
        with pytest.raises((ValueError, RuntimeError), match=message):
            call(y)
        return
    with pytest.raises(ValueError, match=message):
        call(y)


@pytest.mark.parametrize("name", OF_TARGETS)
@pytest.mark.parametrize("cast", [lambda y: y.numpy(), lambda y: y.tolist(), lambda y: y.to(torch.int64)])
def test_arrays_lists_and_integers_are_targets(name, cast):
    y = torch.arange(2.0 * N).double().reshape(N, 2)
    assert repr(OF_TARGETS[name](cast(y))) == repr(OF_TARGETS[name](y))


def test_measures_take_arrays_integers_and_half_precision_and_do_not_overflow():
    f, y = np.array([[1], [-2], [3]]), [[1.0], [2.0], [3.0]]
    assert float(mean_squared_error(f, y)) == pytest.approx(16 / 3)
    assert float(classification_error(f, y)) == pytest.approx(1 / 3)
    large = torch.full((3, 1), 300.0, dtype=torch.float16)
    assert float(mean_squared_error(large, torch.zeros(3, 1, dtype=torch.float16))) == 90000.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_squared_error(Y[:N, 0], Y[:N]), r"predictions has shape \(12,\), expected \(..., n, n_outputs\)"),
        (lambda: mean_squared_error(Y, Y[:, :1]), r"targets has shape \(17, 1\), expected \(n = 17, n_outputs = 2"),
        (lambda: classification_error(Y[:N], Y[:N], Y[:N]), r"labels has shape \(12, 2\), expected \(n = 12\)"),
        (lambda: classification_error(Y[:N], Y[:N], torch.full((N,), 0.5)), "labels are not class indices"),
        (lambda: classification_error(Y[:N], Y[:N], torch.full((N,), 2)), "labels run from 2 to 2, but 2 outputs"),
        (lambda: nested(test_labels=torch.full((N_TEST,), 0.5)), "test_labels are not class indices"),
    ],
)  # fmt: skip
def test_measures_do_not_broadcast(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", OF_KERNELS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.tril, r"is not symmetric: entry \[0, 1\] is 0, entry \[1, 0\] is 0\.\d+, which is more than"),
        (lambda k: k + 1e-9 * torch.triu(k, 1), "is not symmetric"),
        (lambda k: k.half(), r"is a kernel in torch.float16, whose rounding \(1e-03\) hides"),
        (lambda k: k.bfloat16(), "is a kernel in torch.bfloat16"),
        (lambda k: k.to(torch.complex64), "is complex"),
        (lambda k: k.numpy().astype(np.longdouble), "which torch lacks"),
        (lambda k: k[:, :3], r"has shape \(12, 3\), expected \(n.* = 12, n.* = 12\)|k_eval|_train has shape"),
        (lambda k: k.to_sparse(), "is sparse"),
    ],
    ids=["triangle", "1e-9", "float16", "bfloat16", "complex", "longdouble", "not square", "sparse"],
)
def test_kernels_that_no_solver_can_take_get_the_same_message_from_all(name, change, message):
    with pytest.raises(ValueError, match=message):
        OF_KERNELS[name](change(GRAM))


@pytest.mark.parametrize("name", [name for name in OF_KERNELS if name != "safe_cholesky"])
def test_rounding_is_no_asymmetry_and_arrays_are_kernels(name):
    noise = 1.0 + 1e-7 * torch.randn(N, N, generator=torch_stream("asymmetry"), dtype=torch.float64)
    OF_KERNELS[name]((GRAM * noise).float())
    with pytest.raises(ValueError, match=r"is not symmetric.*kernel_dtype=torch.float32 if it was computed in that"):
        OF_KERNELS[name](GRAM * noise)
    assert solve((GRAM * noise), Y[:N], kernel_dtype=torch.float32).report.residual < 1e-6
    assert repr(OF_KERNELS[name](GRAM.numpy())) == repr(OF_KERNELS[name](GRAM))


@pytest.mark.parametrize("call", [lambda k: solve(k, Y[:0]), lambda k: posterior_variance(k, k, torch.ones(0))])
def test_no_samples_are_no_regression(call):
    with pytest.raises(ValueError, match=r"k_train_train is empty \(shape \(0, 0\)\)"):
        call(torch.ones(0, 0))


@pytest.mark.parametrize("name", OF_RIDGES)
@pytest.mark.parametrize("ridge", [-1e-3, math.nan, math.inf])
def test_ridges_are_numbers_from_zero_on(name, ridge):
    with pytest.raises(ValueError, match=rf"diag_reg is {ridge}, expected a finite number ≥ 0"):
        OF_RIDGES[name](ridge)


@pytest.mark.parametrize("ridge", ["1e-3", None, [0.1], 1j, True, torch.ones(2)])
def test_a_ridge_that_is_no_number_is_named(ridge):
    with pytest.raises(ValueError, match=r"diag_reg is .*: give one number"):
        solve(GRAM, Y[:N], diag_reg=ridge)


def test_a_number_may_be_an_array_of_one():
    expected = solve(GRAM, Y[:N], diag_reg=0.5).coefficients
    for ridge in (np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        assert torch.equal(solve(GRAM, Y[:N], diag_reg=ridge).coefficients, expected)


@pytest.mark.parametrize("jitter", [-1.0, math.nan])
def test_jitters_are_numbers_from_zero_on(jitter):
    for call in (lambda: solve(GRAM, Y[:N], jitter=jitter), lambda: safe_cholesky(GRAM, jitter=jitter)):
        with pytest.raises(ValueError, match=r"jitter is .*, expected a finite number ≥ 0"):
            call()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda a, b: laplace(a, b) * (1.0 + a[:, :1]), r"kernel is not symmetric: K\(x1, x2\) and the transpose of"),
        (lambda a, b: laplace(a, b).diagonal(), r"kernel\(x1, x2\) has shape \(\d+,\), expected \(n1 = \d+"),
        (lambda a, b: laplace(a, b)[:, :1], r"kernel\(x1, x2\) has shape"),
        (lambda a, b: laplace(a, b).half(), r"kernel\(x1, x2\) is a kernel in torch.float16"),
    ],
)  # fmt: skip
def test_a_kernel_function_is_checked_tile_by_tile(kernel, message):
    with pytest.raises(ValueError, match=message):
        regress_tiled(kernel, X[:N], Y[:N])
    with pytest.raises(ValueError, match=message):
        TiledKernel(kernel, X[:N])(Y[:N])


def test_tiles_name_vectors_and_samples_of_another_shape():
    tiles = TiledKernel(laplace, X[:N])
    with pytest.raises(ValueError, match=r"v has shape \(12,\), expected \(n = 12, k\)"):
        tiles(Y[:N, 0])
    with pytest.raises(ValueError, match=r"x_test has shape \(5, 2\), but x_train \(12, 3\)"):
        tiles.predict(X[N:, :2], Y[:N])
    with pytest.raises(ValueError, match=r"x_train is empty \(shape \(0, 3\)\)"):
        TiledKernel(laplace, X[:0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((N, 3), math.nan), r"x_train, of shape \(12, 3\), has 36 entries that are NaN"),
        (X[:N, :2], r"x_validation has shape \(5, 3\), but x_train \(12, 2\)"),
        (X[:N, :0], r"x_train is empty \(shape \(12, 0\)\)"),
        (torch.ones(N, 3), "x_train.* has median distance 0: all samples are equal"),
    ],
)
def test_inputs_that_a_rival_cannot_take_are_named(x, message):
    with pytest.raises(ValueError, match=message):
        with_rbf(Y[:N], x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regress_tiled(GRAM, X[:N], Y[:N]), "kernel is a Tensor: give a function, as `lambda x1, x2"),
        (lambda: regress_tiled(laplace, X[:N], Y[:N], rank="5"), "rank is '5': give one number"),
        (lambda: regress_tiled(laplace, X[:N], Y[:N], rank=1.5), "rank is 1.5, expected a whole number"),
        (lambda: regress_tiled(laplace, X[:N], Y[:N], memory_limit="1GB"), "memory_limit is '1GB': give one number"),
        (
            lambda: nystrom_preconditioner(GRAM, N, rank=3, generator=torch.Generator()),
            "matvec is a Tensor: give a fun",
        ),
        (lambda: conjugate_gradient(laplace, Y[:N], max_iterations=0.5), "max_iterations is 0.5, expected a whole"),
        (lambda: check_distinct(X[:, 0]), r"x has shape \(\d+,\), expected \(n, \*shape\)"),
    ],
)
def test_functions_and_counts_are_what_they_must_be(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_kernels_and_targets_with_a_graph_are_numbers():
    gram, y = GRAM.clone().requires_grad_(), Y[:N].clone().requires_grad_()
    assert torch.equal(solve(gram, y, diag_reg=0.1).coefficients, solve(GRAM, Y[:N], diag_reg=0.1).coefficients)
    mean = finite_time_mean(gram, gram, y, times=[3], learning_rate=0.1)
    assert not mean.test.requires_grad
