"""From config files to validated settings, or to one message that lists everything wrong with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ntk_atlas.config.study import StudySettings
from ntk_atlas.study.config_files import read_config, tree_of_values
from ntk_atlas.study.config_tree import Node, keys_of, tree_of
from ntk_atlas.study.consistency import consistency_problems
from ntk_atlas.study.named_files import found_files
from ntk_atlas.study.presets import laid_over, with_preset, with_variants
from ntk_atlas.study.problems import ConfigError, Problem, validation_problems
from ntk_atlas.study.size_questions import size_problems

StartProblems = Callable[[StudySettings, Sequence[Problem]], list[Problem]]


def load_study(config: Mapping | Node, start: StartProblems | None = None) -> StudySettings:
    """Validates a whole config.

    Numbers must be numbers, text must be text, true and false neither: nothing is converted.

    Args:
        config: the config, overlays laid over it; its preset and its variants are laid over by this function. Messages
            say where things stand if it is the tree of files (`read_tree`).
        start: what is tried before any work; called with the settings and the problems found by looking at them.

    Returns:
        The settings of the study.

    Raises:
        ConfigError: with all problems at once, each with file, line, key and what to do.
    """
    tree = config if isinstance(config, Node) else tree_of(config)
    odd = [
        Problem(key, f"the key {name!r} is no text: write it in quotes")
        for key, name in keys_of(tree)
        if not isinstance(name, str)
    ]
    tree, of_files = found_files(tree)
    odd += of_files
    if odd:
        raise ConfigError(odd, tree)
    tree = with_variants(with_preset(tree))
    plain = tree.plain()
    try:
        study = StudySettings.model_validate(plain, strict=True)
    except ValidationError as error:
        raise ConfigError(validation_problems(error, plain, StudySettings), tree) from None
    problems = [*consistency_problems(study), *size_problems(study)]
    if start is not None:
        problems = [*problems, *start(study, problems)]
    if problems:
        raise ConfigError(problems, tree)
    return study


def read_tree(files: Sequence[Path], values: Mapping[str, Any] | None = None) -> Node:
    """Reads config files and lays each over those before it.

    Args:
        files: YAML or JSON files.
        values: values over all files, such as `preset`.

    Returns:
        The whole config, not validated.

    Raises:
        ConfigError: if a file cannot be read; every file that cannot is named.
    """
    trees, wrong = [], []
    for file in files:
        try:
            trees.append(read_config(file))
        except ConfigError as error:
            wrong += error.lines
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    whole = Node({})
    for tree in (*trees, *([tree_of_values(values)] if values else [])):
        whole = laid_over(whole, tree)
    return whole


def read_study(
    files: Sequence[Path], values: Mapping[str, Any] | None = None, start: StartProblems | None = None
) -> StudySettings:
    """Reads and validates the study that config files give.

    Args:
        files: YAML or JSON files; a later one lies over an earlier one.
        values: values over all files, such as `preset`.
        start: see `load_study`.

    Returns:
        The settings of the study.

    Raises:
        ConfigError: if a file cannot be read, or with all problems of the config at once.
    """
    return load_study(read_tree(files, values), start)
