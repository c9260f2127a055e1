"""Both ridge policies at all sizes: choices, reports, offsets, failures."""

import numpy as np
import pytest
import scipy.linalg
import torch

from ntk_atlas import regression
from ntk_atlas.arrays import Status
from ntk_atlas.config import RegressionSettings
from ntk_atlas.folds import N_FOLDS
from ntk_atlas.regression import NestedRegression, regress_around, regress_nested
from ntk_atlas.streams import torch_stream

N, N_VALIDATION, N_TEST = 70, 40, 30
SIZES = (8, 33, 70)
GRID = (1e-4, 1e-2, 1.0, 10.0)
ZERO, TUNED = 0, 1


def numbers(result: NestedRegression) -> dict:
    """All arrays of a regression but predictions, which are kept only where asked for."""
    return {name: values for name, values in vars(result).items() if values is not None}


def arguments(n_classes: int | None = 3, **change) -> dict:
    """A noisy problem, so that ridges matter; `n_classes` None is regression data with one output."""
    generator = torch_stream("regress", str(n_classes))
    x = torch.randn(N + N_VALIDATION + N_TEST, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(x), generator=generator, dtype=torch.float64)
    score = x[:, 0] + 0.7 * noise
    labels = None
    if n_classes is None:
        y = score[:, None]
    elif n_classes == 2:
        labels = (score > 0).long()
        y = 2.0 * labels[:, None].double() - 1
    else:
        labels = torch.bucketize(score, torch.tensor([-0.5, 0.5], dtype=torch.float64))
        y = torch.nn.functional.one_hot(labels, 3).double() - 1 / 3
    kernel = 1.7 * torch.exp(-torch.cdist(x, x[:N], compute_mode="donot_use_mm_for_euclid_dist"))
    k_train, k_validation, k_test = kernel.split([N, N_VALIDATION, N_TEST])
    y_train, y_validation, y_test = y.split([N, N_VALIDATION, N_TEST])
    return {
        "k_train_train": k_train, "k_validation_train": k_validation, "k_test_train": k_test,
        "y_train": y_train, "y_validation": y_validation, "y_test": y_test,
        "test_labels": None if labels is None else labels[-N_TEST:],
        "sizes": SIZES, "settings": RegressionSettings(ridge_grid=GRID),
    } | change  # fmt: skip


def predict(a: dict, rows: str, n: int, diag_reg: float) -> np.ndarray:
    """Slow twin: a dense solve of one size and ridge."""
    gram, y = a["k_train_train"][:n, :n].numpy(), a["y_train"][:n].numpy()
    ridge = diag_reg * a["k_train_train"].diagonal().mean().item()
    return a[rows][:, :n].numpy() @ scipy.linalg.solve(gram + ridge * np.eye(n), y, assume_a="pos")


def mse(prediction: np.ndarray, y: torch.Tensor) -> float:
    return float(np.mean((prediction - y.numpy()) ** 2))


def leave_one_out(a: dict, n: int, diag_reg: float) -> float:
    """Slow twin: n refits."""
    gram, y = a["k_train_train"][:n, :n].numpy(), a["y_train"][:n].numpy()
    ridge, squares = diag_reg * a["k_train_train"].diagonal().mean().item(), []
    for i in range(n):
        kept = np.delete(np.arange(n), i)
        block = gram[np.ix_(kept, kept)] + ridge * np.eye(n - 1)
        squares.append((gram[i, kept] @ np.linalg.solve(block, y[kept]) - y[i]) ** 2)
    return float(np.mean(squares))


def assert_same(one: NestedRegression, other: NestedRegression, *, but: tuple[str, ...] = ()) -> None:
    for name, values in numbers(one).items():
        if name not in but:
            np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


