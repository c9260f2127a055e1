"""The section `dataset`: one class of settings per source of data, chosen by `source`; each lies with its source."""

from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from ntk_atlas.datasets.dataset import DatasetBase
from ntk_atlas.datasets.sources import SOURCES
from ntk_atlas.registry import is_own


def section_of(source: str) -> type[DatasetBase]:
    """The class of the section of a source, built in or in a file of the user's.

    Raises:
        DataError: if there is no such source.
    """
    return SOURCES.get(source).settings


class _OfSource:
    """Validates a section as the class that its `source` names; no other source is imported."""

    def __get_pydantic_core_schema__(self, annotation: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.lax_or_strict_schema(
            core_schema.no_info_plain_validator_function(lambda value: _section(value, strict=False)),
            core_schema.with_info_plain_validator_function(_strict_section),
            serialization=core_schema.simple_ser_schema("any"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        sections = {name: section_of(name).__pydantic_core_schema__ for name in SOURCES.names()}
        return handler(core_schema.tagged_union_schema(sections, discriminator="source"))


def _strict_section(value: Any, info: ValidationInfo) -> DatasetBase:
    return _section(value, strict=info.mode == "python")  # JSON has no tuples


def _section(value: Any, *, strict: bool) -> DatasetBase:
    if isinstance(value, DatasetBase):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("model_type", {"class_name": "DatasetSettings"})
    if "source" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'source'"})
    source = value["source"]
    if not isinstance(source, str) or not (source in SOURCES or is_own(source)):
        tags = ", ".join(f"'{name}'" for name in SOURCES.names())
        tag = {"discriminator": "'source'", "tag": str(source), "expected_tags": tags}
        raise PydanticKnownError("union_tag_invalid", tag)
    return section_of(source).model_validate(value, strict=strict)


DatasetSettings = Annotated[DatasetBase, _OfSource(), Field(validate_default=True)]
