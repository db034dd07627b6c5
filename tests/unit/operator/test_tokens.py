from __future__ import annotations

import base64
from datetime import timedelta

import jwt
import pytest

from cloudrec_contract import roomtoken
from cloudrec_contract.resources import Room, RoomNames
from cloudrec_contract.secret import Secret
from cloudrec_operator.policy import tokens
from tests.unit.operator.samples import NOW, UID, recording

LIFE = timedelta(hours=6)


@pytest.mark.parametrize("secret", ["s" * 32, "secret"])
def test_grants(secret: str) -> None:
    token = roomtoken.mint(Secret("devkey\n"), Secret(secret + "\n"), "math", "bot~0", NOW, LIFE)
    unchecked = jwt.decode(token.reveal(), options={"verify_signature": False})
    header, payload, signature = token.reveal().split(".")
    assert jwt.get_unverified_header(token.reveal())["alg"] == "HS256"
    assert unchecked["iss"] == "devkey"
    assert unchecked["sub"] == "bot~0"
    assert unchecked["exp"] - NOW.timestamp() == 6 * 3600
    assert unchecked["video"] == {
        "roomJoin": True,
        "room": "math",
        "canSubscribe": True,
        "canPublish": False,
        "canPublishData": False,
        "canUpdateOwnMetadata": False,
        "hidden": True,
        "recorder": True,
    }
    import hashlib
    import hmac

    expected = hmac.digest(secret.encode(), f"{header}.{payload}".encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signature + "=") == expected


def test_renewed_at_half() -> None:
    expires = NOW + LIFE
    assert tokens.due(None, NOW, LIFE)
    assert not tokens.due(expires, NOW, LIFE)
    assert not tokens.due(expires, NOW + timedelta(hours=2, minutes=59), LIFE)
    assert tokens.due(expires, NOW + timedelta(hours=3), LIFE)


def test_room_names_follow_the_app() -> None:
    names = RoomNames(number="n{id}", string="s{id}x")
    assert tokens.room_name(names, Room.model_validate({"id": "7"})) == "n7"
    assert tokens.room_name(names, Room.model_validate({"id": "a{id}", "type": "String"})) == "sa{id}x"


def test_the_secret_is_the_recordings_and_says_when_it_ends() -> None:
    manifest = tokens.secret(recording(), 0, Secret("t"), NOW + LIFE)
    assert manifest["metadata"]["name"] == "lesson-0b9d2-0-room"
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == UID
    assert tokens.expiry(manifest, recording()) == NOW + LIFE
    assert tokens.expiry(manifest, recording(uid="another")) is None
    manifest["metadata"]["annotations"] = {tokens.EXPIRES: "soon"}
    assert tokens.expiry(manifest, recording()) is None
