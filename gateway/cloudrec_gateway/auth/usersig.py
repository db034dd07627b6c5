"""UserSig and PrivateMapKey: what the application's server signed for the robot, verified with the application's key.

A UserSig is zlib-compressed JSON in base64 with `*-_` for `+/=`. TLS.sig in it is the HMAC-SHA256, keyed with the key's
text, of the lines `TLS.identifier:…`, `TLS.sdkappid:…`, `TLS.time:…`, `TLS.expire:…` and, if there is one,
`TLS.userbuf:…`. A PrivateMapKey is the same with a userbuf, which says what the user may do in which room. Source:
the published generators (tls-sig-api-v2). `verify_*` raise `ApiFault`, whose message never repeats what was given.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from cloudrec_contract.secret import Secret
from cloudrec_gateway.errors import INVALID_PARAMETER, INVALID_USER_SIG, ApiFault

CLOCK_SKEW_SECONDS: Final = 300
ENTER, RECEIVE_AUDIO, RECEIVE_VIDEO, RECEIVE_AUX = 2, 8, 32, 128
RECORDER_PRIVILEGES: Final = ENTER | RECEIVE_AUDIO | RECEIVE_VIDEO | RECEIVE_AUX

_MAX_TEXT: Final = 8192
_MAX_JSON: Final = 16_384
_TO_STANDARD: Final = str.maketrans("*-_", "+/=")


@dataclass(frozen=True, slots=True)
class UserSig:
    """What a verified UserSig says; times are Unix seconds."""

    user_id: str
    sdk_app_id: int
    issued_at: int
    expires_at: int
    userbuf: bytes | None = None


@dataclass(frozen=True, slots=True)
class RoomPermission:
    """The userbuf of a PrivateMapKey: what `user_id` may do in `room` until `expires_at` (Unix seconds)."""

    user_id: str
    sdk_app_id: int
    room: str
    string_room: bool
    expires_at: int
    privileges: int


class _Refused(Exception):
    """Why a signature is not accepted, without the signature."""


def verify_user_sig(text: str, key: Secret, *, sdk_app_id: int, user_id: str, now: float) -> UserSig:
    """Verify the robot's UserSig; raises `ApiFault` InvalidParameter.UserSig."""
    try:
        return _verify(text, key, sdk_app_id=sdk_app_id, user_id=user_id, now=now)
    except _Refused as refused:
        raise ApiFault(INVALID_USER_SIG, f"UserSig {refused}") from None


def verify_private_map_key(
    text: str, key: Secret, *, sdk_app_id: int, user_id: str, room: str, string_room: bool, now: float
) -> RoomPermission:
    """Verify the robot's PrivateMapKey for this room: it has to let a recorder in and to receive all media.

    Raises `ApiFault` InvalidParameter that names PrivateMapKey.
    """
    try:
        signed = _verify(text, key, sdk_app_id=sdk_app_id, user_id=user_id, now=now)
        if signed.userbuf is None:
            raise _Refused("holds no permissions (TLS.userbuf is missing: it is a plain UserSig)")
        permission = _parse_userbuf(signed.userbuf)
        _check(permission, sdk_app_id=sdk_app_id, user_id=user_id, room=room, string_room=string_room, now=now)
        return permission
    except _Refused as refused:
        raise ApiFault(INVALID_PARAMETER, f"PrivateMapKey {refused}") from None


