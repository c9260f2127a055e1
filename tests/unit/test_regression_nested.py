"""Nested solves: every size equals a solve of its own, and failure stays with the sizes it concerns."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge

from ntk_atlas.arrays import Status
from ntk_atlas.regression import SolveReport, nested_coefficients, solve_nested
from ntk_atlas.streams import torch_stream

N, N_EVAL, N_OUTPUTS = 60, 15, 3


def laplace(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Kernel with a diagonal of 2.5, so that relative and absolute ridges differ."""
    return 2.5 * torch.exp(-torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"))


@pytest.fixture(scope="module")
def problem():
    generator = torch_stream("nested problem")
    x = torch.randn(N + N_EVAL, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(N, N_OUTPUTS, generator=generator, dtype=torch.float64)
    return laplace(x[:N], x[:N]), y, laplace(x[N:], x[:N])


def dense_solve(gram, y, k_eval, n, ridge):
    """Slow twin: a dense solve by scipy for one size, with an absolute ridge."""
    block = gram[:n, :n].numpy() + ridge * np.eye(n)
    return k_eval[:, :n].numpy() @ scipy.linalg.solve(block, y[:n].numpy(), assume_a="pos")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=st.sets(st.integers(1, N), min_size=1, max_size=12),
    diag_reg=st.sampled_from([0.0, 1e-6, 1e-2, 10.0]),
    residuals=st.booleans(),
)
def test_every_set_of_sizes_equals_separate_solves(problem, sizes, diag_reg, residuals):
    gram, y, k_eval = problem
    sizes = sorted(sizes)
    solution = solve_nested(gram, y, k_eval, sizes=sizes, diag_reg=diag_reg, residuals=residuals)
    ridge = diag_reg * float(gram.diagonal()[: sizes[-1]].mean())
    expected = np.stack([dense_solve(gram, y, k_eval, n, ridge) for n in sizes])
    np.testing.assert_allclose(solution.predictions.numpy(), expected, rtol=0, atol=1e-10)
    assert [report.status for report in solution.reports] == [Status.CONVERGED] * len(sizes)
    assert all(np.isnan(report.residual) != residuals for report in solution.reports)


@pytest.mark.parametrize("diag_reg", [1e-4, 1.0])
def test_sklearn_agrees(problem, diag_reg):
    gram, y, k_eval = problem
    alpha = diag_reg * float(gram.diagonal().mean())
    sklearn = KernelRidge(alpha=alpha, kernel="precomputed").fit(gram.numpy(), y.numpy())
    solution = solve_nested(gram, y, k_eval, sizes=[N], diag_reg=diag_reg)
    np.testing.assert_allclose(solution.predictions[0].numpy(), sklearn.predict(k_eval.numpy()), rtol=0, atol=1e-10)


def test_the_ridge_is_relative_to_the_mean_diagonal_of_the_largest_size(problem):
    gram, y, k_eval = problem
    gram = gram.clone()
    gram.diagonal()[30:] += 4.0
    solution = solve_nested(gram, y, k_eval, sizes=[10, 40], diag_reg=0.1)
    ridge = 0.1 * float(gram.diagonal()[:40].mean())
    for n, prediction in zip([10, 40], solution.predictions, strict=True):
        np.testing.assert_allclose(prediction.numpy(), dense_solve(gram, y, k_eval, n, ridge), rtol=0, atol=1e-10)


def test_zero_ridge_interpolates_the_training_set(problem):
    gram, y, _ = problem
    solution = solve_nested(gram, y, gram, sizes=[20, N])
    for n, prediction in zip([20, N], solution.predictions, strict=True):
        torch.testing.assert_close(prediction[:n], y[:n], rtol=0, atol=1e-10)
    assert (solution.predictions[0][20:] - y[20:]).abs().max() > 0.1


def test_an_infinite_ridge_predicts_zero(problem):
    gram, y, k_eval = problem
    solution = solve_nested(gram, y, k_eval, sizes=[5, N], diag_reg=1e14)
    assert solution.predictions.abs().max() < 1e-11


def test_the_order_of_samples_does_not_matter_at_full_size(problem):
    gram, y, k_eval = problem
    order = torch.randperm(N, generator=torch_stream("order"))
    there = solve_nested(gram, y, k_eval, sizes=[N], diag_reg=1e-3)
    here = solve_nested(gram[order][:, order], y[order], k_eval[:, order], sizes=[N], diag_reg=1e-3)
    torch.testing.assert_close(here.predictions, there.predictions, rtol=0, atol=1e-10)


@pytest.mark.parametrize("power", [-150, 150])
def test_predictions_do_not_depend_on_the_units_of_the_kernel(problem, power):
    gram, y, k_eval = problem
    unit = 2.0**power
    plain = solve_nested(gram, y, k_eval, sizes=[7, N], diag_reg=1e-3)
    scaled = solve_nested(unit * gram, y, unit * k_eval, sizes=[7, N], diag_reg=1e-3)
    assert torch.equal(plain.predictions, scaled.predictions)


def test_float32_kernels_are_solved_in_float64(problem):
    gram, y, k_eval = (tensor.float() for tensor in problem)
    solution = solve_nested(gram, y, k_eval, sizes=[N], diag_reg=1e-3)
    exact = dense_solve(gram.double(), y.double(), k_eval.double(), N, 1e-3 * float(gram.diagonal().mean()))
    np.testing.assert_allclose(solution.predictions[0].numpy(), exact, rtol=0, atol=1e-10)


def test_residual_is_that_of_the_system_solved(problem):
    gram, y, k_eval = problem
    solution = solve_nested(gram, y, k_eval, sizes=[10, N], diag_reg=1e-2)
    assert all(0 < report.residual < 1e-13 for report in solution.reports)
    silent = solve_nested(gram, torch.zeros_like(y), k_eval, sizes=[N])
    assert silent.reports[0].residual == 0.0


@pytest.mark.parametrize("residuals", [True, False])
def test_a_duplicate_is_jittered_from_the_size_where_it_enters_and_clean_below(problem, residuals):
    gram, y, k_eval = problem
    copies = torch.arange(N)
    copies[24] = 3
    solution = solve_nested(
        gram[copies][:, copies], y, k_eval[:, copies], sizes=[10, 24, 25, 60], residuals=residuals, jitter=1e-9
    )
    assert [report.status for report in solution.reports] == [0, 0, Status.JITTERED, Status.JITTERED]
    assert [report.jitter for report in solution.reports] == [0.0, 0.0, 1e-9, 1e-9]
    for position, n in enumerate([10, 24]):
        np.testing.assert_allclose(
            solution.predictions[position].numpy(), dense_solve(gram, y, k_eval, n, 0.0), rtol=0, atol=1e-10
        )
    # In the limit, two samples at one place are one sample with their mean target.
    merged = y[:24].clone()
    merged[3] = (y[3] + y[24]) / 2
    expected = dense_solve(gram, merged, k_eval, 24, 0.0)
    np.testing.assert_allclose(solution.predictions[2].numpy(), expected, rtol=0, atol=1e-5)


def test_more_samples_than_parameters_are_jittered_and_give_the_least_squares_solution():
    generator = torch_stream("rank")
    features = torch.randn(90, 30, generator=generator, dtype=torch.float64)
    y = torch.randn(80, 2, generator=generator, dtype=torch.float64)
    gram, k_eval = features[:80] @ features[:80].T, features[80:] @ features[:80].T
    solution = solve_nested(gram, y, k_eval, sizes=[20, 30, 31, 80], jitter=1e-10)
    assert [report.status for report in solution.reports] == [0, 0, Status.JITTERED, Status.JITTERED]
    weights = np.linalg.lstsq(features[:80].numpy(), y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(solution.predictions[3].numpy(), features[80:].numpy() @ weights, rtol=0, atol=1e-4)


def test_each_size_gets_the_smallest_jitter_that_helps_it():
    gram = torch.eye(6, dtype=torch.float64)
    gram[2, 2] = -5e-10
    gram[4, 4] = -5e-8
    gram[5, 5] = -1e-2
    y, scale = torch.ones(6, 1, dtype=torch.float64), float(gram.diagonal().mean())
    solution = solve_nested(gram, y, gram, sizes=[2, 3, 4, 5, 6], jitter=1e-11)
    statuses = [Status.CONVERGED, *[Status.JITTERED] * 3, Status.SINGULAR]
    assert [report.status for report in solution.reports] == statuses
    jitters = [report.jitter for report in solution.reports]
    # Relative to the mean diagonal, which is 0.498: 5e-10 needs more than 1.004e-9.
    assert scale == pytest.approx(0.498333, rel=1e-5)
    assert jitters[:4] == pytest.approx([0.0, 1e-8, 1e-8, 1e-6], rel=1e-9)
    assert np.isnan(jitters[4])
    assert solution.predictions[4].isnan().all()
    assert solution.predictions[:4].isfinite().all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_kernel_that_is_not_finite_is_singular_at_every_size(problem, bad):
    gram, y, k_eval = problem
    gram = gram.clone()
    gram[2, 5] = gram[5, 2] = bad
    solution = solve_nested(gram, y, k_eval, sizes=[2, 10])
    assert [report.status for report in solution.reports] == [Status.SINGULAR] * 2
    assert solution.predictions.isnan().all()


def test_what_lies_beyond_the_largest_size_is_not_looked_at(problem):
    gram, y, k_eval = problem
    gram = gram.clone()
    gram[50:, :] = gram[:, 50:] = np.nan
    solution = solve_nested(gram, y, k_eval, sizes=[10, 50])
    assert [report.status for report in solution.reports] == [Status.CONVERGED] * 2


def test_a_prediction_that_is_not_finite_is_singular(problem):
    gram, y, k_eval = problem
    k_eval = k_eval.clone()
    k_eval[3, 20] = np.nan
    solution = solve_nested(gram, y, k_eval, sizes=[20, 21])
    assert [report.status for report in solution.reports] == [Status.CONVERGED, Status.SINGULAR]


def test_report_shifts_the_eigenvalues_by_ridge_and_jitter():
    report = SolveReport(0.5, 0.25, 0.0, Status.JITTERED).with_extremes(1.0, 9.0, scale=4.0)
    assert (report.lambda_min, report.condition_number) == (4.0, 3.0)
    singular = SolveReport(0.0, np.nan, np.nan, Status.SINGULAR).with_extremes(-1.0, 9.0, scale=4.0)
    assert (singular.lambda_min, singular.condition_number) == (-1.0, np.inf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": torch.ones(4, 5)}, r"k_train_train has shape \(4, 5\), expected \(n_train = 4, n_train = 4\)"),
        ({"gram": torch.ones(2, 4, 4)}, r"k_train_train has shape \(2, 4, 4\), expected \(n_train, n_train\)"),
        ({"y": torch.ones(4)}, r"y_train has shape \(4,\), expected \(n_train = 4, n_outputs\)"),
        ({"y": torch.ones(5, 1)}, r"y_train has shape \(5, 1\), expected \(n_train = 4, n_outputs\)"),
        ({"k_eval": torch.ones(4, 3)}, r"k_eval_train has shape \(4, 3\), expected \(n_eval, n_train = 4\)"),
        ({"sizes": [2, 2]}, r"sizes is \[2, 2\], expected strictly increasing sample counts between 1 and the 4"),
        ({"sizes": [0, 2]}, r"sizes is \[0, 2\]"),
        ({"sizes": [2, 5]}, r"sizes is \[2, 5\]"),
        ({"sizes": []}, r"sizes is \[\]"),
        ({"sizes": 2}, "sizes is 2, expected strictly increasing"),
        ({"sizes": "2"}, "sizes is '2', expected"),
        ({"sizes": [float("nan")]}, r"sizes is \[nan\]"),
        ({"sizes": ["2"]}, r"sizes is \['2'\]"),
        ({"sizes": [1.5]}, r"sizes is \[1.5\]"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    arguments = {"gram": torch.eye(4), "y": torch.ones(4, 1), "k_eval": torch.ones(3, 4), "sizes": [4]} | change
    with pytest.raises(ValueError, match=message):
        solve_nested(arguments["gram"], arguments["y"], arguments["k_eval"], sizes=arguments["sizes"])


@pytest.mark.parametrize(("n_eval", "n_outputs"), [(3, 2), (400, 1)])
def test_sizes_across_many_blocks_agree_between_both_routes_and_with_separate_solves(n_eval, n_outputs):
    generator = torch_stream("blocks", n_eval)
    x = torch.randn(600 + n_eval, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(600, n_outputs, generator=generator, dtype=torch.float64)
    gram, k_eval = laplace(x[:600], x[:600]), laplace(x[600:], x[:600])
    sizes = [1, 2, 255, 256, 257, 300, 511, 512, 513, 600]
    arguments = {"sizes": sizes, "diag_reg": 1e-4}
    with_residuals = solve_nested(gram, y, k_eval, **arguments)
    without = solve_nested(gram, y, k_eval, residuals=False, **arguments)
    torch.testing.assert_close(without.predictions, with_residuals.predictions, rtol=0, atol=1e-10)
    for position, n in enumerate(sizes):
        expected = dense_solve(gram, y, k_eval, n, 2.5e-4)
        np.testing.assert_allclose(with_residuals.predictions[position].numpy(), expected, rtol=0, atol=1e-10)
    assert max(report.residual for report in with_residuals.reports) < 1e-13


def test_coefficients_stop_at_their_size_and_solve_its_triangle():
    generator = torch_stream("triangle")
    lower = torch.randn(300, 300, generator=generator, dtype=torch.float64).tril(-1) / 40
    lower.diagonal().add_(1.0)
    whitened = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    alpha = nested_coefficients(lower, whitened, [5, 256, 290])
    assert alpha.shape == (290, 3, 2)
    for position, n in enumerate([5, 256, 290]):
        expected = scipy.linalg.solve_triangular(lower[:n, :n].T.numpy(), whitened[:n].numpy())
        np.testing.assert_allclose(alpha[:n, position].numpy(), expected, rtol=0, atol=1e-10)
        assert not alpha[n:, position].any()
