"""The chapter of `regimes.nc` in the dictionary: here, where its flags are."""

from ntk_atlas.cubes.dictionary.variable import THEORY, File, Variable
from ntk_atlas.regimes.distances import CELL
from ntk_atlas.regimes.frontier import FrontierStatus
from ntk_atlas.regimes.regime import Regime

_ROW = tuple(dim for dim in CELL if dim != "width")
_NO_PREDICTOR = "no such predictor, or no network was trained"


def _with_ends(name: str, dims: tuple[str, ...], words: str, units: str, missing: str) -> tuple[Variable, ...]:
    ends = (f"{words}, lower end of its interval for new data", f"{words}, upper end of that interval")
    return Variable(name, dims, words, units, missing=missing).with_ends(*ends)


REGIME_VARIABLES = (
    Variable("regime", CELL, "which part of NTK theory describes a cell's networks", missing="-1: no networks",
             dtype="int8", flags=tuple(Regime)),
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
