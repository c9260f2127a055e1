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


def merged(below: Mapping, above: Mapping) -> dict:
    """Lays one config over another: sections are joined key by key, everything else is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
