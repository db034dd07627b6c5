"""The base of all wire models: camelCase outside, snake_case inside, unknown keys refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Strict about unknown keys, so that a typing error in a manifest never passes in silence."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def wire(self) -> dict[str, Any]:
        """JSON-ready camelCase dict without empty optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Lenient(Model):
    """A model read from a newer or older peer: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore")
