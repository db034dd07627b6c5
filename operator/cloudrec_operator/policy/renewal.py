"""The newest attempt's room token: made before its Pod, renewed at half of its life."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloudrec_contract import naming, roomtoken
from cloudrec_contract.resources import Attempt
from cloudrec_operator.observed import Observed
from cloudrec_operator.plan import WriteToken
from cloudrec_operator.policy import acceptance, tokens
from cloudrec_operator.settings import Settings


def token(seen: Observed, attempt: Attempt, settings: Settings) -> tuple[WriteToken, ...]:
    """The room token, when it is due and what it is made of was observed."""
    life = timedelta(seconds=settings.token_seconds)
    spec, app, keys = seen.recording.spec, seen.app, seen.app_secret
    if not tokens.due(seen.token_expires, seen.now, life) or spec is None or app is None or app.spec is None:
        return ()
    if keys is None or keys.values is None or acceptance.app_keys_fault(seen, app.spec) is not None:
        return ()
    identity = naming.robot_identity(spec.robot.user_id, attempt.index)
    room = tokens.room_name(app.spec.room.livekit.room_names, spec.room)
    key, secret = (keys.values[name] for name in acceptance.APP_KEYS)
    made = roomtoken.mint(key, secret, room, identity, seen.now, life)
    return (WriteToken(tokens.secret(seen.recording, attempt.index, made, seen.now + life)),)


def due_at(seen: Observed, settings: Settings) -> datetime | None:
    if seen.token_expires is None:
        return None
    return seen.token_expires - timedelta(seconds=settings.token_seconds / 2)
