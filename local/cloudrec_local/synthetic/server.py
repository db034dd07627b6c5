"""Where synthetic users go, and how it is told that they could not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudrec_contract.secret import Secret

DEADLINE_SECONDS = 15.0
"""For each answer of the server: joining, publishing, leaving."""

_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")


@dataclass(frozen=True, slots=True)
class Server:
    """Where LiveKit is (`ws://…`) and an API key that may mint tokens for it."""

    url: str
    api_key: str
    api_secret: Secret


class PublishError(Exception):
    """The room could not be joined or published to, or a step made no sense when it was its turn."""


def without_tokens(text: str) -> str:
    """The text with every JWT struck out: the SDK quotes the one that was refused."""
    return _TOKEN.sub("***", text)
