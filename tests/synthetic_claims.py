"""Evidence with planted numbers, shaped like the files of an experiment; for tests of the judge only."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from ntk_atlas.config import (
    DispersionSettings,
    ExperimentSettings,
    GridSettings,
    LearningRateSettings,
    NetworkSettings,
    OutputVarianceSettings,
    TrainingSettings,
)
from ntk_atlas.judging import Evidence

CELL = ("depth", "width", "init_scale", "n_train", "draw", "seed")
SEED = 1234
SCALES = {"ordered": 1.0, "critical": 2.0, "chaotic": 3.0}
BROKEN = {
    "slope": {"ordered": 0.0, "critical": 2.5, "chaotic": 4.0},
    "drift": {"ordered": 0.03, "critical": 0.6, "chaotic": 0.8},
    "share": {"ordered": 0.97, "critical": 0.05, "chaotic": 0.05},
    "blocks": 0.3,
    "variance_ratio": {"easy": 1.02, "hard": 3.0},
}
"""Everything as the papers say: theory breaks for deep critical and chaotic networks."""
HOLDS = BROKEN | {
    "slope": dict.fromkeys(SCALES, 0.0),
    "drift": dict.fromkeys(SCALES, 0.02),
    "blocks": 0.0,
    "variance_ratio": {"easy": 1.02, "hard": 1.02},
}
"""A world in which NTK theory holds at every depth, in every phase."""


def settings(
    *,
    depth: Sequence[int] = (3, 15),
    width: Sequence[int] = (32, 128),
    init_scale: Sequence[float] = tuple(SCALES.values()),
    draws: int = 9,
    seeds: int = 2,
    network: Mapping | None = None,
    dataset: Mapping | None = None,
    training: Mapping | None = None,
    dispersion: bool = True,
    output_variance: bool = True,
) -> ExperimentSettings:
    rates = LearningRateSettings(relative=(0.02, 0.1, 0.5))
    return ExperimentSettings(
        dataset=dataset or {"source": "digits", "task": "binary"},
        grid=GridSettings(depth=depth, width=width, init_scale=init_scale, n_train=(64,), draws=draws, seeds=seeds),
        network=NetworkSettings(**(network or {})),
        training=TrainingSettings(**{"optimizer": "sgd", "learning_rate": rates, "seed": SEED, **(training or {})}),
        dispersion=DispersionSettings(depth=(2, 5, 14, 30), width=(100,), seed=SEED) if dispersion else None,
        output_variance=OutputVarianceSettings() if output_variance else None,
    )


def phase(init_scale: float) -> str:
    return "critical" if init_scale == 2.0 else "ordered" if init_scale < 2.0 else "chaotic"


def synthetic_evidence(
    world: Mapping, generator: np.random.Generator, *, noise: float = 0.1, name: str = "planted", **keys: object
) -> Evidence:
    """Evidence of one experiment in a world; `noise` is the standard deviation of log drift between networks."""
    experiment = settings(**keys)
    return Evidence(
        name,
        experiment,
        synthetic_cube(world, experiment, generator, noise),
        synthetic_dispersion(world, experiment, generator) if experiment.dispersion else None,
        synthetic_output_variance(world, experiment, generator) if experiment.output_variance else None,
    )


def _scale_coordinates(scales: Sequence[float]) -> dict:
    scales = np.array(scales, dtype=float)
    chi = scales / 2.0
    with np.errstate(divide="ignore"):
        xi = 1.0 / np.abs(np.log(chi))
    return {
        "init_scale": scales,
        "phase": ("init_scale", [phase(s) for s in scales]),
        "chi_1": ("init_scale", chi),
        "xi_1": ("init_scale", xi),
        "sigma_w": ("init_scale", np.sqrt(scales)),
    }


def synthetic_cube(
    world: Mapping, experiment: ExperimentSettings, generator: np.random.Generator, noise: float
) -> xr.Dataset:
    grid, epochs = experiment.grid, np.array([0, 10, 400])
    cube = xr.Dataset(
        coords={
            "depth": np.array(grid.depth),
            "width": np.array(grid.width),
            "n_train": np.array(grid.n_train),
            "draw": np.arange(grid.draws),
            "seed": np.arange(grid.seeds),
            "epoch": epochs,
            "lambda": (("depth", "width"), (np.array(grid.depth)[:, None] + 1) / np.array(grid.width)),
            **_scale_coordinates(grid.init_scale),
        }
    )
    shape = tuple(cube.sizes[dim] for dim in CELL)
    factor = np.exp(noise * generator.standard_normal(shape))
    depth = np.array(grid.depth)[:, None] / max(grid.depth)  # drift grows with depth, from a third

    def by_phase(values: Mapping[str, float]) -> np.ndarray:
        return np.array([values[phase(s)] for s in grid.init_scale])

    drift = (1.0 + 2.0 * depth) / 3.0 * by_phase(world["drift"])  # (depth, init_scale)
    drift = drift[:, None, :, None, None, None] * factor
    cube["kernel_drift"] = (*CELL, "epoch"), drift[..., None] * np.array([0.0, 0.5, 1.0])
    cube["kernel_drift_at_equal_loss"] = CELL, 0.8 * drift
    # trained when shallow; when deep, as the world says
    share = np.exp(np.log(0.05) + depth * (np.log(by_phase(world["share"])) - np.log(0.05)))
    shallow = np.array(grid.depth) == min(grid.depth)
    share = np.where(shallow[:, None], 0.05, share)[:, None, :, None, None, None] * np.exp(0.2 * np.log(factor))
    cube["zero_train_mse"] = ("n_train", "draw"), np.ones((1, grid.draws))
    cube["final_train_mse"] = CELL, share
    blocks = world["blocks"] * factor[..., None] * np.array([0.0, 0.5, 1.0])
    cube["within_class_ratio"] = (*CELL, "epoch"), 0.6 + 0.5 * blocks
    cube["between_class_ratio"] = (*CELL, "epoch"), 0.55 - 0.5 * blocks
    cube["status"] = CELL, np.zeros(shape, dtype=np.int8)
    cube.attrs["config"] = experiment.canonical_json()
    return cube


def synthetic_dispersion(world: Mapping, experiment: ExperimentSettings, generator: np.random.Generator) -> xr.Dataset:
    asked, scales = experiment.dispersion, experiment.grid.init_scale
    depth, width = np.array(asked.depth), np.array(asked.width)
    ratio = (depth[:, None] + 1) / width
    dispersion = xr.Dataset(
        coords={
            "depth": depth,
            "width": width,
            "parameters": ["all", "weights"],
            "correlation": [1.0, 0.5],
            "lambda": (("depth", "width"), ratio),
            **_scale_coordinates(scales),
        }
    )
    dims = ("depth", "width", "init_scale", "parameters")
    slopes = np.array([world["slope"][phase(s)] for s in scales])
    true = 0.02 + ratio[..., None, None] * np.stack([slopes, np.full(len(scales), 3.5)], -1)
    relative = np.sqrt(2.0 / asked.n_networks)  # of a normal variance
    measured = true * np.exp(relative * generator.standard_normal(true.shape))
    for suffix, sign in (("", 0.0), ("_low", -1.96), ("_high", 1.96)):
        dispersion[f"log_ntk_variance{suffix}"] = dims, measured * np.exp(sign * relative)
        values = np.repeat(np.exp(measured)[..., None], 2, -1) * np.exp(sign * 0.05)
        dispersion[f"ntk_ratio{suffix}"] = (*dims, "correlation"), values
    dispersion["ntk_ratio_reliable"] = dims, (measured <= 1.0).astype(np.int8)
    dispersion["n_finite"] = dims[:3], np.full(true.shape[:3], asked.n_networks)
    dispersion["ntk_ratio_exact"] = dims, np.exp(true) * 1.01
    dispersion["ntk_ratio_exact_error"] = dims, 0.01 * np.exp(true)
    dispersion["log_ntk_variance_exact"] = dims, true
    dispersion["log_ntk_variance_exact_error"] = dims, 0.003 * true
    dispersion["ntk_ratio_finite_sum"] = dims, np.exp(true)
    return dispersion


def synthetic_output_variance(
    world: Mapping, experiment: ExperimentSettings, generator: np.random.Generator
) -> xr.Dataset:
    grid, epochs = experiment.grid, np.array([0, 400])
    data = xr.Dataset(
        coords={
            "depth": np.array(grid.depth),
            "width": np.array(grid.width),
            "n_train": np.array(grid.n_train),
            "draw": np.arange(grid.draws),
            "epoch": epochs,
            **_scale_coordinates(grid.init_scale),
        }
    )
    dims = (*CELL[:5], "epoch")
    shape = tuple(data.sizes[dim] for dim in dims)
    log = np.full(shape, np.log(world["variance_ratio"]["easy"]))
    log[-1, 0] = np.log(world["variance_ratio"]["hard"])
    log[..., 0] = 0.0
    error = 0.06
    log = log + error * generator.standard_normal(shape)
    for pair, share in (("network_infinite_ntk", 1.0), ("network_linearized", 0.6), ("linearized_infinite_ntk", 0.4)):
        for suffix, sign in (("", 0.0), ("_low", -1.96), ("_high", 1.96)):
            data[f"variance_ratio_{pair}{suffix}"] = dims, np.exp(share * log + sign * error)
    data["n_networks"] = CELL[:5], np.full(shape[:5], 100)
    return data