@pytest.mark.parametrize("rule", ["validation", "leave_one_out"])
@pytest.mark.parametrize("n_classes", [None, 2, 3])
def test_errors_and_choices_equal_those_of_separate_dense_solves(rule, n_classes):
    a = arguments(n_classes, settings=RegressionSettings(ridge_grid=GRID, select_ridge=rule))
    result = regress_nested(**a)
    for position, n in enumerate(SIZES):
        if rule == "validation":
            scores = [mse(predict(a, "k_validation_train", n, r), a["y_validation"]) for r in GRID]
        else:
            scores = [leave_one_out(a, n, r) for r in GRID]
        for policy, ridge in ((ZERO, 0.0), (TUNED, GRID[int(np.argmin(scores))])):
            at_test = predict(a, "k_test_train", n, ridge)
            assert result.diag_reg[policy, position] == ridge
            assert result.test_mse[policy, position] == pytest.approx(mse(at_test, a["y_test"]), rel=1e-10)
            expected = mse(predict(a, "k_validation_train", n, ridge), a["y_validation"])
            assert result.validation_mse[policy, position] == pytest.approx(expected, rel=1e-10)
            if n_classes is None:
                assert np.isnan(result.test_error[policy, position])
            else:
                labels = a["test_labels"].numpy()
                classes = (at_test[:, 0] > 0) if n_classes == 2 else at_test.argmax(1)
                assert result.test_error[policy, position] == np.mean(classes != labels)


def test_the_problem_tells_sizes_and_rules_apart():
    by_validation = regress_nested(**arguments()).diag_reg[TUNED]
    loo = RegressionSettings(ridge_grid=GRID, select_ridge="leave_one_out")
    by_leave_one_out = regress_nested(**arguments(settings=loo)).diag_reg[TUNED]
    assert len(set(by_validation)) == len(SIZES)
    assert (by_validation != by_leave_one_out).any()


def test_reports_describe_the_matrix_that_was_solved():
    a = arguments()
    result = regress_nested(**a)
    scale = a["k_train_train"].diagonal().mean().item()
    for position, n in enumerate(SIZES):
        for policy in (ZERO, TUNED):
            shift = result.diag_reg[policy, position] * scale
            eigenvalues = np.linalg.eigvalsh(a["k_train_train"][:n, :n].numpy() + shift * np.eye(n))
            assert result.lambda_min[policy, position] == pytest.approx(eigenvalues[0], rel=1e-10)
            assert result.condition_number[policy, position] == pytest.approx(
                eigenvalues[-1] / eigenvalues[0], rel=1e-10
            )
    assert (result.residual < 1e-13).all()
    assert (result.jitter == 0).all()
    assert (result.status == Status.CONVERGED).all()
    assert result.status.dtype == np.int8
    assert NestedRegression.RIDGE_POLICIES == ("zero", "tuned")
    assert result.test_predictions is None, "kept only where asked for"
    shapes = {name: values.shape for name, values in numbers(result).items()}
    assert shapes.pop("test_mse_folds") == (2, len(SIZES), N_FOLDS)
    assert set(shapes.values()) == {(2, len(SIZES))}


@pytest.mark.parametrize("rule", ["validation", "leave_one_out"])
def test_the_choice_never_sees_test_data(rule):
    settings = RegressionSettings(ridge_grid=GRID, select_ridge=rule)
    a = arguments(settings=settings)
    result = regress_nested(**a)
    other = regress_nested(
        **a | {"k_test_train": -3 * a["k_test_train"][:5], "y_test": a["y_test"][5:10], "test_labels": None}
    )
    assert_same(result, other, but=("test_mse", "test_error", "test_mse_folds"))
    assert not np.isclose(result.test_mse, other.test_mse).any()
    broken = regress_nested(**a | {"k_test_train": torch.full_like(a["k_test_train"], torch.nan)})
    np.testing.assert_array_equal(broken.status, Status.SINGULAR)


def test_leave_one_out_does_not_need_validation_samples_and_validation_does():
    a = arguments()
    empty = {"k_validation_train": torch.zeros(0, N), "y_validation": torch.zeros(0, 3)}
    loo = RegressionSettings(ridge_grid=GRID, select_ridge="leave_one_out")
    result = regress_nested(**a | empty | {"settings": loo})
    assert np.isnan(result.validation_mse).all()
    assert_same(result, regress_nested(**a | {"settings": loo}), but=("validation_mse",))
    with pytest.raises(ValueError, match=r"y_validation has shape \(0, 3\), but `select_ridge: validation`"):
        regress_nested(**a | empty)


