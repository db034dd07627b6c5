"""Flattened parameters, `RecordParams.RecordMode=1&StorageParams.CloudStorage.FileNamePrefix.0=a`, as nested JSON.

All values are text there. What each is to be stands in the action's model: `UserId=123` stays text, `SdkAppId=123`
becomes a number. What does not fit is left as it is, for the model's own checks to refuse with the field's name.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from cloudrec_gateway.errors import INVALID_PARAMETER, ApiFault, shown

MAX_PARTS: Final = 12

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}

_Tree = dict[str, Any]  # a name's value: text, or the tree of the names below it


def nested(fields: Mapping[str, str], model: type[BaseModel]) -> dict[str, Any]:
    """Flattened fields as the JSON object that `model` describes.

    Raises `ApiFault` when names contradict each other (`A=1&A.B=2`) or a list has gaps (`A.0=x&A.2=y`).
    """
    tree: _Tree = {}
    for name, value in fields.items():
        *parents, last = _parts(name)
        branch = tree
        for part in parents:
            below = branch.setdefault(part, {})
            if not isinstance(below, dict):
                raise _contradiction(name)
            branch = below
        if last in branch:
            raise _contradiction(name)
        branch[last] = value
    return _object(tree, model, "")


def booleans(fields: Iterable[str], model: type[BaseModel]) -> list[str]:
    """Those of the fields that `model` knows to be true or false."""
    return [name for name in fields if _leaf(name.split("."), model) is bool]


def _parts(name: str) -> list[str]:
    parts = name.split(".")
    if len(parts) > MAX_PARTS or not all(parts):
        raise ApiFault(INVALID_PARAMETER, f"{shown(name)} is not the name of a parameter")
    return parts


def _contradiction(name: str) -> ApiFault:
    return ApiFault(INVALID_PARAMETER, f"{shown(name)} contradicts another parameter: one of them is part of the other")


def _convert(value: str | _Tree, kind: Any, path: str) -> Any:
    if isinstance(value, dict):
        if get_origin(kind) is list:
            return _list(value, get_args(kind)[0], path)
        return _object(value, kind if _is_model(kind) else None, path)
    kind = _scalar(kind)
    if kind is int and _INTEGER.fullmatch(value):
        return int(value)
    if kind is bool:
        return _BOOLEANS.get(value.lower(), value)
    return value


def _object(tree: _Tree, model: type[BaseModel] | None, path: str) -> dict[str, Any]:
    kinds = _fields(model) if model else {}
    return {name: _convert(value, kinds.get(name), f"{path}.{name}" if path else name) for name, value in tree.items()}


def _list(tree: _Tree, kind: Any, path: str) -> list[Any]:
    if set(tree) != set(map(str, range(len(tree)))):
        raise ApiFault(INVALID_PARAMETER, f"{path} is a list: its entries are numbered {path}.0, {path}.1 and so on")
    return [_convert(tree[str(index)], _bare(kind), f"{path}.{index}") for index in range(len(tree))]


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: _bare(field.annotation) for name, field in model.model_fields.items()}


def _bare(kind: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType):
            (kind, *_) = (member for member in get_args(kind) if member is not type(None))
        else:
            return kind


def _scalar(kind: Any) -> type | None:
    """int, bool or str for what is written as such, literals and enumerations included."""
    if get_origin(kind) is Literal:
        return type(get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return int if issubclass(kind, int) else str
    return kind if isinstance(kind, type) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _leaf(parts: list[str], kind: Any) -> type | None:
    for part in parts:
        if get_origin(kind) is list:
            kind = _bare(get_args(kind)[0])
        elif _is_model(kind):
            kind = _fields(kind).get(part)
        else:
            return None
    return _scalar(kind)
