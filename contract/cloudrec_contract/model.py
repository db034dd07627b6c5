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


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Schema extra holding (rule, message) pairs for the API server."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def frozen(*fields: str) -> tuple[tuple[str, str], ...]:
    """Rules that refuse a change of these optional or defaulted fields."""
    return tuple(
        (
            f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
            f"{name} cannot be changed: make a new recording",
        )
        for name in fields
    )
