"""What all settings share: they are frozen, a key they do not know is an error, and sizes have bounds."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""A number of steps, samples or repetitions."""
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000_000)]
Width = Annotated[int, Field(ge=1, le=1_000_000)]
"""Units or channels of a layer."""
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Seed of a random stream."""
Scale = Annotated[float, Field(ge=1e-10, le=1e10)]
"""A factor or a variance; beyond these bounds it leaves nothing of the numbers it multiplies."""


def _user_path(path: str) -> str:
    if "{" in path or "}" in path:
        raise ValueError(f"{path!r} has braces, which name wildcards in a workflow: rename the file or folder")
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # there is no such user
        return path


UserPath = Annotated[str, AfterValidator(_user_path)]
"""A file or folder of the user's; `~` is expanded here, once, and stays where there is no such user."""


def canonical_json(value: Any) -> str:
    """JSON text that depends on nothing but the value; it cannot end the script of a page that holds it."""
    import json

    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class Settings(BaseModel):
    """Base of every config section: immutable, closed to unknown keys, documented by its attributes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def canonical_json(self) -> str:
        """Returns the settings as JSON text that depends on nothing but their values.

        Text of a user's cannot end the script of a report that holds it: `<`, `>` and `&` are written as escapes.
        """
        return canonical_json(self.model_dump(mode="json"))
