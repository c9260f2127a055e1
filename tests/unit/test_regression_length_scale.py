"""Length scale and ridge chosen together, against a loop over regressions with fixed kernels."""

import numpy as np
import pytest
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.config import RegressionSettings
from ntk_atlas.kernels import distances, median_distance, rival
from ntk_atlas.regression import DuplicateSamplesError, NestedRegression, RivalRegression, regress_nested, regress_rival
from ntk_atlas.streams import torch_stream

N, N_VALIDATION, N_TEST = 60, 30, 25
SIZES = (6, 25, 60)
SCALES = (0.25, 1.0, 4.0)
GRID = (1e-3, 0.1, 3.0)


def settings(rule: str = "validation", **change) -> RegressionSettings:
    return RegressionSettings(ridge_grid=GRID, length_scales=SCALES, select_ridge=rule, **change)


def arguments(**change) -> dict:
    generator = torch_stream("length scale")
    x = torch.randn(N + N_VALIDATION + N_TEST, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(x), 1, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x[:, :1]) + 0.3 * noise
    names = ("train", "validation", "test")
    parts = (N, N_VALIDATION, N_TEST)
    return (
        {f"x_{name}": part for name, part in zip(names, x.split(parts), strict=True)}
        | {f"y_{name}": part for name, part in zip(names, y.split(parts), strict=True)}
        | {"sizes": SIZES, "settings": settings()}
        | change
    )


def regress_at(name: str, a: dict, factor: float, **change) -> NestedRegression:
    """One length scale, by `regress_nested`."""
    length = factor * median_distance(a["x_train"])
    kernels = [rival(name)(a[f"x_{rows}"], a["x_train"], length) for rows in ("train", "validation", "test")]
    targets = {key: a[key] for key in ("y_train", "y_validation", "y_test", "sizes", "settings")}
    return regress_nested(*kernels, **targets | change)


@pytest.mark.parametrize("name", ["laplace", "matern_3_2", "matern_5_2", "rbf"])
def test_by_validation_the_best_pair_of_each_policy_is_chosen(name):
    a = arguments()
    result = regress_rival(rival(name), **a)
    each = [regress_at(name, a, factor) for factor in SCALES]
    scores = np.stack([r.validation_mse for r in each])
    best = scores.argmin(axis=0)
    np.testing.assert_array_equal(result.length_scale, np.array(SCALES)[best])
    for field in (name for name, values in vars(each[0]).items() if values is not None):
        of_scales = np.stack([getattr(r, field) for r in each])
        at = best.reshape(1, *best.shape, *[1] * (of_scales.ndim - best.ndim - 1))
        expected = np.take_along_axis(of_scales, at, axis=0)[0]
        np.testing.assert_allclose(getattr(result, field), expected, rtol=1e-6, atol=1e-9, err_msg=field)


def test_by_leave_one_out_the_pair_is_the_one_with_the_lowest_refit_error():
    a = arguments(settings=settings("leave_one_out"))
    result = regress_rival(rival("laplace"), **a)
    between, median = distances(a["x_train"]).numpy(), median_distance(a["x_train"])
    y = a["y_train"].numpy()
    for position, n in enumerate(SIZES):
        scores = np.zeros((len(SCALES), 1 + len(GRID)))
        for index in np.ndindex(scores.shape):
            gram = np.exp(-between[:n, :n] / (SCALES[index[0]] * median))
            inverse = np.linalg.inv(gram + (0.0, *GRID)[index[1]] * np.eye(n))
            scores[index] = np.mean((inverse @ y[:n] / np.diag(inverse)[:, None]) ** 2)
        assert result.length_scale[0, position] == SCALES[scores[:, 0].argmin()]
        factor, ridge = np.unravel_index(scores[:, 1:].argmin(), scores[:, 1:].shape)
        assert (result.length_scale[1, position], result.diag_reg[1, position]) == (SCALES[factor], GRID[ridge])


@pytest.mark.parametrize("rule", ["validation", "leave_one_out"])
def test_test_data_change_neither_ridge_nor_length_scale(rule):
    a = arguments(settings=settings(rule))
    result = regress_rival(rival("matern_5_2"), **a)
    other = regress_rival(rival("matern_5_2"), **a | {"x_test": a["x_test"] + 2.0, "y_test": -a["y_test"]})
    for name in ("diag_reg", "length_scale", "validation_mse", "jitter", "lambda_min", "status"):
        np.testing.assert_array_equal(getattr(result, name), getattr(other, name), err_msg=name)
    assert not np.isclose(result.test_mse, other.test_mse).any()


def test_units_of_the_inputs_do_not_matter():
    a = arguments()
    scaled = {name: 1024.0 * a[name] for name in ("x_train", "x_validation", "x_test")}
    one, other = regress_rival(rival("laplace"), **a), regress_rival(rival("laplace"), **a | scaled)
    np.testing.assert_array_equal(one.length_scale, other.length_scale)
    np.testing.assert_allclose(one.test_mse, other.test_mse, rtol=1e-10)


def test_a_nearly_singular_length_scale_is_a_status_not_an_exception():
    a = arguments(settings=RegressionSettings(ridge_grid=GRID, length_scales=(1e6,)))
    result = regress_rival(rival("rbf"), **a)
    assert (result.status[0, 1:] == Status.JITTERED).all()
    assert (result.jitter[0, 1:] > 0).all()
    assert (result.status[1] == Status.CONVERGED).all()
    assert isinstance(result, RivalRegression)


def test_the_likelihood_of_the_jitter_chooses_no_length_scale():
    a = arguments(
        settings=RegressionSettings(
            ridge_grid=GRID, length_scales=(0.1, 1e6), select_ridge="marginal_likelihood", jitter=1e-12
        )
    )
    result = regress_rival(rival("rbf"), **a)
    assert (result.length_scale[0] == 0.1).all() and (result.status[0] == Status.CONVERGED).all()


def test_only_the_largest_training_set_defines_the_unit():
    a = arguments()
    more = {
        "x_train": torch.cat([a["x_train"], 100 + a["x_train"]]),
        "y_train": torch.cat([a["y_train"], a["y_train"]]),
    }
    one, other = regress_rival(rival("laplace"), **a), regress_rival(rival("laplace"), **a | more)
    np.testing.assert_array_equal(one.test_mse, other.test_mse)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": torch.zeros(3, 1)}, r"y_train has shape \(3, 1\), expected \(n_train = 60, n_outputs\)"),
        ({"sizes": (6, 61)}, r"sizes is \[6, 61\]"),
        ({"x_train": torch.zeros(N, 2)}, r"x_train, of shape \(60, 2\), has median distance 0"),
        ({"y_test": torch.full((N_TEST, 1), torch.nan)}, "y_test.* has 25 entries that are NaN"),
    ],
)
def test_wrong_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        regress_rival(rival("laplace"), **arguments(**change))


def test_duplicates_are_a_status_or_an_error_as_one_likes():
    a = arguments()
    a["x_train"][3] = a["x_train"][1]
    result = regress_rival(rival("laplace"), **a)
    assert (result.status[0] == Status.JITTERED).all()
    with pytest.raises(DuplicateSamplesError, match=r"x_train has 1 of 60 samples .* \(indices 3 = 1\)"):
        regress_rival(rival("laplace"), **a, allow_duplicates=False)
