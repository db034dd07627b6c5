"""What the child process of synthetic users and its parent say to each other, one JSON object a line.

Down go the plan, then commands, each a `Command`; the end of the stream means: stop. Up come events as they happen and,
last, the truth or an error. The server's address and key and the room are arguments, its secret is in the environment.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from cloudrec_contract.model import Model
from cloudrec_local.synthetic.truth import Event, Truth

SECRET_VARIABLE = "LIVEKIT_API_SECRET"
LONGEST_LINE = 128 << 20


class EventMessage(Model):
    type: Literal["event"] = "event"
    event: Event


class ErrorMessage(Model):
    """The child could not go on; its exit code is 1."""

    type: Literal["error"] = "error"
    message: str


class TruthMessage(Model):
    type: Literal["truth"] = "truth"
    truth: Truth


Message = Annotated[EventMessage | ErrorMessage | TruthMessage, Field(discriminator="type")]
_MESSAGE: TypeAdapter[EventMessage | ErrorMessage | TruthMessage] = TypeAdapter(Message)


def decode(line: bytes) -> EventMessage | ErrorMessage | TruthMessage:
    """Raises pydantic.ValidationError for what is no message."""
    return _MESSAGE.validate_json(line)


def encode(message: Model) -> bytes:
    """One line, newline included."""
    return message.model_dump_json(by_alias=True).encode() + b"\n"
