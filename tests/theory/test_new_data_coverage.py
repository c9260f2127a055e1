"""Intervals for new data: in simulated populations they cover the mean over data sets, those for one data set do not.

A study sees one finite data set and draws of it that overlap. Here a population makes many data sets of the sizes of
the shipped studies (or all sizes scaled down alike), two predictors are fitted in every draw, and the intervals of the
judge's own estimators are held against the mean over data sets. With 200 data sets per setting, the interval for new
data covers in .91 to .99, the one for this data set in .57 to .93.
"""

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.cubes import LEFT_OUT, errors_without_folds
from ntk_atlas.judging import cell_estimate, ratio_estimate
from ntk_atlas.scaling_laws import fit_power_law

N_FOLDS, DATA_SETS = 32, 200
CENTRES = np.random.default_rng(5).standard_normal((10, 20)) * 1.3


def noisy_table(n, generator):
    """Ten features, a nonlinear target, half of its variance noise, one sample in twenty with three times as much."""
    x = generator.standard_normal((n, 10)) * np.linspace(1.5, 0.5, 10)
    noise = 0.7 * generator.standard_normal(n) * (1 + 2 * (generator.random(n) < 0.05))
    return x, np.tanh(x[:, 0] + 0.5 * x[:, 1]) + 0.3 * x[:, 2] * x[:, 3] + 0.3 * x[:, 4] + noise, 0.5


def clusters(n, generator):
    """Ten clusters in twenty dimensions, odd against even."""
    label = generator.integers(0, 10, n)
    return CENTRES[label] + 0.9 * generator.standard_normal((n, 20)), np.where(label % 2 == 1, 1.0, -1.0), 0.05


def kernels(x):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = np.clip(x @ x.T, -1, 1)
    angle = np.arccos(cosine)
    ntk = (np.sin(angle) + 2 * (np.pi - angle) * cosine) / np.pi
    return {"ntk_init": np.exp(-np.sqrt(2 - 2 * cosine)), "network": ntk}


def study(population, n_samples, sizes, n_test, draws, generator):
    """A cube of one data set; the `network` is a kernel with the noise of a random initialization on top."""
    x, y, ridge = population(n_samples, generator)
    gram = kernels(x)
    errors = {name: np.full((draws, len(sizes), n_samples), np.nan) for name in gram}
    for draw in range(draws):
        order = generator.permutation(n_samples)
        test = order[-n_test:]
        for place, n in enumerate(sizes):
            train = order[:n]
            for name, k in gram.items():
                f = k[np.ix_(test, train)] @ np.linalg.solve(k[np.ix_(train, train)] + ridge * np.eye(n), y[train])
                if name == "network":
                    size = 0.3 * np.sqrt(np.mean((y[test] - f) ** 2) / n)
                    f = f + size * gram["ntk_init"][np.ix_(test, train)] @ generator.standard_normal(n)
                errors[name][draw, place, test] = (y[test] - f) ** 2
    fold = np.arange(n_samples) % N_FOLDS
    member = np.stack([fold == g for g in range(N_FOLDS)])
    there = np.isfinite(errors["network"][:, 0])
    cube = xr.Dataset(
        {
            "test_fold_size": (("draw", "test_fold"), (there[:, None] & member).sum(-1)),
            "shared_test": n_test / n_samples,
            "shared_train": ("n_train", np.array(sizes) / n_samples),
        },
        coords={"n_train": list(sizes), "predictor": list(errors)},
    )
    for name, each in errors.items():
        cube[f"test_mse_{name}"] = ("draw", "n_train", "seed"), np.nanmean(each, -1)[..., None]
        sums = np.nan_to_num(each) @ member.T.astype(float)
        with np.errstate(invalid="ignore"):
            means = sums / cube["test_fold_size"].values[:, None]
        cube[f"test_mse_folds_{name}"] = ("draw", "n_train", "seed", "test_fold"), means[:, :, None]
    return cube


def statistics_of(cube):
    network, kernel = (errors_without_folds(cube, name) for name in ("network", "ntk_init"))
    last = {"n_train": -1}
    found = {
        "log error": cell_estimate(network.isel(last), logarithmic=True),
        "ratio": ratio_estimate(network.isel(last), kernel.isel(last)),
    }
    if cube.sizes["n_train"] > 1:
        slopes = [
            each.isel(last).copy(data=fit_power_law(cube["n_train"].values, each.transpose(..., "n_train")).exponent)
            for each in (e.transpose(LEFT_OUT, "draw", "seed", "n_train") for e in (network, kernel))
        ]
        found |= {
            "exponent": cell_estimate(slopes[0]),
            "difference of exponents": cell_estimate(slopes[0] - slopes[1]),
        }
    return found


def covers(estimate, truth, *, new_data):
    _, low, high = estimate.interval(0.95, new_data=new_data)
    truth = np.exp(truth) if estimate.logarithmic else truth
    return low <= truth <= high


SETTINGS = {
    "diabetes in equivalence": (noisy_table, 442, [200], 122, 10),
    "digits in equivalence": (clusters, 599, [66], 85, 10),
    "digits in scaling laws": (clusters, 449, [16, 32, 64, 128, 256], 128, 6),
    "a table in scaling laws": (noisy_table, 449, [16, 32, 64, 128, 256], 128, 6),
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_for_new_data_cover_the_mean_over_data_sets(setting):
    generator = np.random.default_rng(7)
    found = [statistics_of(study(*SETTINGS[setting], generator)) for _ in range(DATA_SETS)]
    for name in found[0]:
        estimates = [each[name] for each in found]
        truth = np.mean([e.value for e in estimates])
        covered = {new: np.mean([covers(e, truth, new_data=new) for e in estimates]) for new in (True, False)}
        assert 0.9 <= covered[True] < 1.0, f"{name} covers {covered}"
        assert covered[False] <= covered[True]
