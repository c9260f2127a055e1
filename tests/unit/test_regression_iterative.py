"""Solves from products alone: equal to dense ones, sped up by preconditioners, honest when they fail."""

import logging

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.arrays import Status
from ntk_atlas.regression import (
    conjugate_gradient,
    mixed_outputs,
    nystrom_preconditioner,
    pivoted_cholesky_factor,
    pivoted_cholesky_preconditioner,
    solve,
)
from ntk_atlas.streams import torch_stream

N, N_OUTPUTS = 150, 3


def kernel_of(length_scale: float) -> torch.Tensor:
    x = torch.randn(N, 3, generator=torch_stream("iterative x"), dtype=torch.float64)
    squared = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    return 2.0 * torch.exp(-0.5 * squared / length_scale**2)


ROUGH, SMOOTH = kernel_of(0.4), kernel_of(3.0)
Y = torch.randn(N, N_OUTPUTS, generator=torch_stream("iterative y"), dtype=torch.float64)


def product(gram: torch.Tensor):
    return lambda v: gram.to(v.dtype) @ v


def preconditioners(gram: torch.Tensor, rank: int, diag_reg: float) -> dict:
    return {
        "pivoted": pivoted_cholesky_preconditioner(gram.diagonal(), lambda i: gram[:, i], rank=rank, diag_reg=diag_reg),
        "nystrom": nystrom_preconditioner(
            product(gram), N, rank=rank, diag_reg=diag_reg, generator=torch_stream("nystrom")
        ),
    }


@pytest.mark.parametrize("which", ["none", "pivoted", "nystrom"])
@pytest.mark.parametrize(
    ("gram", "diag_reg", "tolerance"), [(ROUGH, 0.0, 1e-12), (ROUGH, 1e-2, 1e-12), (SMOOTH, 1e-3, 2e-11)]
)
def test_it_equals_the_dense_solve(gram, diag_reg, tolerance, which):
    preconditioner = None if which == "none" else preconditioners(gram, 40, diag_reg)[which]
    solution = conjugate_gradient(
        product(gram), Y, diag_reg=diag_reg, mean_diagonal=2.0, preconditioner=preconditioner, tolerance=tolerance
    )
    dense = solve(gram, Y, diag_reg=diag_reg)
    torch.testing.assert_close(solution.coefficients, dense.coefficients, rtol=1e-8, atol=1e-8)
    assert solution.converged
    assert solution.residuals.shape == (N_OUTPUTS,)
    shifted = gram + 2.0 * diag_reg * torch.eye(N, dtype=torch.float64)
    measured = torch.linalg.norm(shifted @ solution.coefficients - Y, dim=0) / torch.linalg.norm(Y, dim=0)
    torch.testing.assert_close(solution.residuals, measured, rtol=0, atol=tolerance)
    assert (solution.residuals <= tolerance).all()
    assert solution.n_products > solution.n_iterations


def test_scipy_needs_as_many_steps():
    shifted = (ROUGH + 0.02 * torch.eye(N, dtype=torch.float64)).numpy()
    steps = []
    expected, info = scipy.sparse.linalg.cg(shifted, Y[:, 0].numpy(), rtol=1e-9, callback=lambda _: steps.append(1))
    ours = conjugate_gradient(product(ROUGH), Y[:, :1], diag_reg=1e-2, mean_diagonal=2.0, tolerance=1e-9)
    assert info == 0
    assert ours.n_iterations == pytest.approx(len(steps), rel=0.05)  # rounding moves the end by a few of 130
    np.testing.assert_allclose(ours.coefficients[:, 0].numpy(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("which", ["pivoted", "nystrom"])
def test_a_preconditioner_cuts_the_steps_on_an_ill_conditioned_kernel(which):
    arguments = {"diag_reg": 1e-4, "mean_diagonal": 2.0, "tolerance": 1e-9}
    plain = conjugate_gradient(product(SMOOTH), Y, **arguments)
    steps = [
        conjugate_gradient(
            product(SMOOTH), Y, preconditioner=preconditioners(SMOOTH, rank, 1e-4)[which], **arguments
        ).n_iterations
        for rank in (10, 50)
    ]
    assert steps[0] < plain.n_iterations
    assert steps[1] < plain.n_iterations / 5


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), power=st.integers(-40, 40), diag_reg=st.sampled_from([1e-3, 1e-1]))
def test_order_units_and_company_do_not_matter(seed, power, diag_reg):
    order, unit = torch.randperm(N, generator=torch.Generator().manual_seed(seed)), 10.0**power
    arguments = {"diag_reg": diag_reg, "tolerance": 1e-12}
    plain = conjugate_gradient(product(ROUGH), Y, mean_diagonal=2.0, **arguments)
    gram = unit * ROUGH[order][:, order]
    other = conjugate_gradient(product(gram), Y[order], mean_diagonal=2.0 * unit, **arguments)
    torch.testing.assert_close(unit * other.coefficients, plain.coefficients[order], rtol=0, atol=1e-9)
    alone = conjugate_gradient(product(ROUGH), Y[:, 1:2], mean_diagonal=2.0, **arguments)
    torch.testing.assert_close(alone.coefficients, plain.coefficients[:, 1:2], rtol=0, atol=1e-9)


