"""Who calls what: an HTTP request's signature verified, whichever of the three kinds it has."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel

from cloudrec_gateway.backend import Credential, Keys
from cloudrec_gateway.errors import (
    INVALID_AUTHORIZATION,
    INVALID_PARAMETER,
    INVALID_REQUEST,
    MISSING_PARAMETER,
    NO_SUCH_VERSION,
    SECRET_ID_NOT_FOUND,
    SIGNATURE_EXPIRE,
    SIGNATURE_FAILURE,
    TOKEN_FAILURE,
    UNAUTHORIZED_OPERATION,
    ApiFault,
    shown,
)
from cloudrec_gateway.wire import flat, legacy, tc3
from cloudrec_gateway.wire.request import FORM_TYPE, JSON_TYPE, HttpRequest, form, json_object, media_type

VERSION: Final = "2019-07-22"
WINDOW_SECONDS: Final = 300
"""How far a request's timestamp may be from the clock, to either side."""


@dataclass(slots=True)
class Call:
    """An authenticated call. `signature` and `body_hash` as in `backend.Caller`."""

    action: str
    credential: Credential
    signature: str
    body_hash: str
    _read: Callable[[type[BaseModel]], dict[str, Any]]

    def parameters(self, model: type[BaseModel]) -> dict[str, Any]:
        """The action's parameters as a JSON object, not validated; `model` says which of the flattened are numbers.

        Raises `ApiFault` when they cannot be read at all.
        """
        return self._read(model)


def authenticate(
    request: HttpRequest,
    keys: Keys,
    now: float,
    *,
    models: Mapping[str, type[BaseModel]],
    public_hosts: Sequence[str] = (),
) -> Call:
    """Verify the request at the Unix time `now`; raises `ApiFault`.

    `models`: of the actions that there are, by name. `public_hosts`: names that clients know this service by, where a
    proxy puts another into the header Host.
    """
    if request.method not in ("GET", "POST"):
        raise ApiFault(INVALID_REQUEST, f"the HTTP method is {shown(request.method)}, allowed: GET, POST")
    host = request.headers.get(b"host", b"").strip()
    if not host:
        raise ApiFault(INVALID_REQUEST, "the header Host is missing")
    name, _, port = host.rpartition(b":")
    hosts = [host, name] if name and port.isdigit() else [host]
    if public_hosts:
        hosts += [name.encode() for name in public_hosts]
    if request.method == "GET":
        if request.body:
            raise ApiFault(INVALID_REQUEST, "a GET request has its parameters in the query, and no body")
    elif request.query:
        raise ApiFault(INVALID_REQUEST, "a POST request has its parameters in the body, and no query")
    if b"authorization" in request.headers:
        return _by_tc3(request, keys, now, hosts)
    return _by_legacy(request, keys, now, hosts, models)


