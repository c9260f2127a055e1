"""Labelled arrays in and out of NetCDF: rows of networks, predictions, and the cube that joins them."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "predictor_values":
        from ntk_atlas.cubes.predictors import predictor_values

        return predictor_values
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
