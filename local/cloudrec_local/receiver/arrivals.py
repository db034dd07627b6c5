"""What an app's server does with a callback before it believes it, and how one is shown. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from cloudrec_contract.events import EventType
from cloudrec_contract.secret import Secret

BODY_LIMIT = 256 * 1024
"""Bytes of a body; callbacks are well below 4 KiB, and an id of a room may be long."""
HEADER_LIMIT = 256
NAMES = {kind.value: kind.name.lower().replace("_", " ") for kind in EventType}


class Arrival(BaseModel):
    """One request as it came. `at`: ms since the Unix epoch; `answer`: the HTTP status that it got; `fault`: why.

    `repeats`: how often the same Idempotency-Key was accepted before. `body` is kept when it is a JSON object, of a
    forged one too: then `signature` says so.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    at: int
    answer: int
    signature: Literal["good", "bad", "none"]
    fault: str = ""
    key: str = ""
    sequence: int | None = None
    attempt: int | None = None
    repeats: int = 0
    body: dict[str, Any] = {}

    @property
    def type(self) -> int:
        """The event's number; 0 when there is none."""
        found = self.body.get("EventType")
        return found if isinstance(found, int) else 0

    @property
    def info(self) -> dict[str, Any]:
        found = self.body.get("EventInfo")
        return found if isinstance(found, dict) else {}

    @property
    def task(self) -> str:
        return str(self.info.get("TaskId", ""))

    @property
    def payload(self) -> dict[str, Any]:
        found = self.info.get("Payload")
        return found if isinstance(found, dict) else {}


def signed(key: Secret, content: bytes, signature: str) -> bool:
    """Whether `signature` is base64(HMAC-SHA256(key, content)), compared in constant time."""
    try:
        given = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(given, hmac.digest(key.reveal().encode(), content, hashlib.sha256))


def judge(headers: Mapping[str, str], content: bytes, key: Secret, sdk_app_id: int, at: int, repeats: int) -> Arrival:
    """What is to be answered and kept. `headers`: looked up without regard to case.

    The signature comes first: of an unsigned request nothing else is worth an answer.
    """
    sign = headers.get("Sign", "")
    good = bool(sign) and signed(key, content, sign)
    body = _object(content)
    answer, fault = _answer(headers, sign, good, body, sdk_app_id)
    return Arrival(
        at=at,
        answer=answer,
        fault=fault,
        signature="good" if good else "bad" if sign else "none",
        key=headers.get("Idempotency-Key", "")[:HEADER_LIMIT],
        sequence=_number(headers.get("X-Cloudrec-Sequence")),
        attempt=_number(headers.get("X-Cloudrec-Attempt")),
        repeats=repeats if answer == 200 else 0,
        body=body or {},
    )


def _answer(
    headers: Mapping[str, str], sign: str, good: bool, body: dict[str, Any] | None, sdk_app_id: int
) -> tuple[int, str]:
    if not sign:
        return 401, "the header Sign is missing: the RecordingApp's callback names no keySecretRef"
    if not good:
        return 401, "the header Sign is not base64(HMAC-SHA256(key, body)) with this receiver's key"
    if headers.get("SdkAppId") != str(sdk_app_id):
        return 403, f"the header SdkAppId is {headers.get('SdkAppId', '')[:20]!r}, not {sdk_app_id}"
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, "the header Content-Type is not application/json"
    if body is None:
        return 400, "the body is no JSON object"
    if not isinstance(body.get("EventType"), int) or not isinstance(body.get("EventInfo"), dict):
        return 400, "the body lacks EventType or EventInfo"
    return 200, ""


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else None


def accepted(arrivals: Iterable[Arrival], task: str) -> list[Arrival]:
    """The task's events that were taken, each once, as they came first."""
    found: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.answer == 200 and arrival.task == task:
            found.setdefault(arrival.key, arrival)
    return list(found.values())


def matches(arrival: Arrival, task: str, since: int) -> bool:
    """Whether it is to be shown: of a task whose id begins with `task`, not older than `since` (ms, Unix epoch)."""
    return arrival.at >= since and (not task or arrival.task.startswith(task))


def line(arrival: Arrival, zone: tzinfo | None = None) -> str:
    """For people: time, signature, event, task, what it says, and how often it came. `zone` None: this machine's."""
    when = datetime.fromtimestamp(arrival.at / 1000, zone).strftime("%H:%M:%S.%f")[:-3]
    words = [f"{arrival.type or '?':>3} {NAMES.get(arrival.type, 'no known event')[:20]:<20}", f"{arrival.task[:8]:<8}"]
    words.append(_plain(" ".join(f"{name}={_value(value)}" for name, value in arrival.payload.items())))
    if (arrival.attempt or 1) > 1:
        words.append(f"(try {arrival.attempt})")
    if arrival.repeats:
        words.append(f"(repeat {arrival.repeats})")
    if arrival.fault:
        words.append(f"answered {arrival.answer}: {arrival.fault}")
    sign = {"good": "signed  ", "bad": "BAD SIGN", "none": "NO SIGN "}[arrival.signature]
    return "  ".join([when, sign, *(word for word in words if word)])


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"


def _plain(text: str) -> str:
    """Without control characters: a name of a user's choice must not command a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
