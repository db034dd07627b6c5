from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import serve

from tests.unit.rooms.fake import FakeSignalServer


@pytest.fixture
async def fake() -> AsyncIterator[FakeSignalServer]:
    fake = FakeSignalServer()
    async with serve(lambda s: fake.handler(s), "127.0.0.1", 0, process_request=fake.check) as server:
        fake.server = server
        yield fake
