"""HmacSHA1 and HmacSHA256, the older signatures, which the SDKs still offer.

All parameters, the action's and the common ones, stand in the query (GET) or in a form (POST). Signed is

    METHOD host / ? name=value&…      with the names in order and the values as they are before percent-encoding

Source: the SDKs' code (`sign.py`, `abstract_client.py`).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from cloudrec_contract.secret import Secret
from cloudrec_gateway.errors import INVALID_PARAMETER, ApiFault, shown

SIGNATURE: Final = "Signature"
METHODS: Final = {"HmacSHA1": "sha1", "HmacSHA256": "sha256"}
COMMON: Final = frozenset(
    {
        "Action",
        "Language",
        "Nonce",
        "Region",
        "RequestClient",
        "SecretId",
        SIGNATURE,
        "SignatureMethod",
        "Timestamp",
        "Token",
        "Version",
    }
)
"""Parameters that are no part of an action."""


def digest_name(signature_method: str) -> str:
    """`HmacSHA256` -> `sha256`; HmacSHA1 when the parameter is left out. Raises `ApiFault`."""
    name = METHODS.get(signature_method or "HmacSHA1")
    if name is None:
        raise ApiFault(
            INVALID_PARAMETER, f"SignatureMethod is {shown(signature_method)}, allowed: {', '.join(METHODS)}"
        )
    return name


def verify(
    http_method: str,
    fields: Mapping[str, str],
    secret_key: Secret,
    *,
    digest: str,
    hosts: Iterable[str],
    booleans: Collection[str] = (),
) -> bool:
    """Is `fields[Signature]` that of the other fields?

    `digest`: of `digest_name`. `hosts`: forms of the host that are accepted. `booleans`: fields that are true or false;
    the asynchronous Python client signs `True` and sends `true`.
    """
    given = fields[SIGNATURE].encode()
    key = secret_key.reveal().encode()
    signed = {name: value for name, value in fields.items() if name != SIGNATURE}
    forms = [_joined(signed)]
    if capitals := {name: signed[name].capitalize() for name in booleans if signed[name] in ("true", "false")}:
        forms.append(_joined(signed | capitals))
    for host in hosts:
        for form in forms:
            text = f"{http_method}{host}/?{form}"
            if hmac.compare_digest(base64.b64encode(hmac.digest(key, text.encode(), digest)), given):
                return True
    return False


def _joined(fields: Mapping[str, str]) -> str:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields))
