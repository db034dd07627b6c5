"""Errors as they may be logged: where they came from, and nothing of the secrets that a request held."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

SECRET_FIELDS: Final = frozenset({"AccessKey", "PrivateMapKey", "SecretKey", "UserSig"})


def describe(error: BaseException, parameters: object) -> str:
    """The traceback with the error's text, from which the secrets among `parameters` (a request's) are taken out.

    A pydantic error shows its input, also in part: of it only places and kinds are told. Neither the causes of an error
    nor their texts are told.
    """
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults)
    else:
        text = str(error)
        for secret in secrets_in(parameters):
            text = text.replace(secret, "***").replace(repr(secret)[1:-1], "***")
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{frames}{type(error).__name__}: {text}"


def secrets_in(parameters: object) -> Iterator[str]:
    """Values of a request that are never to be seen anywhere, at whatever depth."""
    waiting: list[Any] = [parameters]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                if name not in SECRET_FIELDS:
                    waiting.append(inner)
                elif isinstance(inner, str) and inner:
                    yield inner
        elif isinstance(value, list):
            waiting.extend(value)