def test_an_offset_is_regressed_around_and_added_back():
    a = arguments()
    generator = torch_stream("offset")
    offset = tuple(
        torch.randn(len(a[name]), 3, generator=generator, dtype=torch.float64)
        for name in ("y_train", "y_validation", "y_test")
    )
    result = regress_nested(**a, offset=offset)
    names = ("y_train", "y_validation", "y_test")
    shifted = regress_nested(**a | {name: a[name] - f for name, f in zip(names, offset, strict=True)})
    for name in ("test_mse", "validation_mse", "diag_reg", "residual", "lambda_min"):
        np.testing.assert_allclose(getattr(result, name), getattr(shifted, name), rtol=1e-9, err_msg=name)
    at_test = offset[2].numpy() + predict(a | {"y_train": a["y_train"] - offset[0]}, "k_test_train", 33, 0.0)
    assert result.test_error[ZERO, 1] == np.mean(at_test.argmax(1) != a["test_labels"].numpy())


def test_regressions_around_several_offsets_are_those_around_each():
    a = arguments()
    offset = tuple(
        torch.randn(len(a[name]), 3, generator=torch_stream("several", name), dtype=torch.float64)
        for name in ("y_train", "y_validation", "y_test")
    )
    lost = (torch.full_like(offset[0], torch.nan), *offset[1:])
    for offsets in ([None, offset], [None, lost, offset]):
        for found, alone in zip(regress_around(**a, offsets=offsets), offsets, strict=True):
            expected = numbers(regress_nested(**a, offset=alone))
            for name, values in numbers(found).items():
                if name != "residual":  # of the system of all of them
                    np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-14, err_msg=name)


def test_an_infinite_ridge_predicts_the_offset():
    a = arguments(settings=RegressionSettings(ridge_grid=(1e15,)))
    offset = (torch.zeros(N, 3), torch.full((N_VALIDATION, 3), 0.3), torch.full((N_TEST, 3), -0.2))
    result = regress_nested(**a, offset=offset)
    expected = float(((a["y_test"] + 0.2) ** 2).mean())
    np.testing.assert_allclose(result.test_mse[TUNED], expected, rtol=1e-6)
    assert regress_nested(**a).test_mse[TUNED] == pytest.approx(float((a["y_test"] ** 2).mean()), rel=1e-10)


def test_a_network_that_interpolates_leaves_nothing_to_regress():
    a = arguments()
    offset = (a["y_train"], a["y_validation"] + 1.0, a["y_test"] + 2.0)
    result = regress_nested(**a, offset=offset)
    np.testing.assert_allclose(result.test_mse, 4.0, rtol=1e-14)
    assert (result.residual == 0).all()


def test_a_single_size_equals_the_last_of_many_on_every_size():
    a = arguments(None)
    for n in (1, 33, 70):
        single = regress_nested(**a | {"sizes": [n]})
        block = {name: a[name][:, :n] for name in ("k_validation_train", "k_test_train")}
        cut = regress_nested(
            **a | block | {"k_train_train": a["k_train_train"][:n, :n], "y_train": a["y_train"][:n], "sizes": [n]}
        )
        for name, values in numbers(single).items():
            np.testing.assert_allclose(values, getattr(cut, name), rtol=1e-11, atol=1e-14, err_msg=name)
    many = regress_nested(**a)
    for name, values in numbers(many).items():
        np.testing.assert_allclose(values[:, -1:], getattr(single, name), rtol=1e-9, atol=1e-13, err_msg=name)


def test_a_duplicate_is_reported_from_the_size_where_it_enters_and_only_at_zero_ridge():
    a = arguments()
    copies = torch.arange(N)
    copies[32] = 5
    a |= {
        "k_train_train": a["k_train_train"][copies][:, copies],
        "k_validation_train": a["k_validation_train"][:, copies],
        "k_test_train": a["k_test_train"][:, copies],
        "sizes": (8, 32, 33, 70),
        "settings": RegressionSettings(ridge_grid=GRID, jitter=1e-10),
    }
    result = regress_nested(**a)
    jittered = Status.JITTERED
    np.testing.assert_array_equal(result.status, [[0, 0, jittered, jittered], [0, 0, 0, 0]])
    np.testing.assert_array_equal(result.jitter, [[0, 0, 1e-10, 1e-10], [0, 0, 0, 0]])
    assert (result.diag_reg[ZERO] == 0).all()
    scale = a["k_train_train"].diagonal().mean().item()
    np.testing.assert_allclose(result.lambda_min[ZERO, 2:], 1e-10 * scale, rtol=1e-3)
    assert (result.condition_number[ZERO, 2:] > 1e10).all()
    assert np.isfinite(result.test_mse).all()


