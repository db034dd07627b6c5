"""TC3-HMAC-SHA256, the signature that all of Tencent Cloud's SDKs use unless they are told otherwise.

    CanonicalRequest = METHOD \\n / \\n query \\n name:value\\n… \\n names \\n hex(sha256(payload))
    StringToSign     = TC3-HMAC-SHA256 \\n timestamp \\n date/service/tc3_request \\n hex(sha256(CanonicalRequest))

Source: https://cloud.tencent.com/document/api/647/37089 and the SDKs' code, which differ from each other: the service
in the scope is whatever the SDK makes of the endpoint's name, and some sign the host without its port. So the scope's
service is taken as given, and the host is tried in each of the forms that it may have been signed in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloudrec_contract.secret import Secret
from cloudrec_gateway.errors import INVALID_AUTHORIZATION, ApiFault, shown
from cloudrec_gateway.wire.request import HttpRequest

ALGORITHM: Final = "TC3-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

_MAX_LENGTH: Final = 2048
_SDK_HEADERS: Final = "content-type;host"
_SIGNED_BY_SDKS: Final = (b"content-type", b"host")


@dataclass(frozen=True, slots=True)
class Scope:
    """What the header Authorization says beside the signature; the same in all requests of a client on one day."""

    secret_id: str
    date: str
    service: str
    signed_headers: tuple[bytes, ...]


def parse_authorization(value: str) -> tuple[Scope, str]:
    """The scope, and the signature in lower-case hexadecimal. Raises `ApiFault` AuthFailure.InvalidAuthorization."""
    head, found, signature = value.rpartition("Signature=")
    if not found or len(value) > _MAX_LENGTH or len(signature) != 64:
        raise _malformed()
    return _parse_scope(head), signature.lower()


@lru_cache(maxsize=256)
def _parse_scope(head: str) -> Scope:
    scheme, _, rest = head.partition(" ")
    fields = [part.strip().partition("=") for part in rest.split(",")]
    if scheme != ALGORITHM or [name for name, _, _ in fields] != ["Credential", "SignedHeaders", ""]:
        raise _malformed()
    credential, names, _ = [value for _, _, value in fields]
    scope = credential.split("/")
    if len(scope) != 4 or "" in scope or scope[3] != "tc3_request":
        raise _malformed()
    signed = _SIGNED_BY_SDKS if names == _SDK_HEADERS else _signed_headers(names)
    return Scope(scope[0], scope[1], scope[2], signed)


def _malformed() -> ApiFault:
    return ApiFault(
        INVALID_AUTHORIZATION,
        f"the header Authorization is not of the form '{ALGORITHM} Credential=<SecretId>/<date>/<service>/"
        "tc3_request, SignedHeaders=<names>, Signature=<64 hexadecimal digits>'",
    )


def _signed_headers(names: str) -> tuple[bytes, ...]:
    """Of other clients than the SDKs, which sign these two only."""
    signed = tuple(name.encode("latin-1") for name in names.split(";"))
    if len(set(signed)) != len(signed):
        raise ApiFault(INVALID_AUTHORIZATION, "SignedHeaders in Authorization has a name twice")
    if not set(_SIGNED_BY_SDKS) <= set(signed):
        raise ApiFault(INVALID_AUTHORIZATION, "SignedHeaders in Authorization lacks content-type or host")
    return signed


@lru_cache(maxsize=256)
def signing_key(secret_key: Secret, date: str, service: str) -> hmac.HMAC:
    """The HMAC of one day and service, to be copied; kept for the few that are in use."""
    key = hmac.digest(f"TC3{secret_key.reveal()}".encode(), date.encode(), "sha256")
    key = hmac.digest(key, service.encode(), "sha256")
    return hmac.new(hmac.digest(key, b"tc3_request", "sha256"), digestmod="sha256")


def verify(
    request: HttpRequest,
    scope: Scope,
    signature: str,
    timestamp: str,
    payload_hash: str,
    key: hmac.HMAC,
    hosts: Sequence[bytes],
) -> bool:
    """Is `signature` the request's, made with `key` (of `signing_key`)?

    `timestamp`: X-TC-Timestamp as it was sent. `payload_hash`: lower-case hexadecimal. `hosts`: forms of the host that
    are accepted. Raises `ApiFault` when a header was signed that is not there.
    """
    given = signature.encode()
    query = request.query if request.method == "GET" else b""
    start = b"%b\n/\n%b\n" % (request.method.encode(), query)
    end = b"\n%b\n%b" % (b";".join(scope.signed_headers), payload_hash.encode())
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope.date}/{scope.service}/tc3_request\n"
    tried: set[bytes] = set()
    for lower in (False, True):
        for host in hosts:
            canonical = start + _canonical_headers(request, scope.signed_headers, host, lower=lower) + end
            if canonical in tried:
                continue
            mac = key.copy()
            mac.update((to_sign + hashlib.sha256(canonical).hexdigest()).encode())
            if hmac.compare_digest(mac.hexdigest().encode(), given):
                return True
            tried.add(canonical)
    return False


def _canonical_headers(request: HttpRequest, names: Sequence[bytes], host: bytes, *, lower: bool) -> bytes:
    """The block of signed headers: the SDKs sign values as they are, the documentation lower-cases them."""
    block = b""
    for name in names:
        value = host if name == b"host" else request.headers.get(name)
        if value is None:
            raise ApiFault(INVALID_AUTHORIZATION, f"the signed header {shown(name.decode('latin-1'))} is missing")
        block += b"%b:%b\n" % (name, value.strip().lower() if lower else value.strip())
    return block
