"""The settings that a cube was made with, as it carries them."""

import xarray as xr

from ntk_atlas.config.movement import MovementSettings
from ntk_atlas.config.scaling import ScalingSettings
from ntk_atlas.config.study import ExperimentSettings


def experiment_settings(cube: xr.Dataset) -> ExperimentSettings:
    """The settings in the attribute `config` of a cube.

    Raises:
        KeyError: if it has none.
    """
    return ExperimentSettings.model_validate_json(cube.attrs["config"])


def scaling_settings(cube: xr.Dataset) -> ScalingSettings:
    """What learning curves and intervals of a cube are about; the defaults if the cube does not say."""
    return experiment_settings(cube).scaling if "config" in cube.attrs else ScalingSettings()


def movement_settings(cube: xr.Dataset) -> MovementSettings:
    """At which training error movement is compared; the default if the cube does not say."""
    return experiment_settings(cube).movement if "config" in cube.attrs else MovementSettings()
