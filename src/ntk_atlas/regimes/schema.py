"""The data dictionary of `regimes.nc`: `docs/cube.md` is made of it, the file takes its attributes from it."""

from collections.abc import Iterable

import xarray as xr

from ntk_atlas.cubes.schema import COORDINATES, Variable, status_attributes
from ntk_atlas.regimes.distances import CELL
from ntk_atlas.regimes.frontier import FrontierStatus
from ntk_atlas.regimes.regime import Regime

_ROW = tuple(dim for dim in CELL if dim != "width")
_NO_PREDICTOR = "no such predictor, or no network was trained"
_ENDS = (("", ""), ("_low", ", lower end of its interval for new data"), ("_high", ", upper end of that interval"))


def _with_ends(name: str, dims: tuple[str, ...], meaning: str, units: str, missing: str) -> Iterable[Variable]:
    for end, words in _ENDS:
        yield Variable(f"{name}{end}", dims, meaning + words, units, missing=missing)


REGIME_VARIABLES = (
    Variable("regime", CELL, "which part of NTK theory describes a cell's networks", "1", missing="-1: no networks"),
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
            Variable(f"frontier_status_{kernel}", _ROW, "what became of that frontier", "1", missing="never"),
        )
    ),
)  # fmt: skip


def describe_regimes(found: xr.Dataset) -> xr.Dataset:
    """The dataset with the attributes of its variables, flags and their meanings among them."""
    known = {variable.name: variable for variable in (*COORDINATES, *REGIME_VARIABLES)}
    for name in found.variables:
        if name in known:
            found[name].attrs = known[str(name)].attributes()
    for name in found.data_vars:
        if str(name).startswith("frontier_status"):
            found[name].attrs |= status_attributes(tuple(FrontierStatus))
    found["regime"].attrs |= status_attributes(tuple(Regime))
    return found
