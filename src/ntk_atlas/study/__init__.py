"""From a config to work: validated settings, cells of the grid, and what each job depends on."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load_study":
        from ntk_atlas.study.load import load_study

        return load_study
    if name == "ConfigError":
        from ntk_atlas.study.problems import ConfigError

        return ConfigError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
