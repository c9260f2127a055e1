"""Arrays with named dimensions, from a finished unit to the cube: one type, one join, units on disk, whole files.

Nothing here imports xarray: heavy jobs read and write NetCDF without the second that its import takes.
"""

from ntk_atlas.arrays.labelled import (
    Grid,
    LabelledArray,
    LabelledArrays,
    is_passing,
    join,
    read_labelled,
    whole_file,
    write_labelled,
)
from ntk_atlas.arrays.units import LostUnitError, UnitStore, finished_seeds, made_again_if_lost, seeds_of, unit_digest

__all__ = [
    "Grid",
    "LabelledArray",
    "LabelledArrays",
    "LostUnitError",
    "UnitStore",
    "finished_seeds",
    "is_passing",
    "join",
    "made_again_if_lost",
    "read_labelled",
    "seeds_of",
    "unit_digest",
    "whole_file",
    "write_labelled",
]
