from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from cloudrec_contract.roomtoken import claims, mint
from cloudrec_contract.secret import Secret
from cloudrec_recorder.standalone.tokens import BadToken, token_source
from tests.unit.recorder import scripted

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TASK = scripted.task()
DEAF = {"video": {"roomJoin": True, "room": "12345", "canSubscribe": False}}
KEY, SECRET = Secret("key"), Secret("s" * 40)


def made(room: str = "12345", life: timedelta = timedelta(hours=1)) -> Secret:
    return mint(KEY, SECRET, room, "robot~0", NOW, life)


def source(token: Secret | None = None, file: Path | None = None, **environment: str) -> str:
    env: Mapping[str, str] = environment
    return token_source(token, file, env, TASK, lambda: NOW)()


def test_a_token_is_a_jwt_that_others_can_read() -> None:
    token = made().reveal()
    said = jwt.decode(token, SECRET.reveal(), algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})
    assert said == claims(Secret(token))
    assert (said["iss"], said["sub"], said["exp"]) == ("key", "robot~0", int(NOW.timestamp()) + 3600)
    assert said["video"]["room"] == "12345"
    assert said["video"]["canPublish"] is False
    assert said["video"]["hidden"] is True
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, "t" * 40, algorithms=["HS256"])


def test_a_token_is_made_anew_at_each_join() -> None:
    times = iter([NOW, NOW + timedelta(hours=7)])
    make = token_source(None, None, {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s"}, TASK, lambda: next(times))
    first, second = claims(Secret(make())), claims(Secret(make()))
    assert first["sub"] == TASK.identity
    assert second["exp"] - first["exp"] == 7 * 3600


def test_what_is_given_wins_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(made().reveal() + "\n")
    given = made(life=timedelta(hours=2))
    assert source(given, LIVEKIT_TOKEN="x") == given.reveal()
    assert source(file=file, LIVEKIT_TOKEN="x") == made().reveal()
    assert source(LIVEKIT_TOKEN=given.reveal(), LIVEKIT_API_KEY="k") == given.reveal()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "there is no room token"),
        ({"LIVEKIT_API_KEY": "k"}, "LIVEKIT_API_SECRET is missing"),
        ({"LIVEKIT_API_SECRET": "s3cret"}, "LIVEKIT_API_KEY is missing"),
        ({"LIVEKIT_TOKEN": "s3cret"}, "no LiveKit room token"),
        ({"LIVEKIT_TOKEN": "s3cret.s3cret.s3cret"}, "no LiveKit room token"),
        ({"LIVEKIT_TOKEN": made(room="other").reveal()}, "the token is for room 'other', the task for '12345'"),
        ({"LIVEKIT_TOKEN": made(life=timedelta(0)).reveal()}, "the token expired at 2026-11-22 12:00:00 UTC"),
        ({"LIVEKIT_TOKEN": jwt.encode({"video": {}}, "s" * 40)}, "does not allow to join"),
        ({"LIVEKIT_TOKEN": jwt.encode(DEAF, "s" * 40)}, "does not allow to subscribe"),
    ],
)
def test_what_is_wrong_is_told(environment: dict[str, str], told: str) -> None:
    with pytest.raises(BadToken, match=told) as error:
        source(**environment)
    assert "s3cret" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadToken, match="No such file"):
        source(file=tmp_path / "token")
