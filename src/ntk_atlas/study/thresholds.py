"""Files of thresholds, of claims and of regimes: read, checked, and kept apart from the networks they judge."""

import os
from pathlib import Path

from pydantic import ValidationError

from ntk_atlas.config.claims import ClaimError, Thresholds, thresholds_model, thresholds_of
from ntk_atlas.config.regimes import RegimeThresholds
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.study.config_files import read_config
from ntk_atlas.study.config_tree import Node
from ntk_atlas.study.problems import ConfigError, validation_problems


def load_thresholds(path: Path) -> Thresholds:
    """Reads and validates the thresholds of claims.

    Args:
        path: a YAML file.

    Returns:
        The thresholds.

    Raises:
        ConfigError: with all problems at once, each with file, line and key.
    """
    tree, content = _read(Path(path))
    if isinstance(content.get("claims"), dict):
        content["claims"] = {_found(key, path): settings for key, settings in content["claims"].items()}
    try:
        return thresholds_of(content, strict=True)
    except ClaimError as error:
        raise ConfigError([f"{path}: {error}"]) from None
    except ValidationError as error:
        raise ConfigError(validation_problems(error, content, thresholds_model(content)), tree) from None


def load_regime_thresholds(path: Path) -> RegimeThresholds:
    """Reads and validates the thresholds of regimes.

    Args:
        path: a YAML file.

    Returns:
        The thresholds.

    Raises:
        ConfigError: with all problems at once, each with file, line and key.
    """
    tree, content = _read(Path(path))
    try:
        return RegimeThresholds.model_validate(content, strict=True)
    except ValidationError as error:
        raise ConfigError(validation_problems(error, content, RegimeThresholds), tree) from None


def _read(path: Path) -> tuple[Node, dict]:
    if not path.is_file():
        where = f"relative to {Path.cwd()} or beside the config"
        raise ConfigError([f"there is no file of thresholds {path} ({where}): correct the path"])
    tree = read_config(path)
    content = tree.plain()
    content.pop("shared", None)  # a place for YAML anchors
    return tree, content


def _found(claim: str, file: Path) -> str:
    """A claim of the user's, `my_claim.py:x`, that lies beside the file of thresholds and not where the run is."""
    place, _, name = claim.rpartition(":")
    beside = file.absolute().parent / place
    return (
        f"{Path(os.path.relpath(beside)).as_posix()}:{name}"
        if place and not Path(place).is_file() and beside.is_file()
        else claim
    )


def seed_conflict(experiment: ExperimentSettings, thresholds: Thresholds) -> tuple[str, str] | None:
    """Whether an experiment would be judged on networks that its thresholds were chosen with.

    Args:
        experiment: settings.
        thresholds: thresholds.

    Returns:
        The key of the seed and a sentence; None if there is no conflict.
    """
    seeds = {"training.seed": experiment.training.seed}
    if experiment.dispersion is not None:
        seeds["dispersion.seed"] = experiment.dispersion.seed
    for key, seed in seeds.items():
        if seed in thresholds.chosen_with.seeds:
            chosen = ", ".join(map(str, thresholds.chosen_with.seeds))
            return key, (
                f"{seed} is among the seeds that chose the thresholds of the claims ({chosen}); what chose a threshold "
                "cannot be judged by it: take another seed"
            )
    return None
