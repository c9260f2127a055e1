"""The map of an experiment: regimes, the numbers they rest on, frontiers and sentences, as the file `regimes.nc`."""

import json

import numpy as np
import xarray as xr

from ntk_atlas.config.regimes import RegimeThresholds
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.netcdf import described
from ntk_atlas.regimes.dictionary import REGIMES
from ntk_atlas.regimes.distances import PREDICTOR_OF, squared_distances
from ntk_atlas.regimes.frontier import FrontierStatus, frontier
from ntk_atlas.regimes.regime import Regime, regimes
from ntk_atlas.regimes.sentences import sentences

FRONTIERS = {"infinite_ntk": "distance_infinite_ntk", "own_ntk": "distance_own_ntk"}
"""Predictors from which on theory holds at a width, and the distance of each."""
UNTRAINED = (Regime.DIVERGED, Regime.MISSING, Regime.NOT_TRAINED, Regime.FEATURES_UNFINISHED)
"""Cells of these regimes are no points of a law."""


def regime_map(
    cube: xr.Dataset, functions: xr.Dataset, settings: ExperimentSettings, thresholds: RegimeThresholds
) -> xr.Dataset:
    """Where NTK theory holds: see `regimes.regime.regimes` and `regimes.frontier.frontier`.

    Args:
        cube: the cube.
        functions: distances between predictors as functions.
        settings: of the experiment.
        thresholds: of the regimes.

    Returns:
        What `regimes` returns, with the coordinates of the cube's init scales; of each kernel k of `FRONTIERS` that the
        experiment has `frontier_<k>`, its interval, `exponent_<k>`, its interval, and `frontier_status_<k>`; in the
        attribute `sentences` (JSON) what the map says.

    Raises:
        ValueError: if no regime can be told.
    """
    found = regimes(cube, functions, settings, thresholds)
    squares = squared_distances(cube, functions, settings)
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
        "predictors": " ".join(PREDICTOR_OF[name] for name in PREDICTOR_OF if name in found),
        "replicates": "draws" if cube.sizes["draw"] > 1 else "seeds of one draw",
    }
    return described(found, REGIMES, attributes)


def said_of(found: xr.Dataset) -> list[str]:
    """The sentences of a map."""
    return json.loads(found.attrs["sentences"])


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
