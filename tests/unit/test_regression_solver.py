"""`regression.solver`: products give what factors give, `auto` picks by memory, and a failed solve keeps its status."""

import numpy as np
import pytest
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.config import RegressionSettings, RivalSettings
from ntk_atlas.datasets import read_dataset
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.regress_infinite import regress_infinite
from ntk_atlas.jobs.regress_rivals import regress_rivals
from ntk_atlas.kernels import rival
from ntk_atlas.regression import regress_nested, regress_rival
from ntk_atlas.streams import torch_stream
from ntk_atlas.study import ConfigError, load_study

RIVALS = ("laplace", "linear", "rbf")
ERRORS = ("test_mse", "test_error", "validation_mse", "test_mse_folds", "test_predictions")


def experiment(**regression):
    config = {
        "dataset": {"source": "digits", "n_validation": 40, "n_test": 60},
        "grid": {"n_train": (6, 25, 40), "draws": 2, "depth": (2,), "width": (8,), "init_scale": (2.0,), "seeds": 1},
        "regression": {"ridge_grid": (1e-3, 1.0), "length_scales": (0.5, 2.0), "keep_predictions": True}
        | {"predictors": ("infinite_ntk", "nngp", *RIVALS)}
        | regression,
    }
    return load_study({"experiments": {"one": config}}).active()["one"]


def regressions(**regression):
    """The arrays of a tiny study's infinite kernels and rivals by `<field>_<predictor>`, ridge first."""
    settings = experiment(**regression)
    dataset = read_dataset(settings.dataset)
    found = (
        regress_infinite(job_slice("regress_infinite", settings, "2.0"), dataset),
        regress_rivals(job_slice("regress_rivals", settings, "+".join(RIVALS)), dataset),
    )
    arrays = {
        name: each for part in found for name, each in part.arrays.items() if "ridge" in each.dims and name != "ridge"
    }
    return {name: np.moveaxis(each.values, each.dims.index("ridge"), 0) for name, each in arrays.items()}


def test_the_same_study_by_factors_and_by_products_has_the_same_errors():
    direct, iterative = regressions(solver="direct"), regressions(solver="iterative")
    assert direct.keys() == iterative.keys()
    for name in ("infinite_ntk", "nngp", *RIVALS):
        # ridge → 0 of a kernel of 64 features is singular at some sizes: there both add what each of them needs
        plain = direct[f"solve_status_{name}"] == Status.CONVERGED
        plain &= direct[f"condition_number_{name}"] < 1e6
        assert plain.sum() >= plain.size / 2
        assert (iterative[f"solve_status_{name}"][plain] == Status.CONVERGED).all()
        for field in ERRORS:
            found, expected = (arrays[f"{field}_{name}"][plain] for arrays in (iterative, direct))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=f"{field} {name}")
        np.testing.assert_array_equal(iterative[f"diag_reg_{name}"][1], direct[f"diag_reg_{name}"][1])
        assert np.isnan(iterative[f"lambda_min_{name}"]).all()
        assert (iterative[f"residual_{name}"][plain] <= 1e-9).all()


def test_a_solve_that_fails_has_its_status_and_the_others_have_their_values():
    x = torch.randn(40, 3, generator=torch_stream("solver"), dtype=torch.float64)
    y = torch.sin(x.sum(1, keepdim=True))
    gram = x @ x.T + torch.eye(40, dtype=torch.float64)
    gram[20:, 20:] -= 3.0 * torch.eye(20, dtype=torch.float64)  # indefinite from there on
    settings = RegressionSettings(ridge_grid=(1e-2,), solver="iterative")
    found = regress_nested(
        gram[:30, :30], gram[30:, :30], gram[30:, :30], y_train=y[:30], y_validation=y[30:], y_test=y[30:],
        sizes=(10, 20, 30), settings=settings,
    )  # fmt: skip
    assert (found.status[:, :2] == Status.CONVERGED).all() and np.isfinite(found.test_mse[:, :2]).all()
    assert (found.status[:, 2] == Status.SINGULAR).all() and np.isnan(found.test_mse[:, 2]).all()


def test_equal_samples_with_other_targets_are_never_called_converged():
    x = torch.randn(30, 2, generator=torch_stream("solver"), dtype=torch.float64)
    x[20] = x[3]
    y = torch.randn(30, 1, generator=torch_stream("targets"), dtype=torch.float64)
    settings = RivalSettings(ridge_grid=(1e-1,), length_scales=(1.0,), solver="iterative")
    targets = {"y_train": y, "y_validation": y, "y_test": y}
    found = regress_rival(rival("rbf"), x, x, x, **targets, sizes=(15, 30), settings=settings)
    assert found.status[0, 1] in (Status.JITTERED, Status.BUDGET_SPENT, Status.SINGULAR)
    assert (found.status[1] == Status.CONVERGED).all()


@pytest.mark.parametrize(
    ("keys", "solver", "reason"),
    [
        ({"solver": "auto"}, "direct", "24 MiB for 1,254 samples, solver_memory_mb is 4,096"),
        ({"solver": "auto", "solver_memory_mb": 20}, "iterative", "24 MiB for 1,254 samples, solver_memory_mb is 20"),
        ({"solver": "auto", "solver_memory_mb": 1, "select_ridge": "leave_one_out"}, "direct", "takes a factor"),
        ({"solver": "iterative"}, "iterative", "solver: iterative"),
    ],
)
def test_auto_picks_by_memory_and_says_why(keys, solver, reason):
    settings = RegressionSettings(**keys)
    chosen, said = settings.chosen_solver((10, 1254))
    assert chosen == solver and reason in said
    assert settings.solve((10, 1254)).solver == settings.rivals((10, 1254)).solver == solver


def test_what_takes_a_factor_is_refused_with_products():
    with pytest.raises(
        ConfigError, match=r"regression\.solver: iterative has no factor .* select_ridge: leave_one_out"
    ):
        experiment(solver="iterative", select_ridge="leave_one_out")