def _verify(text: str, key: Secret, *, sdk_app_id: int, user_id: str, now: float) -> UserSig:
    fields = _decode(text)
    if fields.get("TLS.ver") != "2.0":
        raise _Refused("is not of version 2.0 (TLS.ver)")
    identifier, app = fields.get("TLS.identifier"), fields.get("TLS.sdkappid")
    issued, seconds = fields.get("TLS.time"), fields.get("TLS.expire")
    encoded, signature = fields.get("TLS.userbuf"), fields.get("TLS.sig")
    if not isinstance(identifier, str) or not isinstance(signature, str):
        raise _Refused("lacks TLS.identifier or TLS.sig")
    if not (_whole(app) and _whole(issued) and _whole(seconds)):
        raise _Refused("has a TLS.sdkappid, TLS.time or TLS.expire that is not a whole number")
    if encoded is not None and not isinstance(encoded, str):
        raise _Refused("has a TLS.userbuf that is not text")
    # The signature first: of what is not signed nothing is told.
    try:
        expected = _signature(key, identifier, app, issued, seconds, encoded)
        equal = hmac.compare_digest(expected.encode(), signature.encode())
    except UnicodeEncodeError:
        raise _Refused("holds text that is not Unicode") from None
    if not equal:
        raise _Refused("is not signed with the key of this SdkAppId")
    if app != sdk_app_id:
        raise _Refused(f"is for another SdkAppId than {sdk_app_id}")
    if identifier != user_id:
        raise _Refused("is for another user than UserId")
    if issued > now + CLOCK_SKEW_SECONDS:
        raise _Refused("is dated in the future (TLS.time)")
    if now >= issued + seconds:
        raise _Refused("has expired (TLS.time + TLS.expire)")
    buffer = None if encoded is None else _base64(encoded, "TLS.userbuf")
    return UserSig(identifier, app, issued, issued + seconds, buffer)


def _decode(text: str) -> dict[str, Any]:
    if len(text) > _MAX_TEXT:
        raise _Refused(f"is longer than {_MAX_TEXT} characters")
    packed = _base64(text.translate(_TO_STANDARD), "it")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, _MAX_JSON)
    except zlib.error:
        raise _Refused("cannot be read (not zlib)") from None
    if not inflater.eof or inflater.unused_data:
        raise _Refused("cannot be read (cut off, or too long when unpacked)")
    try:
        fields = json.loads(plain)
    except (ValueError, RecursionError):
        raise _Refused("cannot be read (not JSON)") from None
    if not isinstance(fields, dict):
        raise _Refused("cannot be read (not a JSON object)")
    return fields


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Refused(f"cannot be read ({what} is not base64)") from None


def _whole(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 63


def _signature(key: Secret, identifier: str, app: int, issued: int, seconds: int, encoded: str | None) -> str:
    text = f"TLS.identifier:{identifier}\nTLS.sdkappid:{app}\nTLS.time:{issued}\nTLS.expire:{seconds}\n"
    if encoded is not None:
        text += f"TLS.userbuf:{encoded}\n"
    return base64.b64encode(hmac.digest(key.reveal().encode(), text.encode(), "sha256")).decode()


def _parse_userbuf(data: bytes) -> RoomPermission:
    try:
        version, length = struct.unpack_from(">BH", data)
        account = data[3 : 3 + length].decode()
        app, number, expires, privileges, _ = struct.unpack_from(">IIIII", data, 3 + length)
        end = 3 + length + 20
        if version == 0:
            room = str(number)
        else:
            (room_length,) = struct.unpack_from(">H", data, end)
            room = data[end + 2 : end + 2 + room_length].decode()
            end += 2 + room_length
    except (struct.error, UnicodeDecodeError):
        raise _Refused("has a TLS.userbuf that cannot be read") from None
    if version not in (0, 1) or end != len(data):
        raise _Refused("has a TLS.userbuf that cannot be read")
    return RoomPermission(account, app, room, bool(version), expires, privileges)


def _check(
    permission: RoomPermission, *, sdk_app_id: int, user_id: str, room: str, string_room: bool, now: float
) -> None:
    if permission.sdk_app_id != sdk_app_id or permission.user_id != user_id:
        raise _Refused("gives its permissions to another SdkAppId or UserId")
    if permission.string_room != string_room or permission.room != room:
        raise _Refused("is for another room than RoomId, or of the other RoomIdType")
    if now >= permission.expires_at:
        raise _Refused("has expired (TLS.userbuf)")
    if lacking := RECORDER_PRIVILEGES & ~permission.privileges:
        raise _Refused(
            f"lacks the privilege bits {lacking}: a recorder needs {RECORDER_PRIVILEGES} "
            "(2 enter, 8 receive audio, 32 receive video, 128 receive the auxiliary stream)"
        )
