"""A recorder's room token: one room, subscribe only, hidden.

LiveKit's access token is a JWT (RFC 7519) signed with HMAC-SHA256 (RFC 7515), with a `video` grant (livekit protocol,
auth/grants.go).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

from cloudrec_contract.secret import Secret

LEEWAY = timedelta(seconds=60)
"""The token is valid from so long ago, for a media server whose clock is behind."""


def mint(api_key: Secret, api_secret: Secret, room: str, identity: str, now: datetime, life: timedelta) -> Secret:
    """A token to join `room` (the media server's name of it) as `identity`, good until `now + life`."""
    claims = {
        "iss": api_key.reveal().strip(),
        "sub": identity,
        "nbf": int((now - LEEWAY).timestamp()),
        "exp": int((now + life).timestamp()),
        "video": {
            "roomJoin": True,
            "room": room,
            "canSubscribe": True,
            "canPublish": False,
            "canPublishData": False,
            "canUpdateOwnMetadata": False,
            "hidden": True,
            "recorder": True,
        },
    }
    body = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    signature = hmac.digest(api_secret.reveal().strip().encode(), body.encode(), hashlib.sha256)
    return Secret(f"{body}.{_encode(signature)}")


def claims(token: Secret) -> dict[str, Any]:
    """What a token says, its signature unchecked. Raises ValueError when it is none."""
    parts = token.reveal().split(".")
    try:
        if len(parts) != 3:
            raise ValueError
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if not isinstance(found, dict):
            raise ValueError
    except (ValueError, binascii.Error):
        raise ValueError("not an access token") from None
    return found


def _part(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
