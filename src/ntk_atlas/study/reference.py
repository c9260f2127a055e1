"""The written contract, generated from the settings: the JSON schema and the table of keys and defaults."""

import json
from collections.abc import Iterator
from typing import Any

from ntk_atlas.config.dataset import section_of
from ntk_atlas.config.network import SECTIONS
from ntk_atlas.config.study import StudySettings
from ntk_atlas.datasets.sources import SOURCES


def json_schema() -> str:
    """The JSON schema of the config, as editors take it."""
    return json.dumps(StudySettings.model_json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def keys_markdown() -> str:
    """Every key with its type, default and meaning, a Markdown table a section."""
    schema = StudySettings.model_json_schema()
    definitions = schema["$defs"]
    sections = [("the root", schema), ("`experiments.<name>`", definitions["ExperimentSettings"])]
    for source in SOURCES.names():
        section = definitions[section_of(source).__name__]
        sections.append((f"`experiments.<name>.dataset` with `source: {source}`", section))
    named = ("grid", "network", "training", "regression", "scaling", "movement", "dispersion", "output_variance")
    for name in (*named, "kernel_variants"):
        sections.append((f"`experiments.<name>.{name}`", definitions[f"{_camel(name)}Settings"]))
    training = "`experiments.<name>.training"
    for family, own in SECTIONS.items():
        sections.append((f"`experiments.<name>.network.{family}`", definitions[own.__name__]))
    sections.append((f"{training}.learning_rate`", definitions["LearningRateSettings"]))
    sections.append((f"{training}.checkpoints`", definitions["CheckpointSettings"]))
    sections += [("`figures`", definitions["FigureSettings"]), ("`jobs`", definitions["JobSettings"])]
    return "\n".join(line for title, section in sections for line in _section(title, section)) + "\n"


def _section(title: str, section: dict[str, Any]) -> Iterator[str]:
    yield f"### {title}\n"
    yield f"{_one_line(section['description'])}\n"
    yield "| key | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    required = section.get("required", [])
    for key, field in section["properties"].items():
        default = "**required**" if key in required else f"`{_default(field)}`"
        yield f"| `{key}` | {_values(field)} | {default} | {_one_line(field.get('description', ''))} |"
    yield ""


def _values(field: dict[str, Any]) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field or "oneOf" in field:
        return " or ".join(_values(option) for option in field.get("anyOf", field.get("oneOf")))
    if "$ref" in field:
        return "section"
    if field.get("type") == "array":
        return f"list of {_values(field['items'])}"
    if field.get("type") == "object":
        return "section by name"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    kind = {"string": "text", "boolean": "true, false"}.get(field["type"], field["type"])
    return " ".join([kind, ", ".join(bounds)]).strip()


def _default(field: dict[str, Any]) -> str:
    if isinstance(field.get("default"), dict):
        return "see its section"
    return json.dumps(field.get("default"), ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