@pytest.mark.parametrize("rule", ["validation", "leave_one_out"])
@pytest.mark.parametrize(
    "broken",
    [torch.full((N, N), torch.nan), torch.full((N, N), torch.inf), torch.zeros(N, N), -torch.eye(N)],
    ids=["nan", "inf", "zero", "negative"],
)
def test_when_every_solve_fails_there_are_statuses_and_nan_but_no_exception(broken, rule):
    settings = RegressionSettings(ridge_grid=GRID, select_ridge=rule)
    result = regress_nested(**arguments(k_train_train=broken, settings=settings))
    np.testing.assert_array_equal(result.status, Status.SINGULAR)
    for name in ("test_mse", "test_mse_folds", "test_error", "validation_mse", "jitter", "residual"):
        assert np.isnan(getattr(result, name)).all(), name
    np.testing.assert_array_equal(result.diag_reg, [[0.0] * 3, [np.nan] * 3])
    if not broken.isfinite().all():
        assert np.isnan(result.lambda_min).all()
        assert np.isnan(result.condition_number).all()
    else:
        np.testing.assert_allclose(result.lambda_min, broken[0, 0].item())
        assert np.isinf(result.condition_number).all()


def test_an_indefinite_kernel_is_served_where_it_can_be():
    a = arguments()
    gram = a["k_train_train"].clone()
    gram[40, 40] = -0.2
    result = regress_nested(**a | {"k_train_train": gram})
    singular, fine = Status.SINGULAR, Status.CONVERGED
    np.testing.assert_array_equal(result.status, [[fine, fine, singular], [fine, fine, fine]])
    assert result.diag_reg[TUNED, 2] >= 1.0
    assert result.lambda_min[ZERO, 2] < 0
    assert np.isinf(result.condition_number[ZERO, 2])


def test_a_network_whose_outputs_are_not_finite_is_singular():
    a = arguments()
    offset = [torch.zeros(len(a[name]), 3) for name in ("y_train", "y_validation", "y_test")]
    offset[0][50] = torch.nan
    result = regress_nested(**a, offset=tuple(offset))
    singular = Status.SINGULAR
    np.testing.assert_array_equal(result.status, [[0, 0, singular], [0, 0, singular]])
    offset[2][:] = torch.nan
    assert (regress_nested(**a, offset=tuple(offset)).status == singular).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_train_train": torch.ones(N, N + 1)}, r"k_validation_train has shape \(40, 70\), expected .* = 71"),
        ({"k_test_train": torch.ones(N_TEST, 9)}, r"k_test_train has shape \(30, 9\), expected .*n_train = 70"),
        ({"y_train": torch.ones(9, 3)}, r"y_train has shape \(9, 3\), expected \(n_train = 70, n_outputs\)"),
        ({"y_validation": torch.ones(40, 2)}, r"y_validation has shape \(40, 2\), expected \(n_validation = 40, n_out"),
        ({"y_test": torch.full((N_TEST, 3), torch.nan)}, r"y_test, of shape \(30, 3\), has 90 entries that are NaN"),
        ({"y_train": torch.full((N, 3), torch.inf)}, r"y_train, of shape \(70, 3\), has 210 entries .* must be finite"),
        ({"test_labels": torch.zeros(4)}, r"test_labels has shape \(4,\), expected \(n_test = 30\)"),
        ({"sizes": (8, 71)}, r"sizes is \[8, 71\], expected strictly increasing .* the 70 rows"),
        ({"offset": (torch.zeros(N, 3),)}, r"offset has 1 parts, expected three"),
        ({"offset": [torch.zeros(n, 1) for n in (N, 40, 30)]}, r"offset on train samples has shape \(70, 1\)"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        regress_nested(**arguments(**change))


def test_public_names_are_found_lazily():
    assert regression.regress_nested is regress_nested
    with pytest.raises(AttributeError, match="no attribute 'regress'"):
        regression.__getattr__("regress")