def _by_tc3(request: HttpRequest, keys: Keys, now: float, hosts: Sequence[bytes]) -> Call:
    scope, signature = tc3.parse_authorization(request.header(b"authorization"))
    posted = request.method == "POST"
    _check_type(request, JSON_TYPE if posted else FORM_TYPE)
    timestamp = request.header(b"x-tc-timestamp")
    seconds = _check_timestamp("X-TC-Timestamp", timestamp, now)
    if scope.date != _date(seconds // 86400):
        message = (
            f"the date in Credential is {shown(scope.date)}, that of X-TC-Timestamp in UTC is {_date(seconds // 86400)}"
        )
        raise ApiFault(SIGNATURE_FAILURE, message)
    action = _check_common("X-TC-", request.header(b"x-tc-action"), request.header(b"x-tc-version"))
    if b"x-tc-token" in request.headers:
        _check_token(request.header(b"x-tc-token"))
    credential = _lookup(keys, scope.secret_id)
    body_hash = hashlib.sha256(request.body if posted else request.query).hexdigest()
    payload_hash = body_hash if posted else _EMPTY
    declared = request.header(b"x-tc-content-sha256")
    unsigned = declared == tc3.UNSIGNED_PAYLOAD
    if unsigned:
        payload_hash = _UNSIGNED
    key = tc3.signing_key(credential.secret_key, scope.date, scope.service)
    if not tc3.verify(request, scope, signature, timestamp, payload_hash, key, hosts):
        raise ApiFault(SIGNATURE_FAILURE, _MISMATCH)
    if unsigned and not credential.allow_unsigned_payload:
        message = f"X-TC-Content-SHA256 is {tc3.UNSIGNED_PAYLOAD}, which this application does not allow"
        raise ApiFault(UNAUTHORIZED_OPERATION, message)
    if declared and not unsigned and not hmac.compare_digest(declared.lower().encode(), payload_hash.encode()):
        raise ApiFault(SIGNATURE_FAILURE, "X-TC-Content-SHA256 is not the hash of the body")

    def read(model: type[BaseModel]) -> dict[str, Any]:
        return json_object(request.body) if posted else flat.nested(form(request.query), model)

    return Call(action, credential, signature, body_hash, read)


def _by_legacy(
    request: HttpRequest,
    keys: Keys,
    now: float,
    hosts: Sequence[bytes],
    models: Mapping[str, type[BaseModel]],
) -> Call:
    posted = request.method == "POST"
    content_type = request.header(b"content-type")
    if (posted and media_type(content_type) != FORM_TYPE) or (not posted and not request.query):
        raise ApiFault(
            INVALID_AUTHORIZATION,
            f"the header Authorization is missing; only {', '.join(legacy.METHODS)} do without it, with all parameters "
            f"in the query (GET) or as {FORM_TYPE} (POST)",
        )
    raw = request.body if posted else request.query
    fields = form(raw)
    for name in ("SecretId", "Timestamp", "Nonce", legacy.SIGNATURE):
        if not fields.get(name):
            raise ApiFault(MISSING_PARAMETER, f"{name} is missing (and so is the header Authorization)")
    action = _check_common("", fields.get("Action", ""), fields.get("Version", ""))
    _check_timestamp("Timestamp", fields["Timestamp"], now)
    if not (fields["Nonce"].isascii() and fields["Nonce"].isdigit()):
        raise ApiFault(INVALID_PARAMETER, f"Nonce is {shown(fields['Nonce'])}, allowed: a whole number")
    _check_token(fields.get("Token", ""))
    digest = legacy.digest_name(fields.get("SignatureMethod", ""))
    credential = _lookup(keys, fields["SecretId"])
    own = {name: value for name, value in fields.items() if name not in legacy.COMMON}
    if not legacy.verify(
        request.method,
        fields,
        credential.secret_key,
        digest=digest,
        hosts=[host.decode("latin-1") for host in hosts],
        booleans=flat.booleans(own, models[action]) if action in models else (),
    ):
        raise ApiFault(SIGNATURE_FAILURE, _MISMATCH)

    def read(model: type[BaseModel]) -> dict[str, Any]:
        return flat.nested(own, model)

    return Call(action, credential, fields[legacy.SIGNATURE], hashlib.sha256(raw).hexdigest(), read)


_MISMATCH: Final = (
    "the signature does not match the request: SecretKey, body, Host or Content-Type differ from what was signed"
)
_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_UNSIGNED: Final = hashlib.sha256(tc3.UNSIGNED_PAYLOAD.encode()).hexdigest()


@lru_cache(maxsize=16)
def _date(days: int) -> str:
    """Of so many days since the Unix epoch."""
    return time.strftime("%Y-%m-%d", time.gmtime(days * 86400))


def _check_type(request: HttpRequest, expected: str) -> None:
    value = request.header(b"content-type")
    if value != expected and media_type(value) != expected:
        message = f"Content-Type is {shown(value)}, allowed for {request.method} with {tc3.ALGORITHM}: {expected}"
        raise ApiFault(INVALID_REQUEST, message)


def _check_timestamp(name: str, value: str, now: float) -> int:
    if not value:
        raise ApiFault(MISSING_PARAMETER, f"{name} is missing")
    if not (value.isascii() and value.isdigit() and len(value) <= 11):
        raise ApiFault(INVALID_PARAMETER, f"{name} is {shown(value)}, allowed: whole seconds since 1970")
    seconds = int(value)
    if abs(now - seconds) > WINDOW_SECONDS:
        side = "behind" if seconds < now else "ahead of"
        message = f"{name} is {abs(now - seconds):.0f} s {side} this service's clock, allowed: {WINDOW_SECONDS} s"
        raise ApiFault(SIGNATURE_EXPIRE, message)
    return seconds


def _check_common(prefix: str, action: str, version: str) -> str:
    for name, value in (("Action", action), ("Version", version)):
        if not value:
            raise ApiFault(MISSING_PARAMETER, f"{prefix}{name} is missing")
    if version != VERSION:
        raise ApiFault(NO_SUCH_VERSION, f"{prefix}Version is {shown(version)}, allowed: {VERSION}")
    return action


def _check_token(token: str) -> None:
    if token:
        raise ApiFault(TOKEN_FAILURE, "Token is given; temporary credentials do not exist here")


def _lookup(keys: Keys, secret_id: str) -> Credential:
    credential = keys.lookup(secret_id)
    if credential is None:
        raise ApiFault(SECRET_ID_NOT_FOUND, "there is no such SecretId")
    return credential
