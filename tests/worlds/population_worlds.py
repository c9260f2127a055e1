"""Draws of one finite data set: what its samples have in common does not average out, and truth is about all data sets.

Each study has a data set of its own, N samples of a population. A sample has an error of each kernel's, with effects of
its own; a draw's test error is the mean over the test samples that it takes from the N, with noise of the draw.
"""

from functools import cache

import numpy as np
import xarray as xr
from worlds.decision_worlds import REJECTED, SUPPORTED
from worlds.world import THRESHOLD, World, judged

from ntk_atlas.config import ExperimentSettings
from ntk_atlas.judging import Evidence

FOLDS = 8
KERNEL = ("depth", "init_scale", "n_train", "draw", "ridge")


@cache
def settings(draws: int) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "grid": {"depth": [1], "width": [64], "init_scale": [2.0], "n_train": [200], "draws": draws, "seeds": 1},
            "network": {"bias_variance": 0.1},
            "training": {"seed": 1234},
            "regression": {"predictors": ["infinite_ntk", "nngp"]},
        }
    )


def untrained_kernel(
    ratio: float, *, samples: int, test: int, draws: int = 10, own: float = 0.5, level: float = 1.0, noise: float = 0.02
):
    """C2: the NNGP's mean square error over the population is `ratio` times the NTK's.

    `level` is the spread over samples of the log error that both kernels share, `own` of what each has beside it,
    `noise` that of a draw's log error.
    """
    experiment = settings(draws)
    coordinates = {"depth": [1], "width": [64], "init_scale": [2.0], "n_train": [200], "draw": np.arange(draws)}
    coordinates |= {"ridge": ["zero", "tuned"], "test_fold": np.arange(FOLDS)}
    folds = np.arange(samples) % FOLDS
    membership = np.eye(FOLDS)[folds]

    def word(generator: np.random.Generator) -> str:
        shared = level * generator.standard_normal(samples)
        taken = np.argsort(generator.random((draws, samples)), axis=1)[:, :test]
        takes = np.zeros((draws, samples))
        np.put_along_axis(takes, taken, 1.0, axis=1)
        sizes = takes @ membership
        cube = xr.Dataset(coords=coordinates)
        for name, factor in (("infinite_ntk", 1.0), ("nngp", ratio)):
            effects = shared + own * generator.standard_normal(samples)
            errors = 0.4 * factor * np.exp(effects - 0.5 * (level**2 + own**2))
            scale = np.exp(noise * generator.standard_normal((draws, 1)))
            sums = (takes * errors) @ membership * scale
            parts, whole = sums / sizes, sums.sum(1) / test
            cube[f"test_mse_{name}"] = KERNEL, np.stack([whole, whole], -1)[None, None, None]
            both = np.stack([parts, parts], 1)[None, None, None]
            cube[f"test_mse_folds_{name}"] = (*KERNEL, "test_fold"), both
        cube["test_fold_size"] = ("draw", "test_fold"), sizes
        cube["shared_test"] = test / samples
        cube["shared_train"] = "n_train", [min(200 / samples, 1.0)]
        return judged("C2", "equivalence", Evidence("planted", experiment, cube))

    return word


_DIABETES, _DIGITS = {"samples": 442, "test": 122}, {"samples": 1797, "test": 256}

WORLDS = (
    World("C2", "442 samples, NNGP as good", untrained_kernel(1.0, **_DIABETES), SUPPORTED),
    World("C2", "442 samples, NNGP worse by the margin", untrained_kernel(1.1, **_DIABETES), THRESHOLD),
    World("C2", "442 samples, NNGP worse by three margins", untrained_kernel(1.33, **_DIABETES), REJECTED),
    World("C2", "1,797 samples, NNGP worse by the margin", untrained_kernel(1.1, **_DIGITS), THRESHOLD),
    World("C2", "20,000 samples, NNGP worse by the margin", untrained_kernel(1.1, samples=20000, test=256), THRESHOLD),
)
