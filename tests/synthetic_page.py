"""Files of an experiment with planted numbers, as its page takes them; for tests and benchmarks of the page only."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.config import ExperimentSettings
from ntk_atlas.cubes import CUBE, described
from ntk_atlas.regimes import REGIMES, FrontierStatus, decide
from ntk_atlas.study import load_regime_thresholds
from tests.synthetic_cube import synthetic_cube, synthetic_laws

CELL = ("depth", "width", "init_scale", "n_train")
THRESHOLDS = load_regime_thresholds(Path(__file__).parents[1] / "config" / "regimes.yaml")
SENTENCES = (
    "NTK theory holds in 3 of 12 cells (planted), in 1 of them already with the infinite NTK; undecided in 9.",
    "At depth 1 the infinite NTK holds from width 100 [80, 130] on.",
    "A third sentence.",
    "A fourth <b>sentence</b> & more.",
    "A fifth sentence.",
)


def settings_of(cube: xr.Dataset, **network: object) -> ExperimentSettings:
    """Settings that have the grid of a cube."""
    grid = {dim: cube[dim].values.tolist() for dim in CELL}
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits", "task": "binary"},
            "grid": grid | {"draws": cube.sizes["draw"], "seeds": cube.sizes["seed"]},
            "network": network or {"parameterization": "ntk", "bias_variance": 0.1},
            "training": {"initial_output": "subtract", "max_epochs": 123},
            "regression": {"predictors": ["ntk_init", "infinite_ntk"], "keep_predictions": True},
        }
    )


def planted_files(
    generator: np.random.Generator,
    *,
    depth: Sequence[int] = (1, 3),
    width: Sequence[int] = (16, 64, 256),
    init_scale: Sequence[float] = (1.0, 2.0),
    n_train: Sequence[int] = (32, 128, 512),
    predictors: Sequence[str] = ("network", "ntk_init", "infinite_ntk", "rbf"),
    **more: object,
) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset | None]:
    """Cube, regimes and laws of an experiment; of one size there are no laws."""
    grid = {"depth": depth, "width": width, "init_scale": init_scale, "n_train": n_train}
    cube = synthetic_cube(generator, **grid, predictors=predictors, **more)
    attributes = {"config": settings_of(cube).model_dump_json(), "versions": "planted 1.0", "notices": "A notice."}
    cube = described(cube, CUBE, attributes)
    return cube, planted_regimes(cube, generator), synthetic_laws(cube) if len(n_train) > 1 else None


def planted_regimes(cube: xr.Dataset, generator: np.random.Generator) -> xr.Dataset:
    """A map whose distances fall with the width, with a frontier at depth 1 and none at other depths."""
    shape = tuple(cube.sizes[dim] for dim in CELL)
    found = xr.Dataset(coords={dim: cube[dim].values for dim in CELL})
    for name, scale in (("own_ntk", 1.5), ("infinite_ntk", 4.0)):
        value = (
            scale
            * (found["width"] ** -0.5 * (1.0 + 0.0 * found["depth"]))
            .broadcast_like(xr.DataArray(np.zeros(shape), dims=CELL))
            .transpose(*CELL)
            * np.exp(0.3 * generator.standard_normal(shape))
        )
        found[f"distance_{name}"] = value
        found[f"distance_{name}_low"], found[f"distance_{name}_high"] = value / 1.2, value * 1.2
    ratio = (CELL, np.exp(0.2 * generator.standard_normal(shape)))
    found["error_ratio"] = ratio
    found["error_ratio_low"], found["error_ratio_high"] = found["error_ratio"] / 1.1, found["error_ratio"] * 1.1
    found["diverged"] = CELL, (generator.random(shape) < 0.05).astype(float)
    found["unfinished"] = CELL, np.zeros(shape)
    found["regime"] = decide(found, THRESHOLDS)
    rest = tuple(dim for dim in CELL if dim != "width")
    lone = np.where(np.arange(cube.sizes["depth"])[:, None, None] == 0, 1.0, np.nan)
    planted = 100.0 * lone * np.exp(0.2 * generator.standard_normal([cube.sizes[dim] for dim in rest]))
    found["frontier_infinite_ntk"] = rest, planted
    found["frontier_infinite_ntk_low"], found["frontier_infinite_ntk_high"] = (
        (rest, planted / 1.3),
        (rest, planted * 1.3),
    )
    status = np.where(np.isnan(planted), FrontierStatus.TOO_FEW, FrontierStatus.FOUND)
    found["frontier_status_infinite_ntk"] = rest, status.astype(np.int8)
    attributes = {
        "sentences": json.dumps(SENTENCES), "thresholds": THRESHOLDS.model_dump_json(), "replicates": "draws",
    }  # fmt: skip
    return described(found, REGIMES, attributes)


def planted_claims() -> pd.DataFrame:
    """Verdicts of every word, one without a number."""
    rows = [
        ("A1", "supported", 0.12, 0.08, 0.2, 0.09, 0.18, np.nan, 0.33, False),
        ("A2", "not supported", 2.5, 2.1, 2.9, 2.2, 2.8, 0.8, 1.2, False),
        ("B1", "inconclusive", 0.9, 0.2, 40.0, 0.5, 1.6, 0.5, 1.5, True),
        ("C1", "not run", *[np.nan] * 5, np.nan, np.nan, False),
    ]
    names = ("claim", "verdict", "value", "low", "high", "low_this_data", "high_this_data", "lower", "upper", "outside")
    words = {"experiment": "planted", "statement": "A claim.", "statistic": "a number", "threshold": "there"}
    return pd.DataFrame(rows, columns=names).assign(**words, reason="A reason < another.", source="A paper (2020)")
