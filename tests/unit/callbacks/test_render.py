"""What is sent: the guide's bodies, signed over their bytes as TRTC documents it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.events import TaskFacts
from cloudrec_contract.secret import Secret
from cloudrec_operator.callbacks import render
from cloudrec_operator.callbacks.order import Letter

GUIDE = Path(__file__).parents[1] / "contract" / "guide" / "callbacks.json"
CALLBACKS: list[dict[str, Any]] = json.loads(GUIDE.read_text())
TASK = TaskFacts("task", "20015", "robot")


def letter(type_: int = 301, ts: int = 1622186275913, **args: Any) -> Letter:
    return Letter("pod", 1, 1, "task-0-1", type_, ts, ts, args)


@pytest.mark.parametrize("sample", CALLBACKS, ids=lambda sample: str(sample["EventType"]))
def test_the_bytes_say_what_the_guides_samples_say(sample: dict[str, Any]) -> None:
    info = sample["EventInfo"]
    task = TaskFacts(info["TaskId"], info["RoomId"], info["UserId"])
    one = letter(sample["EventType"], int(info["EventTs"]) * 1000, **info["Payload"])
    body = json.loads(render.body(one, task, sample["CallbackTs"]))
    assert body["EventInfo"].pop("EventMsTs") == int(info["EventTs"]) * 1000
    assert json.dumps(body, sort_keys=True) == json.dumps(sample, sort_keys=True)


def test_the_published_signing_vector() -> None:
    """From "Verify Signature Example" (TRTC documentation, 54912)."""
    body = (
        '{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n\t"EventInfo":\t{\n'
        '\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n\t\t"EventMsTs":\t1664209748180,\n'
        '\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
    )
    assert render.sign(Secret("123654"), body.encode()) == "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA="


def test_headers() -> None:
    content = render.body(letter(Status=0), TASK, 1)
    found = render.headers(letter(), 3, content, 1400000001, Secret("k3y"))
    assert found["Content-Type"] == "application/json"
    assert found["SdkAppId"] == "1400000001"
    assert found["Idempotency-Key"] == "task-0-1"
    assert found["X-Cloudrec-Sequence"] == "1"
    assert found["X-Cloudrec-Attempt"] == "3"
    assert base64.b64decode(found["Sign"]) == hmac.digest(b"k3y", content, hashlib.sha256)
    assert "Sign" not in render.headers(letter(), 1, content, 1, None)


def test_text_is_utf8() -> None:
    assert "Grüße 课".encode() in render.body(letter(308, Code="x", Message="Grüße 课"), TASK, 1)


@pytest.mark.parametrize("one", [letter(399), letter(301, Strange=1), letter(308, Code="\ud800", Message="")])
def test_what_cannot_be_told_is_a_value_error(one: Letter) -> None:
    with pytest.raises(ValueError):
        render.body(one, TASK, 1)
