"""From a raw config to validated settings, or to one message that lists everything wrong with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from ntk_atlas.config.study import StudySettings
from ntk_atlas.study.consistency import consistency_problems
from ntk_atlas.study.presets import merged, with_preset, with_variants
from ntk_atlas.study.problems import ConfigError, render, validation_problems


def load_study(config: Mapping, files: Sequence[Path] = ()) -> StudySettings:
    """Validates a merged config.

    Args:
        config: the config as read from YAML, overlays merged; its preset is laid over it.
        files: the files it came from, in the order of merging; messages name them.

    Returns:
        The settings of the study.

    Raises:
        ConfigError: with all problems at once, each with file, line, key and what to do.
    """
    config = with_variants(with_preset(config))
    preset = config.get("preset")
    try:
        study = StudySettings.model_validate(config)
    except ValidationError as error:
        raise ConfigError(render(validation_problems(error, config, StudySettings), files, preset)) from None
    problems = consistency_problems(study)
    if problems:
        raise ConfigError(render(problems, files, preset))
    return study


def read_study(files: Sequence[Path], values: Mapping[str, str] | None = None) -> StudySettings:
    """Reads and validates the study that config files give.

    Args:
        files: YAML files; a later one lies over an earlier one.
        values: single values over all files, such as `preset`.

    Returns:
        The settings of the study.

    Raises:
        ConfigError: if a file is not there or not YAML, or with all problems of the config at once.
    """
    config: dict = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text())
        except FileNotFoundError:
            raise ConfigError(f"there is no config {file} (relative to {Path.cwd()}): correct the path") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
        config = merged(config, content or {})
    return load_study(config | dict(values or {}), files)
