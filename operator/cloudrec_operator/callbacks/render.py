"""A callback's bytes and headers. Pure; what is signed is what is sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from cloudrec_contract import __version__, events
from cloudrec_contract.events import TaskFacts
from cloudrec_contract.secret import Secret
from cloudrec_operator.callbacks.order import Letter


def body(letter: Letter, task: TaskFacts, now_ms: int) -> bytes:
    """The JSON, UTF-8. `now_ms`: when it is sent. Raises ValueError on an event that the contract does not know."""
    payload = events.payload(letter.type, letter.ts, letter.args, task, now_ms)
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def sign(key: Secret, content: bytes) -> str:
    """base64(HMAC-SHA256(key, content)), as the TRTC documentation has it ("Verify Signature Example", 54912)."""
    return base64.b64encode(hmac.new(key.reveal().encode(), content, hashlib.sha256).digest()).decode()


def headers(letter: Letter, attempt: int, content: bytes, sdk_app_id: int, key: Secret | None) -> dict[str, str]:
    """Of one try, the `attempt`th of this operator. Without a key there is no Sign."""
    found = {
        "Content-Type": "application/json",
        "SdkAppId": str(sdk_app_id),
        "User-Agent": f"cloudrec/{__version__}",
        "Idempotency-Key": letter.key,
        "X-Cloudrec-Sequence": str(letter.sequence),
        "X-Cloudrec-Attempt": str(attempt),
    }
    if key is not None:
        found["Sign"] = sign(key, content)
    return found
