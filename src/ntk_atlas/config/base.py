"""What all settings share: they are frozen, and a key they do not know is an error."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every config section: immutable, closed to unknown keys, documented by its attributes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def canonical_json(self) -> str:
        """Returns the settings as JSON text that depends on nothing but their values."""
        import json

        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
