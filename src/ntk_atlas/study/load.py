"""From config files to validated settings, or to one message that lists everything wrong with them.

Files that a config names are looked for first; then overlays are laid over the files before them, a preset over its
study, a variant over its experiment; then everything is validated.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ntk_atlas.config.network import SECTIONS
from ntk_atlas.config.study import StudySettings
from ntk_atlas.families import FAMILIES
from ntk_atlas.study.config_files import read_config, tree_of_values
from ntk_atlas.study.consistency import consistency_problems
from ntk_atlas.study.estimates import size_problems
from ntk_atlas.study.problems import (
    ConfigError,
    Key,
    Node,
    Problem,
    did_you_mean,
    keys_of,
    tree_of,
    validation_problems,
)

_VALUES = ("factory", "architecture", "activation", "parameterization", "optimizer", "source")
"""Keys whose text may name something in a file, `my_file.py:name`."""
_KEYS = ("path", "initial_state", "claims", "regimes", *_VALUES)
"""Keys whose text names a file."""
_LISTS = ("predictors", "show")
"""Keys of lists in which kernels and figures of the user's are named, `my_kernel.py:k`."""
_OF_FUNCTION = re.compile(r"(?P<file>.*\.py)(?P<function>:[^:/\\]*)", re.DOTALL)


