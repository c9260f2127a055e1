"""Learning curves with planted exponents as evidence, for tests of the judge of claims B only."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from synthetic_cube import with_folds

from ntk_atlas.config import ExperimentSettings
from ntk_atlas.judging import Evidence

SEED = 1234
CELL = ("depth", "width", "init_scale", "n_train", "draw", "seed")
EPOCHS = np.array([0, 1, 3, 10, 30, 100, 300])
FEATURES = {"network": 0.8, "ntk_init": 0.4, "infinite_ntk": 0.42, "ntk_pretrained_64": 0.5, "ntk_final": 0.68}
"""A world in which networks outgrow their kernels."""
LAZY = dict.fromkeys(FEATURES, 0.5)
"""A world in which networks are their kernels."""


def settings(
    *,
    draws: int = 6,
    seeds: int = 1,
    width: Sequence[int] = (16,),
    n_train: Sequence[int] = (32, 64, 128, 256, 512),
    predictors: Sequence[str] = ("ntk_init", "ntk_final", "infinite_ntk", "ntk_pretrained_64", "ntk_epochs"),
    n_train_min: int = 0,
    variant_of: str | None = None,
    center: str = "zero",
    **training: object,
) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "variant_of": variant_of,
            "dataset": {"source": "digits", "task": "binary"},
            "grid": {
                "depth": [2], "width": width, "init_scale": [2.0], "n_train": n_train, "draws": draws, "seeds": seeds,
            },
            "training": {"seed": SEED, "checkpoints": {"weights": "scheduled"}, **training},
            "regression": {"predictors": predictors, "predictor_center": center},
            "scaling": {"n_train_min": n_train_min},
        }
    )  # fmt: skip


def evidence(
    world: Mapping[str, float],
    generator: np.random.Generator,
    *,
    noise: float = 0.02,
    slope: float = -0.2,
    turn: float = 0.3,
    gap_of_width: float = 0.0,
    unfinished: Sequence[int] = (),
    fit_at: float = 300.0,
    name: str = "planted",
    **keys: object,
) -> Evidence:
    """Evidence of one experiment.

    `slope` is that of regression with Θ_t from epoch 30 to 300, `turn` the angle of the kernel in it, `gap_of_width`
    how much the kernel's log error falls from width to width, `unfinished` n_train where networks end above their
    target, `fit_at` the epoch at which the training error of all networks falls to the target of .01.
    """
    experiment = settings(**keys)
    grid = experiment.grid
    coords = {dim: list(getattr(grid, dim)) for dim in ("depth", "width", "init_scale", "n_train")}
    cube = xr.Dataset(
        coords=coords | {
            "draw": np.arange(grid.draws), "seed": np.arange(grid.seeds), "epoch": EPOCHS, "ridge": ["zero", "tuned"],
        }
    )  # fmt: skip
    shape = tuple(cube.sizes[dim] for dim in CELL)
    n = np.array(grid.n_train, dtype=float)[None, None, None, :, None, None]
    position = np.arange(len(grid.width))[None, :, None, None, None, None]
    for predictor in ("network", *(p for p in experiment.regression.predictors if p != "ntk_epochs")):
        scatter = np.exp(noise * generator.standard_normal(shape))
        values = (n / n.min()) ** -world[predictor] * scatter * np.ones(shape)
        if predictor == "ntk_init":
            values = values * np.exp(-gap_of_width * position)
        if predictor.startswith("ntk_pretrained_"):
            values = np.where(n < int(predictor.removeprefix("ntk_pretrained_")), np.nan, values)
        for field, factor in (("mse", 1.0), ("error", 0.3)):
            variable = f"test_{field}_{predictor}"
            if predictor == "network":
                cube[variable] = CELL, factor * values
            elif predictor == "infinite_ntk":
                own = factor * np.stack([1.3 * values[:, 0, ..., 0], values[:, 0, ..., 0]], -1)
                cube[variable] = ("depth", "init_scale", "n_train", "draw", "ridge"), own
            else:
                cube[variable] = (*CELL, "ridge"), factor * np.stack([1.3 * values, values], -1)
    if "ntk_epochs" in experiment.regression.predictors:
        along = np.where(
            EPOCHS < 30, np.maximum(EPOCHS, 0.5) ** -0.3, 30.0**-0.3 * (np.maximum(EPOCHS, 0.5) / 30.0) ** slope
        )
        errors = along * np.exp(0.3 * noise * generator.standard_normal((*shape, len(EPOCHS))))
        errors[:, :, :, :-1] = np.nan  # regressed at the largest n alone
        cube["test_mse_ntk_epochs"] = (*CELL, "epoch", "ridge"), np.stack([errors, errors], -1)
        # Two steps of the last decade, each half of the turn; the first decades turn by a radian a step.
        steps = np.where(EPOCHS > 30, 0.5 * turn, 1.0)
        velocity = np.append(np.nan, (1.0 - np.cos(steps[1:])) / np.diff(EPOCHS))
        cube["kernel_velocity"] = (*CELL, "epoch"), velocity * np.ones((*shape, 1))
    cube["train_mse"] = (*CELL, "epoch"), 0.01 ** (EPOCHS / fit_at) * np.ones((*shape, 1))
    status = np.zeros(shape, dtype=np.int8)
    for size in unfinished:
        status[:, :, :, grid.n_train.index(size)] = 1
    cube["status"] = CELL, status
    return Evidence(name, experiment, with_folds(cube))
