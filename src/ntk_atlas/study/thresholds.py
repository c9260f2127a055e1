"""The file of thresholds that claims are judged by: read, checked, and kept apart from the networks it judges."""

from pathlib import Path

from pydantic import ValidationError

from ntk_atlas.config.claims.file import Thresholds
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.study.config_files import read_config
from ntk_atlas.study.problems import ConfigError, validation_problems


def load_thresholds(path: Path) -> Thresholds:
    """Reads and validates thresholds.

    Args:
        path: a YAML file.

    Returns:
        The thresholds.

    Raises:
        ConfigError: with all problems at once, each with file, line and key.
    """
    path = Path(path)
    if not path.is_file():
        where = f"relative to {Path.cwd()} or beside the config"
        raise ConfigError([f"there is no file of thresholds {path} ({where}): correct the path"])
    tree = read_config(path)
    content = tree.plain()
    content.pop("shared", None)  # a place for YAML anchors
    try:
        return Thresholds.model_validate(content, strict=True)
    except ValidationError as error:
        raise ConfigError(validation_problems(error, content, Thresholds), tree) from None


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


def judge_spec(experiment: ExperimentSettings) -> ExperimentSettings:
    """Spec of `judge_claims`: the settings that verdicts depend on beside the labelled arrays; others at defaults."""
    return ExperimentSettings(
        **{
            name: getattr(experiment, name)
            for name in (
                "dataset",
                "grid",
                "network",
                "training",
                "dispersion",
                "output_variance",
                "kernel_variants",
                "regression",
                "scaling",
                "variant_of",
            )
        }
    )
