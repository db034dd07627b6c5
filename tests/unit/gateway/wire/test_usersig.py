"""UserSig and PrivateMapKey: those of the published generators are taken, and nothing else."""

import base64
import hashlib
import hmac
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.secret import Secret
from cloudrec_gateway.auth.usersig import verify_private_map_key, verify_user_sig
from cloudrec_gateway.errors import ApiFault

APP = 1400000000
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
NOW = 1_700_000_000


def pack(fields: Any) -> str:
    data = zlib.compress(fields if isinstance(fields, bytes) else json.dumps(fields).encode())
    return base64.b64encode(data).decode().replace("+", "*").replace("/", "-").replace("=", "_")


def user_sig(
    user: str = "robot",
    *,
    key: str = KEY,
    app: int = APP,
    time: int = NOW,
    expire: int = 86400,
    buffer: bytes | None = None,
    **more: Any,
) -> str:
    """As the generators make it (tls-sig-api-v2)."""
    fields: dict[str, Any] = {"TLS.ver": "2.0", "TLS.identifier": user, "TLS.sdkappid": app}
    fields |= {"TLS.expire": expire, "TLS.time": time}
    text = f"TLS.identifier:{user}\nTLS.sdkappid:{app}\nTLS.time:{time}\nTLS.expire:{expire}\n"
    if buffer is not None:
        fields["TLS.userbuf"] = base64.b64encode(buffer).decode()
        text += f"TLS.userbuf:{fields['TLS.userbuf']}\n"
    fields["TLS.sig"] = base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()
    return pack({**fields, **more})


def map_key(
    room: str | int = 12345,
    *,
    account: str = "robot",
    app: int = APP,
    expires: int = NOW + 60,
    privileges: int = 255,
    **more: Any,
) -> str:
    buffer = struct.pack(">BH", isinstance(room, str), len(account)) + account.encode()
    buffer += struct.pack(">IIIII", app, 0 if isinstance(room, str) else room, expires, privileges, 0)
    if isinstance(room, str):
        buffer += struct.pack(">H", len(room.encode())) + room.encode()
    return user_sig(buffer=buffer, **more)


def check(text: str, *, now: float = NOW + 1) -> Any:
    return verify_user_sig(text, Secret(KEY), sdk_app_id=APP, user_id="robot", now=now)


def check_map(text: str, *, room: str = "12345", string_room: bool = False, now: float = NOW + 1) -> Any:
    return verify_private_map_key(
        text, Secret(KEY), sdk_app_id=APP, user_id="robot", room=room, string_room=string_room, now=now
    )


def test_a_good_one() -> None:
    found = check(user_sig())
    assert (found.user_id, found.sdk_app_id, found.issued_at, found.expires_at) == ("robot", APP, NOW, NOW + 86400)
    assert check(user_sig(buffer=b"x")).userbuf == b"x"
    assert check(user_sig(time=NOW + 299))
    assert check(user_sig(), now=NOW + 86399)


BAD = {
    "": "",
    "not base64": "%%%",
    "not ASCII": "é",
    "not zlib": "AAAA",
    "no JSON": pack(b"no JSON"),
    "not UTF-8": pack(b'{"TLS.ver": "\xff"}'),
    "deep JSON": pack(b"[" * 10_000),
    "a list": pack([]),
    "a bomb": pack(b" " * 10_000_000),
    "cut off": user_sig()[:-8],
    "more after it": pack({}).rstrip("_") + "AAAA",
    "long": "A" * 8196,
    "version 1": user_sig(**{"TLS.ver": "1.0"}),
    "no version": pack({}),
    "another key": user_sig(key="x"),
    "another app": user_sig(app=APP + 1),
    "app altered": user_sig(**{"TLS.sdkappid": APP + 1}),
    "app as text": user_sig(**{"TLS.sdkappid": str(APP)}),
    "another user": user_sig("eve"),
    "user altered": user_sig("eve", **{"TLS.identifier": "robot"}),
    "user no text": user_sig(**{"TLS.identifier": 1}),
    "user half a character": user_sig(**{"TLS.identifier": "\ud800"}),
    "signature no text": user_sig(**{"TLS.sig": None}),
    "signature not ASCII": user_sig(**{"TLS.sig": "é\ud800"}),
    "signature empty": user_sig(**{"TLS.sig": ""}),
    "prolonged": user_sig(**{"TLS.expire": 864000}),
    "expired": user_sig(time=NOW - 86400),
    "from the future": user_sig(time=NOW + 400),
    "negative": user_sig(expire=-1),
    "a boolean": user_sig(**{"TLS.time": True}),
    "huge": user_sig(expire=1 << 80),
    "userbuf added": user_sig(**{"TLS.userbuf": "AAAA"}),
    "userbuf no text": user_sig(**{"TLS.userbuf": 5}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_ones(name: str) -> None:
    with pytest.raises(ApiFault) as refused:
        check(BAD[name])
    assert refused.value.code == "InvalidParameter.UserSig"
    assert refused.value.message.startswith("UserSig ")
    assert not BAD[name] or BAD[name] not in refused.value.message


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.b64encode(zlib.compress(data)).decode()))
def test_no_text_is_worse_than_refused(text: str) -> None:
    with pytest.raises(ApiFault):
        check(text)


def test_a_good_map_key() -> None:
    found = check_map(map_key())
    assert (found.room, found.string_room, found.expires_at, found.privileges) == ("12345", False, NOW + 60, 255)
    assert check_map(map_key("classroom-阿"), room="classroom-阿", string_room=True).room == "classroom-阿"
    assert check_map(map_key(privileges=2 | 8 | 32 | 128))


BAD_MAP = {
    "plain UserSig": user_sig(),
    "another key": map_key(key="x"),
    "another user inside": map_key(account="eve"),
    "another app inside": map_key(app=APP + 1),
    "another room": map_key(54321),
    "string room": map_key("12345"),
    "expired inside": map_key(expires=NOW),
    "expired outside": map_key(time=NOW - 86400),
    "may not enter": map_key(privileges=255 - 2),
    "may not see screens": map_key(privileges=255 - 128),
    "empty": user_sig(buffer=b""),
    "cut off": user_sig(buffer=b"\0\0\5robot\0\0"),
    "account too long": user_sig(buffer=b"\0\xff\xffrobot" + bytes(20)),
    "not UTF-8": user_sig(buffer=b"\0\0\1\xff" + bytes(20)),
    "unknown version": user_sig(
        buffer=struct.pack(">BH5sIIIII", 7, 5, b"robot", APP, 12345, NOW + 60, 255, 0) + b"\0\0"
    ),
    "more after it": user_sig(buffer=struct.pack(">BH5sIIIII", 0, 5, b"robot", APP, 12345, NOW + 60, 255, 0) + b"x"),
}


@pytest.mark.parametrize("name", BAD_MAP)
def test_bad_map_keys(name: str) -> None:
    with pytest.raises(ApiFault) as refused:
        check_map(BAD_MAP[name])
    assert refused.value.code == "InvalidParameter"
    assert refused.value.message.startswith("PrivateMapKey ")
