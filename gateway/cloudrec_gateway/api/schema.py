"""The models' JSON schemas, walked by path: what a field allows, in words. One source for messages and OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_DEFS = "#/$defs/"


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """With TRTC's names; not to be changed."""
    return model.model_json_schema(by_alias=True)


def at(model: type[BaseModel], path: Sequence[str | int]) -> Schema:
    """The schema of the field that `path` leads to; empty when there is none."""
    root = schema_of(model)
    here = _plain(root, root)
    for part in path:
        below = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part, {})
        here = _plain(root, below)
    return here


def _plain(root: Schema, schema: Schema) -> Schema:
    """Without reference and without `or null`."""
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return _plain(root, option)
    reference = schema.get("$ref", "")
    if reference.startswith(_DEFS):
        return _plain(root, root["$defs"][reference.removeprefix(_DEFS)])
    return schema


def secret(schema: Schema) -> bool:
    """Whether the field's value must never be shown."""
    return bool(schema.get("writeOnly"))


def allowed(schema: Schema) -> str:
    """In words: `an integer from 5 to 86400`."""
    match schema:
        case {"enum": values}:
            return " or ".join(map(str, values))
        case {"type": "integer", "minimum": low, "maximum": high}:
            return f"an integer from {low} to {high}"
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "array"}:
            most = f" of at most {schema['maxItems']} entries" if "maxItems" in schema else ""
            return f"an array{most}"
        case {"type": "string"}:
            return _text(schema)
        case _:
            return "an object"


def _text(schema: Schema) -> str:
    least, most, form = schema.get("minLength", 0), schema.get("maxLength"), schema.get("pattern")
    wants = [f"{least} to {most} characters"] if most is not None else []
    wants += [f"the form {form}"] if form else []
    return " of ".join(["a string", " and ".join(wants)]) if wants else "a string"
