"""Every key of the config's schema, and another valid value of each."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from ntk_atlas.config import ExperimentSettings, StudySettings, section_of
from ntk_atlas.datasets import SOURCES, DatasetBase


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if annotation is DatasetBase:
        return list(sources().values())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted keys of all values below a section, sections in it included."""
    for name, field in model.model_fields.items():
        inside = [m for m in models_in(field.annotation) if m is not ExperimentSettings]
        for section in inside:
            yield from keys_of(section, f"{prefix}{name}.")
        if not inside:
            yield f"{prefix}{name}"


def all_keys() -> tuple[str, ...]:
    """Keys of the root, and of an experiment without `experiments.<name>`; those of all kinds of data once."""
    return tuple(dict.fromkeys([*keys_of(StudySettings), *keys_of(ExperimentSettings)]))


def sources() -> dict[str, type[BaseModel]]:
    """The kinds of data by their `source`."""
    return {name: section_of(name) for name in SOURCES.names()}
