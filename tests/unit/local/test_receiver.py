"""The callback receiver: what it believes, what it keeps, and how that is shown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

import cloudrec_local
from cloudrec_contract import events
from cloudrec_contract.events import EventType, TaskFacts
from cloudrec_contract.secret import Secret
from cloudrec_local.receiver import log as arrival_log
from cloudrec_local.receiver.arrivals import BODY_LIMIT, Arrival, accepted, judge, line, matches, signed
from cloudrec_local.receiver.log import ArrivalLog, follow, older, read
from cloudrec_local.receiver.server import Receiver, Repeats

KEY = Secret("123654")
APP = 1400000001
TASK = "5a2f31c0-0000-4000-8000-000000000001"
NOW = 1_700_000_000_123


def content(kind: EventType = EventType.RECORDER_START, **args: Any) -> bytes:
    facts = TaskFacts(TASK, "room", "robot")
    return json.dumps(events.payload(kind, NOW, args or {"Status": 0}, facts, NOW)).encode()


def sign(body: bytes, key: Secret = KEY) -> str:
    return base64.b64encode(hmac.digest(key.reveal().encode(), body, hashlib.sha256)).decode()


def headers(body: bytes, **more: str) -> CIMultiDict[str]:
    found = CIMultiDict(
        {
            "Content-Type": "application/json",
            "SdkAppId": str(APP),
            "Sign": sign(body),
            "Idempotency-Key": f"{TASK}-0-1",
            "X-Cloudrec-Sequence": "1",
            "X-Cloudrec-Attempt": "1",
        }
    )
    found.update({name.replace("_", "-"): value for name, value in more.items()})
    return found


def arrival(**more: Any) -> Arrival:
    body = content()
    return judge(headers(body), body, KEY, APP, NOW, 0).model_copy(update=more)


def test_the_published_signing_vector() -> None:
    """From "Verify Signature Example" (TRTC documentation, 54912)."""
    body = (
        '{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n\t"EventInfo":\t{\n'
        '\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n\t\t"EventMsTs":\t1664209748180,\n'
        '\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
    )
    assert signed(KEY, body.encode(), "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA=")
    assert not signed(KEY, body.encode() + b" ", "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA=")


def test_the_documentations_way_to_check_it() -> None:
    text = (Path(cloudrec_local.__path__[0]).parent.parent / "docs" / "callbacks.md").read_text()
    known: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], known)
    assert known["genuine"](KEY.reveal(), b"{}", sign(b"{}"))
    assert not known["genuine"](KEY.reveal(), b"{ }", sign(b"{}"))
    assert not known["genuine"](KEY.reveal(), b"{}", "é")


def test_a_good_callback_is_taken() -> None:
    body = content()
    found = judge(headers(body, X_Cloudrec_Attempt="3"), body, KEY, APP, NOW, 2)
    assert (found.answer, found.signature, found.fault) == (200, "good", "")
    assert (found.type, found.task, found.payload) == (301, TASK, {"Status": 0})
    assert (found.sequence, found.attempt, found.repeats) == (1, 3, 2)
    assert Arrival.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize(
    ("more", "answer", "signature", "fault"),
    [
        ({"Sign": ""}, 401, "none", "Sign is missing"),
        ({"Sign": "no base64"}, 401, "bad", "HMAC-SHA256"),
        ({"Sign": "é"}, 401, "bad", "HMAC-SHA256"),
        ({"Sign": sign(content(), Secret("other"))}, 401, "bad", "HMAC-SHA256"),
        ({"SdkAppId": "1400000002"}, 403, "good", "SdkAppId"),
        ({"Content-Type": "text/plain"}, 415, "good", "Content-Type"),
    ],
)
def test_what_is_refused_and_why(more: dict[str, str], answer: int, signature: str, fault: str) -> None:
    body = content()
    given = headers(body)
    given.update(more)
    found = judge(given, body, KEY, APP, NOW, 1)
    assert (found.answer, found.signature, found.repeats) == (answer, signature, 0)
    assert fault in found.fault


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[1]", b"\xff", b"{}", b'{"EventType": "301", "EventInfo": {}}', b"[" * 100_000]
)
def test_a_signed_body_that_is_no_event(body: bytes) -> None:
    found = judge(headers(body), body, KEY, APP, NOW, 0)
    assert (found.answer, found.signature) == (400, "good")


def test_a_line_for_people() -> None:
    shown = line(arrival(), UTC)
    assert shown == "22:13:20.123  signed    301 recorder start        5a2f31c0  Status=0"
    again = line(arrival(attempt=3, repeats=1), UTC)
    assert again.endswith("Status=0  (try 3)  (repeat 1)")
    body = content(EventType.FILE_INFO, FileList="\x1b[31m" + "x" * 500)
    forged = line(judge(headers(body, Sign="AAAA"), body, KEY, APP, NOW, 0), UTC)
    assert "BAD SIGN" in forged
    assert "answered 401" in forged
    assert "\x1b" not in forged
    assert len(forged) < 400
    assert "NO SIGN" in line(judge(CIMultiDict(), b"x", KEY, APP, NOW, 0), UTC)


def test_what_is_chosen() -> None:
    assert matches(arrival(), "5a2f", NOW)
    assert not matches(arrival(), "5a3f", 0)
    assert not matches(arrival(), "", NOW + 1)
    twice = [arrival(), arrival(repeats=1), arrival(key="k2"), arrival(key="k3", answer=401)]
    assert [one.key for one in accepted(twice, TASK)] == [f"{TASK}-0-1", "k2"]
    assert accepted(twice, "another") == []


def test_the_newest_keys_are_remembered() -> None:
    repeats = Repeats(limit=2)
    for key in ("a", "b", "a", "c", ""):
        repeats.add(key)
    assert [repeats.of(key) for key in ("a", "b", "c", "")] == [2, 0, 1, 0]


def test_the_file_is_bounded_and_torn_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.jsonl"
    assert read(path) == []
    size = len(arrival().model_dump_json(by_alias=True)) + 1
    kept = ArrivalLog(path, limit=3 * size + 10)
    for number in range(8):
        kept.append(arrival(sequence=number))
    assert [one.sequence for one in read(path)] == [3, 4, 5, 6, 7]
    assert max(path.stat().st_size, older(path).stat().st_size) <= 3 * size + 10
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("ab") as file:
        file.write(b'{"at": 1')
    assert [one.sequence for one in read(path)] == [3, 4, 5, 6, 7]
    ArrivalLog(path).append(arrival(sequence=8))
    assert [one.sequence for one in read(path)][-2:] == [7, 8]


def test_following_goes_on_across_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival_log, "PERIOD", 0)
    path = tmp_path / "arrivals.jsonl"
    found = follow(path)
    assert next(found) is None
    size = len(arrival().model_dump_json(by_alias=True)) + 1
    kept = ArrivalLog(path, limit=2 * size + 10)
    seen: list[int | None] = []
    for number in range(7):
        kept.append(arrival(sequence=number))
        while (one := next(found)) is None:
            pass
        seen.append(one.sequence)
    assert seen == list(range(7))
    assert next(found) is None
    found.close()  # type: ignore[attr-defined]


async def test_the_server_counts_repeats_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.jsonl"
    body = content()
    for expected in (0, 1):
        receiver = Receiver(KEY, APP, path, clock=lambda: NOW)
        async with TestClient(TestServer(receiver.application())) as client:
            answer = await client.post("/callbacks", data=body, headers=headers(body))
            assert answer.status == 200
            assert read(path)[-1].repeats == expected
    async with TestClient(TestServer(receiver.application())) as client:
        forged = await client.post("/callbacks", data=body, headers=headers(body, Sign="AAAA"))
        assert (forged.status, "HMAC-SHA256" in await forged.text()) == (401, True)
        big = b"x" * (BODY_LIMIT + 1)
        assert (await client.post("/callbacks", data=big, headers=headers(big))).status == 413
        assert (await client.get("/healthz")).status == 200
        assert [one.answer for one in read(path)] == [200, 200, 401]
        assert KEY.reveal() not in path.read_text()
        path.unlink()
        path.mkdir()
        assert (await client.post("/callbacks", data=body, headers=headers(body))).status == 503
