"""The settings that a cube was made with, as it carries them."""

import xarray as xr
from pydantic import ValidationError

from ntk_atlas.config.movement import MovementSettings
from ntk_atlas.config.scaling import ScalingSettings
from ntk_atlas.config.study import ExperimentSettings


def experiment_settings(cube: xr.Dataset) -> ExperimentSettings:
    """The settings in the attribute `config` of a cube.

    Raises:
        KeyError: if it has none.
        ValueError: if they are not settings of this version of the package.
    """
    try:
        return ExperimentSettings.model_validate_json(cube.attrs["config"])
    except ValidationError as error:
        first = error.errors()[0]
        named = [part for part in str(cube.attrs.get("versions", "")).split(", ") if part.startswith("ntk-atlas ")]
        raise ValueError(
            f"the settings in this file are not of this version of ntk-atlas ({'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}); it was written by {named[0] if named else 'a version that it does not name'}: read it "
            "with that version, or run its study again"
        ) from error


def scaling_settings(cube: xr.Dataset) -> ScalingSettings:
    """What learning curves and intervals of a cube are about; the defaults if the cube does not say."""
    return experiment_settings(cube).scaling if "config" in cube.attrs else ScalingSettings()


def movement_settings(cube: xr.Dataset) -> MovementSettings:
    """At which training error movement is compared; the default if the cube does not say."""
    return experiment_settings(cube).movement if "config" in cube.attrs else MovementSettings()
