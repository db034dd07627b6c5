"""Parameters to models, and what pydantic finds wrong to TRTC's codes (shared API facts, section 2).

    absent, or required by another parameter     MissingParameter.<Field>, or MissingParameter
    unknown                                      UnknownParameter
    another JSON type                            InvalidParameter
    number, choice or size out of bounds         InvalidParameter.OutOfRange
    anything else                                InvalidParameter, or the field's own code

One fault is told, in this order of kinds and then in the order of the fields: with a misspelt name, that the right one
is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cloudrec_gateway.api import schema
from cloudrec_gateway.api.fields import NO_SUCH
from cloudrec_gateway.errors import (
    INVALID_PARAMETER,
    INVALID_USER_ID,
    INVALID_USER_SIG,
    MISSING_PARAMETER,
    OUT_OF_RANGE,
    UNKNOWN_PARAMETER,
    ApiFault,
    missing_parameter,
    shown,
)

_LONG: Final = 32
"""Characters from which on a text's length is told, and a name is shortened."""

M = TypeVar("M", bound=BaseModel)
Path = tuple[str | int, ...]

_BOUNDS: Final = frozenset(
    {
        "greater_than_equal",
        "less_than_equal",
        "literal_error",
        "string_too_long",
        "string_too_short",
        "too_long",
        "too_short",
    }
)
_OWN_CODES: Final = MappingProxyType[Path, str](
    {
        ("UserId",): INVALID_USER_ID,
        ("UserSig",): INVALID_USER_SIG,
        ("MixLayoutParams", "BackgroundImageUrl"): "InvalidParameter.BackgroundImageUrl",
    }
)
_OWN_CODES_IF_MISSING: Final = MappingProxyType[Path, str]({("MixLayoutParams", "MixLayoutMode"): INVALID_PARAMETER})
_ORDER: Final = (MISSING_PARAMETER, UNKNOWN_PARAMETER)
_JSON_TYPES: Final = MappingProxyType[type, str](
    {
        bool: "a boolean",
        int: "an integer",
        float: "a number with a fraction or an exponent",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
)


def parse(model: type[M], params: Mapping[str, Any]) -> M:
    """The parameters of a request, checked. Raises ApiFault; its message has no secret."""
    try:
        return model.model_validate(params)
    except ValidationError as error:
        faults = [_fault(model, each) for each in error.errors(include_url=False)]
    raise min(faults, key=_rank)


def _rank(fault: ApiFault) -> int:
    kind = fault.code.partition(".")[0]
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _fault(model: type[BaseModel], error: ErrorDetails) -> ApiFault:
    kind, path, value = error["type"], error["loc"], error["input"]
    if kind == "trtc":
        context = error["ctx"]
        inner: Path = context["path"]
        code = _own(path, context["code"])
        of_a_block = inner or not isinstance(value, str)
        given = "" if of_a_block else f"{_given(schema.at(model, path), value)}; "
        return ApiFault(code, f"{field_name(path + inner)}: {given}{context['message']}")
    if kind == "missing":
        code = _OWN_CODES_IF_MISSING.get(path) or missing_parameter(str(path[-1]))
        return ApiFault(code, f"{field_name(path)}: required, and not given")
    if kind == "extra_forbidden":
        return ApiFault(UNKNOWN_PARAMETER, f"{field_name(path)}: {NO_SUCH}")
    field = schema.at(model, path)
    can_be = f"{schema.allowed(field)} is allowed"
    if kind in _BOUNDS and not (kind == "literal_error" and not isinstance(value, str)):
        return ApiFault(OUT_OF_RANGE, f"{field_name(path)}: {_given(field, value)}; {can_be}")
    if kind == "string_pattern_mismatch":
        return ApiFault(_own(path, INVALID_PARAMETER), f"{field_name(path)}: {_given(field, value)}; {can_be}")
    if kind == "string_unicode":
        return ApiFault(INVALID_PARAMETER, f"{field_name(path)}: not valid Unicode; {can_be}")
    found = _JSON_TYPES.get(type(value), "something else")
    return ApiFault(INVALID_PARAMETER, f"{field_name(path)}: {found} given; {can_be}")


def _own(path: Path, code: str) -> str:
    """The code of the field itself where the kind of fault has none."""
    return _OWN_CODES.get(path, code) if code == INVALID_PARAMETER else code


def _given(field: schema.Schema, value: object) -> str:
    if schema.secret(field):
        return "what was given is not shown"
    if isinstance(value, list):
        return f"{len(value)} entries given"
    size = f" ({len(value)} characters)" if isinstance(value, str) and len(value) > _LONG else ""
    return f"{shown(value)}{size} given"


def field_name(path: Path) -> str:
    """`RecordParams.MaxIdleTime`, list entries by number as in the flattened form; the client's own names shortened."""
    return ".".join(str(part) if _plain(part) else shown(part) for part in path) or "the parameters"


def _plain(part: str | int) -> bool:
    return isinstance(part, int) or (part.isascii() and part.isidentifier() and len(part) <= _LONG)
