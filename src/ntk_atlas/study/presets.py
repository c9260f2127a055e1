"""Configs over configs: overlays over the files before them, a preset over its study, a variant over its experiment."""

from collections.abc import Mapping
from typing import Any

from ntk_atlas.config.network import SECTIONS
from ntk_atlas.families import FAMILIES
from ntk_atlas.study.config_tree import Key, Node
from ntk_atlas.study.problems import ConfigError, Problem, did_you_mean


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
