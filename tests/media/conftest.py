"""Fixtures of the tests that need a LiveKit server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from livekit import api

from cloudrec_local.stack import Stack
from tests.media.room import Server


@pytest.fixture
async def server(livekit_stack: Stack) -> AsyncIterator[Server]:
    server = Server(livekit_stack)
    yield server
    if not livekit_stack.status().running:
        await server.start()


@pytest.fixture
async def livekit_api(server: Server) -> AsyncIterator[api.LiveKitAPI]:
    status = server.status
    async with api.LiveKitAPI(status.http_url, status.api_key, status.api_secret) as client:
        yield client
