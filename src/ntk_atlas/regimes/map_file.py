"""The map of an experiment: regimes, the numbers they rest on, frontiers and sentences, as the file `regimes.nc`."""

import json

import numpy as np
import xarray as xr

from ntk_atlas.config.predictors import distance_predictors
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import RegimeThresholds
from ntk_atlas.cubes.files import described
from ntk_atlas.cubes.variables import THEORY, File, Variable
from ntk_atlas.regimes.distances import CELL, squared_distances
from ntk_atlas.regimes.frontiers import FrontierStatus, frontier
from ntk_atlas.regimes.regime import FirstBreak, Regime, regimes
from ntk_atlas.regimes.wording import sentences

FRONTIERS = {"infinite_ntk": "distance_infinite_ntk", "own_ntk": "distance_own_ntk"}
"""Predictors from which on theory holds at a width, and the distance of each."""
UNTRAINED = (Regime.DIVERGED, Regime.MISSING, Regime.NOT_TRAINED, Regime.FEATURES_UNFINISHED)
"""Cells of these regimes are no points of a law."""
_ROW = tuple(dim for dim in CELL if dim != "width")
_NO_PREDICTOR = "no such predictor, or no network was trained"


def _with_ends(name: str, dims: tuple[str, ...], words: str, units: str, missing: str) -> tuple[Variable, ...]:
    ends = (f"{words}, lower end of its interval for new data", f"{words}, upper end of that interval")
    return Variable(name, dims, words, units, missing=missing).with_ends(*ends)


REGIME_VARIABLES = (
    Variable("regime", CELL, "which part of NTK theory describes a cell's networks", missing="-1: no networks",
             dtype="int8", flags=tuple(Regime)),
    Variable("breaks_first", CELL, "which link of theory breaks first there", missing="-1: no networks",
             dtype="int8", flags=tuple(FirstBreak)),
    Variable("diverged", CELL, "share of a cell's networks that diverged", "1", missing="no networks"),
    Variable("unfinished", CELL, "share that ended above `training.target_mse`", "1", missing="no networks"),
    *_with_ends("distance_linearized", CELL, "root mean square of network − its linearization over the error of the "
                "linearization, on test samples", "1", _NO_PREDICTOR),
    *_with_ends("distance_own_ntk", CELL, "the same of regression with the network's own NTK", "1",
                _NO_PREDICTOR),
    *_with_ends("distance_infinite_ntk", CELL, "the same of regression with the infinite NTK", "1", _NO_PREDICTOR),
    *_with_ends("error_ratio", CELL, "test MSE of the networks over that of regression with their own initial NTK (of "
                "their linearization, where that is not there)", "1", _NO_PREDICTOR),
    *(
        variable
        for kernel, words in (("infinite_ntk", "the infinite NTK"), ("own_ntk", "the network's own initial NTK"))
        for variable in (
            *_with_ends(f"frontier_{kernel}", _ROW, f"width from which regression with {words} is within τ of networks",
                        "units", "see the status"),
            *_with_ends(f"exponent_{kernel}", _ROW, "exponent of that distance in the width", "1",
                        "fewer than 3 widths"),
            Variable(f"frontier_status_{kernel}", _ROW, "what became of that frontier", missing="never",
                     dtype="int8", flags=tuple(FrontierStatus)),
        )
    ),
)  # fmt: skip


REGIMES = File(
    "regimes.nc",
    "NTK Atlas: where NTK theory holds",
    (*CELL, *THEORY),
    {"Where NTK theory holds, in `regimes.nc` ([what it says](regimes.md))": REGIME_VARIABLES},
)


def regime_map(cube: xr.Dataset, settings: ExperimentSettings, thresholds: RegimeThresholds) -> xr.Dataset:
    """Where NTK theory holds: see `regimes.regime.regimes` and `regimes.frontiers.frontier`.

    Args:
        cube: the cube.
        settings: of the experiment.
        thresholds: of the regimes.

    Returns:
        What `regimes` returns, with the coordinates of the cube's init scales; of each kernel k of `FRONTIERS` that the
        experiment has `frontier_<k>`, its interval, `exponent_<k>`, its interval, and `frontier_status_<k>`; in the
        attribute `sentences` (JSON) what the map says.

    Raises:
        ValueError: if no regime can be told.
    """
    found = regimes(cube, settings, thresholds)
    squares = squared_distances(cube, settings)
    trained = ~found["regime"].isin([int(regime) for regime in UNTRAINED])
    said = xr.Dataset()
    for kernel, distance in FRONTIERS.items():
        if distance not in squares:
            continue
        masked = squares.assign({distance: squares[distance].where(trained)})
        laws = frontier(masked, distance, thresholds)
        said = laws if not said.data_vars else said  # the first is what the sentences are about
        found = found.assign({_variable(str(name), kernel): laws[name] for name in laws.data_vars})
    for name in ("phase", "chi_1"):
        if name in cube.coords:
            found = found.assign_coords({name: cube[name]})
    attributes = {
        "sentences": json.dumps(sentences(found, said, thresholds, cube.sizes["draw"]), ensure_ascii=False),
        "thresholds": thresholds.model_dump_json(),
        "predictors": " ".join(each for name, each in distance_predictors(settings).items() if name in found),
        "replicates": "draws" if cube.sizes["draw"] > 1 else "seeds of one draw",
    }
    return described(found, REGIMES, attributes)


def said_of(found: xr.Dataset) -> list[str]:
    """The sentences of a map."""
    sentences: list[str] = json.loads(found.attrs["sentences"])
    return sentences


def _variable(name: str, kernel: str) -> str:
    if name == "status":
        return f"frontier_status_{kernel}"
    stem, end = next(((name.removesuffix(e), e) for e in ("_low", "_high") if name.endswith(e)), (name, ""))
    return f"{stem}_{kernel}{end}"


def frontier_of(found: xr.Dataset, kernel: str) -> xr.Dataset:
    """The frontier of a kernel, named as `frontier` names it; empty if the map has none."""
    if f"frontier_status_{kernel}" not in found:
        return xr.Dataset()
    names = [f"{stem}{end}" for stem in ("frontier", "exponent") for end in ("", "_low", "_high")]
    return xr.Dataset({name: found[_variable(name, kernel)] for name in (*names, "status")})


def is_given(one: xr.Dataset) -> bool:
    """Whether there is a number for a frontier."""
    return int(one["status"]) in (FrontierStatus.FOUND, FrontierStatus.EXTRAPOLATED) and bool(
        np.isfinite(one["frontier"])
    )