def found_files(tree: Node) -> tuple[Node, list[Problem]]:
    """Resolves the names of files in a config.

    A relative name is looked for in the working directory and in the folder of the config file in which it stands, so
    that a config can lie beside its data and code and be run from anywhere.

    Args:
        tree: the whole config.

    Returns:
        The config, each name that is found only beside its config file replaced by its path from the working
        directory; and what is wrong: names that stand for two files, and characters that no such name may have, since
        it stands in reports and logs, where it must not act.
    """
    problems: list[Problem] = []

    def resolved(node: Node, key: Key) -> Node:
        if node.is_section:
            return replace(node, value={name: resolved(child, (*key, name)) for name, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[resolved(child, (*key, i)) for i, child in enumerate(node.value)])
        named = _named_file(node, key)
        if named is None:
            return node
        file, function = named
        if re.search(r"[<>\x00-\x1f\x7f]", node.value):
            problems.append(Problem(key, f"{node.value!r} has `<`, `>` or a control character: rename the file"))
            return node
        here, *beside = _places(file, node)
        if not beside or not _is_there(beside[0]):
            return node
        if _is_there(here) and not here.samefile(beside[0]):
            problems.append(Problem(key, f"{file} may be {here.absolute()} or {beside[0]}: give its whole path"))
            return node
        return node if _is_there(here) else replace(node, value=Path(os.path.relpath(beside[0])).as_posix() + function)

    return resolved(tree, ()), problems


def _named_file(node: Node, key: Key) -> tuple[str, str] | None:
    """File and function of a value that names a file; None for all other values."""
    of_list = len(key) > 1 and key[-2] in _LISTS
    if not isinstance(node.value, str) or not (key and (key[-1] in _KEYS or of_list)):
        return None
    function = _OF_FUNCTION.fullmatch(node.value)
    if function is not None:
        return function["file"], function["function"]
    return None if of_list or key[-1] in _VALUES else (node.value, "")


def _places(file: str, node: Node) -> Iterator[Path]:
    """Where a file may be: from the working directory, and beside the config file that names it."""
    yield Path(file)
    if node.place is not None and not Path(file).is_absolute() and not file.startswith("~"):
        yield Path(node.place.file).absolute().parent / file


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name: said where the file is read
        return False


def laid_over(below: Node, above: Node, key: Key = ()) -> Node:
    """Lays one config over another.

    Sections are joined key by key, everything else is replaced. `null` takes an inherited key away, so that its default
    holds again; an experiment that is null is switched off. What says of which kind a section is takes with it what
    belonged to the other kind (`_without_the_other_kind`).

    Args:
        below: the config that is changed.
        above: what lies over it.
        key: of both, within the whole config.

    Returns:
        The joined config; a section is where it was touched last.
    """
    if not (below.is_section and above.is_section):
        return above
    result = _without_the_other_kind(below.value, above.value, key)
    for name, node in above.value.items():
        old = below.value.get(name)
        if node.value is None and old is not None and not _keeps_null((*key, name)):
            result.pop(name, None)
        elif name in result:
            result[name] = laid_over(result[name], node, (*key, name))
        else:
            result[name] = node
    return Node(result, above.place)


def _keeps_null(key: Key) -> bool:
    """Whether a null stays: that of an experiment says that it is off, that of a preset is for what it lies over."""
    return key[:1] == ("presets",) or (len(key) == 2 and key[0] == "experiments")


def _without_the_other_kind(below: Mapping[str, Node], above: Mapping[str, Node], key: Key) -> dict[str, Node]:
    """What is inherited of a section whose keys depend on what it is: data of another source inherit nothing.

    Args:
        below: the section that is changed.
        above: what lies over it.
        key: of the section.

    Returns:
        The keys of `below` that still mean something.
    """
    path = key[2:] if key[:1] == ("presets",) else key  # a preset has the sections of a config
    section = path[2:] if path[:1] == ("experiments",) else ()

    def gives(name: str) -> bool:
        return name in above and above[name].value is not None

    def differs(name: str) -> bool:
        return gives(name) and name in below and below[name].plain() != above[name].plain()

    kept = dict(below)
    if section == ("dataset",) and differs("source"):
        kept = {}
    elif section == ("network",) and gives("factory") and _is_absent(below, "factory"):
        keys = FAMILIES.get("factory").keys or ()
        kept = {name: node for name, node in below.items() if name in keys}
    elif section == ("network",) and differs("architecture"):
        kept = {name: node for name, node in below.items() if name not in SECTIONS}
    elif section == ("training", "learning_rate"):
        for given, other in (("absolute", ("relative", "of")), ("relative", ("absolute",))):
            if gives(given) and not any(map(gives, other)):
                kept = {name: node for name, node in kept.items() if name not in other}
    return kept


def _is_absent(section: Mapping[str, Node], name: str) -> bool:
    return name not in section or section[name].value is None


def with_preset(config: Node) -> Node:
    """The config with the preset it chooses laid over it, section by section.

    Args:
        config: the whole config; `preset` names one of `presets`.

    Returns:
        A config of its own; without a preset, the argument.

    Raises:
        ConfigError: if the preset chosen does not exist, or presets are not sections.
    """
    chosen, presets = _scalar(config, "preset"), config.get("presets") or Node({})
    if chosen is None:
        return config
    if not isinstance(chosen, str):
        raise ConfigError([Problem(("preset",), "is no text: write the name of one preset")], config)
    if presets.value is None:
        presets = Node({})
    if not presets.is_section or not all(preset.is_section for preset in presets.value.values()):
        raise ConfigError([Problem(("presets",), "must be a section of sections by name")], config)
    if chosen not in presets.value:
        known = list(presets.value)
        hint = did_you_mean(chosen, known) if known else "known here: none: name a study's file with --configfile"
        raise ConfigError([Problem(("preset",), f"there is no {chosen!r}; {hint}")], config)
    return laid_over(config, presets.value[chosen])


def with_variants(config: Node) -> Node:
    """The config with each experiment that is a `variant_of` another laid over that one.

    Args:
        config: the whole config, its preset laid over it.

    Returns:
        A config of its own.

    Raises:
        ConfigError: if there is no such experiment, it is switched off, or is a variant itself.
    """
    experiments = config.get("experiments")
    if experiments is None or not experiments.is_section:
        return config
    whole = dict(experiments.value)
    for name, own in experiments.value.items():
        base = _scalar(own, "variant_of")
        if base is None:
            continue
        key = ("experiments", name, "variant_of")
        if not isinstance(base, str):
            raise ConfigError([Problem(key, "is no text: write the name of one experiment")], config)
        below = experiments.get(base)
        if below is None or not below.is_section or _scalar(below, "variant_of") is not None:
            able = [n for n, e in experiments.value.items() if e.is_section and _scalar(e, "variant_of") is None]
            said = f"{base!r} is no experiment that can have variants; those that can: {', '.join(able) or 'none'}"
            raise ConfigError([Problem(key, said)], config)
        whole[name] = laid_over(below, own, ("experiments", name))
    return Node({**config.value, "experiments": Node(whole, experiments.place)}, config.place)


def _scalar(section: Node, name: str) -> Any:
    node = section.get(name)
    return None if node is None else node.plain()


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