def test_outputs_that_are_done_take_no_further_part():
    eigenvector = torch.linalg.eigh(ROUGH)[1][:, -1:]
    widths = []

    def counting(v):
        widths.append(v.shape[1])
        return ROUGH @ v

    y = torch.cat([eigenvector, torch.zeros(N, 1, dtype=torch.float64), Y[:, :1]], 1)
    solution = conjugate_gradient(counting, y, tolerance=1e-10)
    assert solution.converged
    assert widths[:2] == [2, 1]
    assert solution.n_products == len(widths)
    assert not solution.coefficients[:, 1].any()
    assert solution.residuals[1] == 0


def test_a_full_kernel_is_a_system_over_samples_and_outputs():
    jacobian = torch.randn(30, N_OUTPUTS, 150, generator=torch_stream("mixed"), dtype=torch.float64)
    full, y = torch.einsum("icp,jdp->ijcd", jacobian, jacobian) / 150, Y[:30]

    def matvec(v):
        return torch.einsum("ijcd,jd->ic", full, v)

    system = mixed_outputs(matvec, N_OUTPUTS)
    preconditioner = nystrom_preconditioner(system, 90, rank=20, generator=torch_stream("mixed omega"), diag_reg=1e-2)
    scale = float(solve_scale(full))
    for chosen in (None, preconditioner):
        solution = conjugate_gradient(
            system, y.reshape(-1, 1), diag_reg=1e-2, mean_diagonal=scale, preconditioner=chosen, tolerance=1e-12
        )
        dense = solve(full, y, diag_reg=1e-2)
        torch.testing.assert_close(solution.coefficients.reshape(30, -1), dense.coefficients, rtol=0, atol=1e-8)


def solve_scale(full: torch.Tensor) -> torch.Tensor:
    return torch.einsum("iicc->", full) / (full.shape[0] * full.shape[2])


def test_too_few_steps_are_a_status_and_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="ntk_atlas"):
        solution = conjugate_gradient(product(ROUGH), Y, max_iterations=3)
    assert (solution.status, solution.converged, solution.n_iterations) == (Status.BUDGET_SPENT, False, 3)
    assert "did not converge in 3 steps" in caplog.text
    assert "raise max_iterations" in caplog.text
    measured = torch.linalg.norm(ROUGH @ solution.coefficients - Y, dim=0) / torch.linalg.norm(Y, dim=0)
    torch.testing.assert_close(solution.residuals, measured, rtol=1e-10, atol=0)


def test_what_rounding_does_not_allow_is_not_tried_for_ever(caplog):
    with caplog.at_level(logging.WARNING, logger="ntk_atlas"):
        solution = conjugate_gradient(
            product(ROUGH), Y, diag_reg=1e-2, mean_diagonal=2.0, tolerance=1e-10, dtype=torch.float32
        )
    assert solution.status == Status.BUDGET_SPENT
    assert solution.coefficients.dtype == torch.float32
    assert solution.n_iterations < 1000
    assert solution.residuals.max() < 1e-5
    assert "rounding allows no less" in caplog.text


@pytest.mark.parametrize(
    "matvec",
    [lambda v: torch.full_like(v, torch.nan), lambda v: torch.full_like(v, torch.inf), lambda v: -v, torch.zeros_like],
    ids=["nan", "inf", "negative", "zero"],
)
def test_products_of_no_kernel_are_a_status_and_a_warning(matvec, caplog):
    with caplog.at_level(logging.WARNING, logger="ntk_atlas"):
        solution = conjugate_gradient(matvec, Y)
    assert solution.status == Status.SINGULAR
    assert solution.coefficients.isnan().all()
    assert solution.residuals.isnan().all()
    assert "the kernel is not positive definite or not finite" in caplog.text


