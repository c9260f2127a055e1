"""Presets: one config file for a study in several sizes, of which one is chosen."""

from collections.abc import Mapping

from ntk_atlas.study.problems import ConfigError


def with_preset(config: Mapping) -> dict:
    """The config with the preset it chooses laid over it, section by section.

    Args:
        config: the config as read from YAML; `preset` names one of `presets`.

    Returns:
        A config of its own; without a preset, that of the argument.

    Raises:
        ConfigError: if the preset chosen does not exist, or presets are not sections.
    """
    chosen, presets = config.get("preset"), config.get("presets") or {}
    if chosen is None:
        return dict(config)
    if not isinstance(presets, Mapping) or not isinstance(presets.get(chosen, {}), Mapping):
        raise ConfigError(
            "The config has 1 problem; nothing was run:\n  presets: must be a section of sections by name"
        )
    if chosen not in presets:
        known = ", ".join(presets) or "none: name a study's file with --configfile"
        raise ConfigError(
            f"The config has 1 problem; nothing was run:\n  preset: there is no {chosen!r}; known here: {known}"
        )
    return merged(config, presets[chosen])


def with_variants(config: Mapping) -> dict:
    """The config with each experiment that is a `variant_of` another laid over that one.

    Args:
        config: the config as read from YAML, its preset laid over it.

    Returns:
        A config of its own.

    Raises:
        ConfigError: if there is no such experiment, it is switched off, or is a variant itself.
    """
    experiments = config.get("experiments")
    if not isinstance(experiments, Mapping):
        return dict(config)
    whole = dict(experiments)
    for name, own in experiments.items():
        base = own.get("variant_of") if isinstance(own, Mapping) else None
        if base is None:
            continue
        below = experiments.get(base)
        if not isinstance(below, Mapping) or below.get("variant_of") is not None:
            known = ", ".join(n for n, e in experiments.items() if isinstance(e, Mapping) and not e.get("variant_of"))
            raise ConfigError(
                f"The config has 1 problem; nothing was run:\n  experiments.{name}.variant_of: {base!r} is no "
                f"experiment that can have variants; those that can: {known or 'none'}"
            )
        whole[name] = merged(below, own)
    return {**config, "experiments": whole}


def merged(below: Mapping, above: Mapping) -> dict:
    """Lays one config over another: sections are joined key by key, everything else is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
