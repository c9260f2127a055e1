"""Parameterizations by name: where the size of a layer stands, and how its learning rate follows the width.

A new parameterization is one file in this folder, or a file of the user's (`docs/extending.md`); nothing here imports
torch, so that a run is planned with the same objects that networks are built from.
"""

from ntk_atlas.parameterizations.base import Parameter, Parameterization, ParameterizationError, layer_parameters
from ntk_atlas.registry import Registry

PARAMETERIZATIONS = Registry(
    "ntk_atlas.parameterizations", Parameterization, "parameterization", error=ParameterizationError
)
"""The room."""

__all__ = [
    "PARAMETERIZATIONS",
    "Parameter",
    "Parameterization",
    "ParameterizationError",
    "layer_parameters",
    "parameterization",
]


def parameterization(name: str) -> Parameterization:
    """The parameterization called `name`, or the one in a user's file that `my_file.py:name` says.

    Raises:
        ParameterizationError: if there is none of that name, or the file does not hold one.
    """
    return PARAMETERIZATIONS.get(name)