def test_an_indefinite_kernel_fails_the_outputs_it_concerns_alone():
    gram = torch.diag(torch.linspace(1, 2, N, dtype=torch.float64))
    gram[5, 5] = -1.0
    y = Y.clone()
    y[5, 1:] = 0.0
    solution = conjugate_gradient(product(gram), y)
    assert solution.status == Status.SINGULAR
    assert solution.coefficients.isnan().all(0).tolist() == [True, False, False]
    torch.testing.assert_close(solution.coefficients[:, 1:], y[:, 1:] / gram.diagonal()[:, None], rtol=0, atol=1e-7)


def test_a_complete_pivoted_factor_is_the_kernel_and_its_pivots_are_the_largest():
    seen = []

    def columns(index):
        seen.extend(index.tolist())
        return ROUGH[:, index]

    gram_factor = pivoted_cholesky_factor(ROUGH.diagonal(), columns, rank=N)
    torch.testing.assert_close(gram_factor @ gram_factor.T, ROUGH, rtol=0, atol=1e-12)
    assert len(set(seen)) == len(seen)
    left = (ROUGH - gram_factor[:, :20] @ gram_factor[:, :20].T).diagonal()
    assert seen[20] == int(left.argmax())
    low = torch.outer(Y[:, 0], Y[:, 0])
    assert pivoted_cholesky_factor(low.diagonal(), lambda i: low[:, i], rank=10).shape == (N, 1)


@pytest.mark.parametrize("which", ["pivoted", "nystrom"])
def test_a_preconditioner_of_full_rank_is_the_inverse(which):
    preconditioner = preconditioners(ROUGH, N, 0.1)[which]
    # Nyström's μ is the ridge and the smallest eigenvalue found.
    shift = 0.2 + (float(torch.linalg.eigvalsh(ROUGH)[0]) if which == "nystrom" else 0.0)
    expected = torch.linalg.solve(ROUGH + shift * torch.eye(N, dtype=torch.float64), Y)
    torch.testing.assert_close(preconditioner(Y), expected, rtol=0, atol=1e-10)
    dense = preconditioner(torch.eye(N, dtype=torch.float64))
    torch.testing.assert_close(dense, dense.T, rtol=0, atol=1e-12)
    assert torch.linalg.eigvalsh(dense)[0] > 0


def test_products_without_a_kernel_give_a_preconditioner_that_changes_nothing(caplog):
    with caplog.at_level(logging.WARNING, logger="ntk_atlas"):
        nothing = nystrom_preconditioner(lambda v: -v, N, rank=5, generator=torch_stream("nothing"))
    assert torch.equal(nothing(Y), Y)
    assert "no preconditioner" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"diag_reg": 0.1}, "diag_reg is relative to the mean diagonal of the kernel: give `mean_diagonal` too"),
        ({"y_train": torch.ones(4)}, r"y_train has shape \(4,\), expected \(n, n_outputs\)"),
        ({"y_train": torch.full((4, 1), torch.nan)}, r"y_train.* has 4 entries that are NaN"),
        ({"dtype": torch.bfloat16}, "dtype is torch.bfloat16"),
        ({"tolerance": "1e-8"}, "tolerance is '1e-8': give one number"),
        ({"matvec": torch.eye(4)}, "matvec is a Tensor: give a function, as `lambda v"),
        ({"preconditioner": torch.eye(4)}, "preconditioner is a Tensor: give a function, as `lambda v"),
        ({"matvec": lambda v: None}, "the product that matvec gives is a NoneType"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        conjugate_gradient(**{"matvec": lambda v: v, "y_train": torch.ones(4, 1)} | change)


def test_products_may_be_arrays():
    matvec = lambda v: np.diag([1.0, 2.0, 4.0]) @ v.numpy()  # noqa: E731
    found = conjugate_gradient(matvec, torch.ones(3, 1)).coefficients
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64))


def test_nystrom_of_products_in_single_precision(caplog):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    kernel = torch.exp(-0.5 * torch.cdist(x, x) ** 2)
    y = torch.sin(x.sum(1, keepdim=True))

    def matvec(v):
        return kernel.float() @ v.float()

    ridge = {"diag_reg": 1e-3, "mean_diagonal": 1.0}
    preconditioner = nystrom_preconditioner(matvec, 300, rank=60, generator=generator, **ridge)
    assert "no preconditioner" not in caplog.text
    options = {"tolerance": 1e-4, **ridge}
    plain = conjugate_gradient(matvec, y, **options)
    fast = conjugate_gradient(matvec, y, preconditioner=preconditioner, **options)
    assert fast.n_iterations < plain.n_iterations / 3
