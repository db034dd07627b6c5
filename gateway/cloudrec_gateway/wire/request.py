"""An HTTP request taken apart, within bounds: headers, form or query, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from cloudrec_gateway.errors import INVALID_BODY, INVALID_PARAMETER, INVALID_REQUEST, ApiFault

MAX_BODY: Final = 256 * 1024
"""Bytes. The largest sensible request (25 tiles, 25 watermarks, full lists, long URLs) has about 120 kB."""
MAX_QUERY: Final = 32 * 1024
"""Bytes; the published limit of a GET request."""
MAX_HEADERS: Final = 100
"""How many; the SDKs send 15, proxies add some."""
MAX_DEPTH: Final = 12
"""Arrays and objects within each other; the deepest that is documented has 5."""
MAX_FIELDS: Final = 2048
"""Of a form or a query."""

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"

_CHARSET: Final = re.compile(r"""charset\s*=\s*"?utf-?8"?""", re.ASCII)
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NON_ASCII: Final = re.compile(rb"[^\x21-\x7e]")


@dataclass(slots=True)
class HttpRequest:
    """`headers` by lower-case name; `query` and `body` as they came over the wire."""

    method: str
    headers: Mapping[bytes, bytes]
    query: bytes
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's value without blanks around it; empty when there is none."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() if value else ""


def unique_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name. Raises `ApiFault` when they are too many, or one that matters here is given twice."""
    if len(raw) > MAX_HEADERS:
        raise ApiFault(INVALID_REQUEST, f"there are {len(raw)} headers, allowed: {MAX_HEADERS}")
    headers = dict(raw)
    if len(headers) != len(raw):
        seen: set[bytes] = set()
        for name, _ in raw:
            if name in seen and (name in (b"authorization", b"host", b"content-type") or name.startswith(b"x-tc-")):
                raise ApiFault(INVALID_REQUEST, f"the header {name.decode('latin-1')} is given more than once")
            seen.add(name)
    return headers


def media_type(value: str) -> str:
    """`Application/JSON; charset=utf-8` -> `application/json`; raises `ApiFault` for another charset than UTF-8."""
    kind, separator, parameters = value.lower().partition(";")
    if separator and "charset" in parameters and not _CHARSET.search(parameters):
        raise ApiFault(INVALID_REQUEST, "Content-Type has a charset other than utf-8")
    return kind.strip()


def json_object(body: bytes) -> dict[str, Any]:
    """A body that has to be one JSON object, in UTF-8, without NaN, without a name twice in an object.

    Raises `ApiFault`; its message tells where, and repeats nothing of the body.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ApiFault(INVALID_BODY, f"the body is not UTF-8 (byte {error.start})") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ApiFault(INVALID_BODY, f"the body is not JSON (character {error.pos})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; nesting beyond the interpreter's stack
        raise ApiFault(INVALID_BODY, "the body holds a number too long or too many levels") from None
    if not isinstance(value, dict):
        raise ApiFault(INVALID_BODY, "the body is not a JSON object")
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise ApiFault(INVALID_BODY, f"the body has more than {MAX_DEPTH} levels")
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def form(text: bytes) -> dict[str, str]:
    """`A=1&B=x%20y` as names and values. Raises `ApiFault` for what is no strict form, and for a name given twice."""
    if not text:
        return {}
    if _BAD_PERCENT.search(text) or _NON_ASCII.search(text):
        raise ApiFault(INVALID_PARAMETER, "the parameters are not percent-encoded")
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise ApiFault(INVALID_PARAMETER, "the parameters are not UTF-8") from None
    except ValueError:
        raise ApiFault(INVALID_PARAMETER, f"there are more than {MAX_FIELDS} parameters") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ApiFault(INVALID_PARAMETER, "a parameter is given more than once")
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ApiFault(INVALID_BODY, "an object of the body has the same name twice")
    return members


def _constant(name: str) -> NoReturn:
    raise ApiFault(INVALID_BODY, f"the body holds {name}, which is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _deeper(value: object, levels: int) -> bool:
    layer: list[object] = [value]
    for _ in range(levels + 1):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return True


def _refuse_lone_surrogates(value: object) -> None:
    """`"\\ud800"` is valid JSON, but no text: it could not be written out again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiFault(INVALID_BODY, "the body holds half of a surrogate pair") from None
