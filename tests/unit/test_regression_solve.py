"""One solve: dense twins, full kernels of mixed outputs, single precision with its residual."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge

from ntk_atlas import regression
from ntk_atlas.arrays import Status
from ntk_atlas.regression import MAX_JITTER_FLOAT32, solve, solve_nested
from ntk_atlas.streams import torch_stream

N, N_EVAL, N_OUTPUTS = 50, 12, 3


@pytest.fixture(scope="module")
def problem():
    generator = torch_stream("solve problem")
    x = torch.randn(N + N_EVAL, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(N, N_OUTPUTS, generator=generator, dtype=torch.float64)
    kernel = 2.5 * torch.exp(-torch.cdist(x, x[:N], compute_mode="donot_use_mm_for_euclid_dist"))
    return kernel[:N], y, kernel[N:], x


@pytest.fixture(scope="module")
def full_problem():
    """Full empirical NTK of a random linear model whose outputs share parameters."""
    jacobian = torch.randn(20 + 7, 3, 80, generator=torch_stream("full solve"), dtype=torch.float64)
    y = torch.randn(20, 3, generator=torch_stream("full targets"), dtype=torch.float64)
    full = torch.einsum("icp,jdp->ijcd", jacobian, jacobian[:20])
    return full[:20], y, full[20:], jacobian


@pytest.mark.parametrize("diag_reg", [0.0, 1e-3, 1.0])
def test_scipy_and_sklearn_agree(problem, diag_reg):
    gram, y, k_eval, _ = problem
    solution = solve(gram, y, diag_reg=diag_reg)
    ridge = diag_reg * 2.5
    expected = scipy.linalg.solve(gram.numpy() + ridge * np.eye(N), y.numpy(), assume_a="pos")
    np.testing.assert_allclose(solution.coefficients.numpy(), expected, rtol=0, atol=1e-10)
    sklearn = KernelRidge(alpha=ridge, kernel="precomputed").fit(gram.numpy(), y.numpy())
    np.testing.assert_allclose(solution.predict(k_eval).numpy(), sklearn.predict(k_eval.numpy()), rtol=0, atol=1e-10)
    assert solution.report.status == Status.CONVERGED
    assert (solution.report.diag_reg, solution.report.jitter) == (diag_reg, 0.0)
    assert 0 < solution.report.residual < 1e-13


def test_a_gaussian_process_of_sklearn_agrees():
    generator = torch_stream("gaussian process")
    x = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    y = torch.randn(22, 1, generator=generator, dtype=torch.float64)
    process = GaussianProcessRegressor(RBF(0.7), alpha=0.1, optimizer=None).fit(x[:22].numpy(), y.numpy())
    kernel = torch.exp(-0.5 * (torch.cdist(x, x[:22], compute_mode="donot_use_mm_for_euclid_dist") / 0.7) ** 2)
    prediction = solve(kernel[:22], y, diag_reg=0.1).predict(kernel[22:])
    np.testing.assert_allclose(prediction[:, 0].numpy(), process.predict(x[22:].numpy()), rtol=0, atol=1e-10)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), power=st.integers(-60, 60), diag_reg=st.sampled_from([0.0, 1e-4, 0.5]))
def test_order_and_units_do_not_matter(problem, seed, power, diag_reg):
    gram, y, k_eval, _ = problem
    plain = solve(gram, y, diag_reg=diag_reg).predict(k_eval)
    order, unit = torch.randperm(N, generator=torch.Generator().manual_seed(seed)), 10.0**power
    other = solve(unit * gram[order][:, order], y[order], diag_reg=diag_reg)
    torch.testing.assert_close(other.predict(unit * k_eval[:, order]), plain, rtol=0, atol=1e-10)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(n=st.integers(1, N), diag_reg=st.sampled_from([0.0, 1e-4, 0.5]))
def test_a_nested_size_is_a_solve_of_its_own(problem, n, diag_reg):
    gram, y, k_eval, _ = problem
    nested = solve_nested(gram, y, k_eval, sizes=sorted({n, N}), diag_reg=diag_reg)
    single = solve(gram[:n, :n], y[:n], diag_reg=diag_reg)
    torch.testing.assert_close(nested.predictions[0], single.predict(k_eval[:, :n]), rtol=0, atol=1e-10)


def test_outputs_that_mix_are_one_system(full_problem):
    full, y, rows, jacobian = full_problem
    solution = solve(full, y)
    # The smallest change of the parameters that fits all targets, by least squares on the Jacobian itself.
    theta = np.linalg.lstsq(jacobian[:20].reshape(60, 80).numpy(), y.reshape(60).numpy(), rcond=None)[0]
    expected = jacobian[20:].numpy() @ theta
    assert solution.coefficients.shape == y.shape
    np.testing.assert_allclose(solution.predict(rows).numpy(), expected, rtol=0, atol=1e-10)
    nested = solve_nested(full, y, rows, sizes=[4, 20])
    np.testing.assert_allclose(nested.predictions[1].numpy(), expected, rtol=0, atol=1e-10)
    small = solve(full[:4, :4], y[:4]).predict(rows[:, :4])
    torch.testing.assert_close(nested.predictions[0], small, rtol=0, atol=1e-10)


def test_a_full_kernel_that_does_not_mix_is_the_kernel_of_each_output(problem):
    gram, y, k_eval, _ = problem
    identity = torch.eye(N_OUTPUTS, dtype=torch.float64)
    full, rows = (torch.einsum("ij,cd->ijcd", k, identity) for k in (gram, k_eval))
    expected = solve(gram, y, diag_reg=1e-2).predict(k_eval)
    torch.testing.assert_close(solve(full, y, diag_reg=1e-2).predict(rows), expected, rtol=0, atol=1e-10)


def test_single_precision_is_as_good_as_its_residual_says(problem):
    gram, y, k_eval, _ = problem
    exact, single = (
        solve(gram, y, diag_reg=1e-2, residual=False, dtype=dtype) for dtype in (torch.float64, torch.float32)
    )
    assert single.coefficients.dtype == torch.float32
    assert np.isnan(exact.report.residual)
    assert 1e-9 < single.report.residual < 1e-5
    shifted = gram + 0.025 * torch.eye(N, dtype=torch.float64)
    misfit = shifted @ single.coefficients.double() - y
    assert single.report.residual == pytest.approx(float(misfit.norm() / y.norm()), rel=1e-6)
    torch.testing.assert_close(single.predict(k_eval).double(), exact.predict(k_eval), rtol=0, atol=1e-4)


def test_single_precision_serves_nested_sizes_and_always_reports(problem):
    gram, y, k_eval, _ = problem
    exact = solve_nested(gram, y, k_eval, sizes=[7, 20, N], diag_reg=1e-2)
    single = solve_nested(
        gram.float(), y, k_eval, sizes=[7, 20, N], diag_reg=1e-2, residuals=False, dtype=torch.float32
    )
    assert single.predictions.dtype == torch.float32
    torch.testing.assert_close(single.predictions.double(), exact.predictions, rtol=0, atol=1e-4)
    assert all(1e-9 < report.residual < 1e-5 for report in single.reports)
    assert all(report.residual < 1e-14 for report in exact.reports)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_duplicate_is_jittered_and_reported(problem, dtype):
    gram, y, _, _ = problem
    copies = torch.arange(N)
    copies[24] = 3
    solution = solve(gram[copies][:, copies], y, jitter=1e-9, dtype=dtype)
    assert solution.report.status == Status.JITTERED
    if dtype == torch.float64:
        assert solution.report.jitter == pytest.approx(1e-9, rel=1e-9)
    else:  # below a millionth, jitter is lost in rounding
        assert 0.99e-6 < solution.report.jitter < 1.01 * MAX_JITTER_FLOAT32
    assert solution.coefficients.isfinite().all()


def test_a_difference_below_single_precision_is_jittered_only_there(problem):
    gram, y, _, x = problem
    x = x[:N].clone()
    x[30] = x[4] + 1e-9
    gram = torch.exp(-torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"))
    statuses = [solve(gram, y, dtype=dtype).report.status for dtype in (torch.float64, torch.float32)]
    assert statuses == [Status.CONVERGED, Status.JITTERED]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "gram",
    [torch.full((4, 4), torch.nan), -torch.eye(4), torch.zeros(4, 4), torch.diag(torch.tensor([1.0, 1, 1, -1e-2]))],
    ids=["nan", "negative", "zero", "indefinite"],
)
def test_what_cannot_be_solved_is_a_status(gram, dtype):
    solution = solve(gram, torch.ones(4, 2), dtype=dtype)
    assert solution.report.status == Status.SINGULAR
    assert np.isnan([solution.report.jitter, solution.report.residual]).all()
    assert solution.coefficients.isnan().all()
    assert solution.coefficients.shape == (4, 2)


def test_the_name_of_the_package_is_the_function():
    assert regression.solve is solve


def test_the_given_kernel_is_left_untouched(problem):
    gram, y, k_eval, _ = problem
    before = gram.clone()
    solve(gram, y, diag_reg=0.1)
    solve_nested(gram, y, k_eval, sizes=[5, N], diag_reg=0.1)
    assert torch.equal(gram, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": torch.ones(4, 5)}, r"k_train_train has shape \(4, 5\), expected \(n_train = 4, n_train = 4\)"),
        ({"gram": torch.ones(4, 4, 2)}, r"k_train_train has shape \(4, 4, 2\), expected \(n_train, n_train\)"),
        ({"gram": torch.ones(4, 4, 2, 3)}, r"k_train_train has shape .*, n_outputs = 3, n_outputs = 3\)"),
        ({"y": torch.ones(3, 1)}, r"y_train has shape \(3, 1\), expected \(n_train = 4, n_outputs\)"),
        ({"gram": torch.ones(4, 4, 2, 2)}, r"y_train has shape \(4, 1\), expected \(n_train = 4, n_outputs = 2\)"),
        ({"dtype": torch.float16}, r"dtype is torch.float16, but systems are solved in torch.float64 or"),
        ({"k_eval": torch.ones(2, 5)}, r"k_eval_train has shape \(2, 5\), expected \(n_eval, n_train = 4\)"),
        ({"y": torch.full((4, 1), torch.nan)}, r"y_train, of shape \(4, 1\), has 4 entries that are NaN"),
    ],
)
def test_wrong_input_is_named(change, message):
    a = {"gram": torch.eye(4), "y": torch.ones(4, 1), "k_eval": torch.ones(3, 4), "dtype": torch.float64} | change
    with pytest.raises(ValueError, match=message):
        solve(a["gram"], a["y"], dtype=a["dtype"]).predict(a["k_eval"])
