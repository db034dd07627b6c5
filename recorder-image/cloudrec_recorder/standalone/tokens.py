"""Where the room token comes from: given, in a file, or made with the server's API key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cloudrec_contract.roomtoken import claims, mint
from cloudrec_contract.secret import Secret
from cloudrec_contract.spool import Task

LIFE: Final = timedelta(hours=6)
"""Of a token that is made here: it is needed to join, and made anew each time."""

HOW: Final = (
    "give a room token (--token-file, or LIVEKIT_TOKEN in the environment),\n"
    "or the server's API key to make one with (LIVEKIT_API_KEY and LIVEKIT_API_SECRET in the environment)"
)


class BadToken(Exception):
    """There is no token, or none that could open the task's room; the message says why."""


def token_source(
    token: Secret | None, file: Path | None, environment: Mapping[str, str], task: Task, now: Callable[[], datetime]
) -> Callable[[], str]:
    """A function that gives the token as it is at each join (OSError when its file cannot be read).

    Arguments win over the environment, a token over the API key. Raises BadToken.
    """
    given = token or (None if file else Secret(environment.get("LIVEKIT_TOKEN", "")))
    if file is not None:
        _check(_read(file), task, now())
        return lambda: file.read_text().strip()
    if given:
        _check(given, task, now())
        return given.reveal
    key, secret = Secret(environment.get("LIVEKIT_API_KEY", "")), Secret(environment.get("LIVEKIT_API_SECRET", ""))
    if key and secret:
        return lambda: mint(key, secret, task.livekit.room_name, task.identity, now(), LIFE).reveal()
    if key or secret:
        raise BadToken(f"LIVEKIT_API_{'SECRET' if key else 'KEY'} is missing: key and secret go together")
    raise BadToken(f"there is no room token: {HOW}")


def _read(file: Path) -> Secret:
    try:
        return Secret(file.read_text().strip())
    except OSError as error:
        raise BadToken(f"the token file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadToken(f"{file} holds no room token") from None


def _check(token: Secret, task: Task, now: datetime) -> None:
    """Whether the token can be the right one; its signature is the server's to judge."""
    try:
        said = claims(token)
    except ValueError:
        raise BadToken(f"what was given is no LiveKit room token: {HOW}") from None
    grant: Any = said.get("video")
    room = grant.get("room") if isinstance(grant, dict) and grant.get("roomJoin") else None
    if room is None:
        raise BadToken("the token does not allow to join a room (grants roomJoin and room)")
    if room != task.livekit.room_name:
        raise BadToken(f"the token is for room {room!r}, the task for {task.livekit.room_name!r} (livekit.roomName)")
    if grant.get("canSubscribe") is False:
        raise BadToken("the token does not allow to subscribe (grant canSubscribe)")
    expires = said.get("exp")
    if isinstance(expires, int | float) and expires <= now.timestamp():
        raise BadToken(f"the token expired at {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M:%S} UTC")
