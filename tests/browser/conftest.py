"""Fixtures of the tests with real browsers: recorded once, and gone when these tests are over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from cloudrec_contract.secret import Secret
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.server import Server
from tests.browser.chromium import browser
from tests.browser.site import Site, serve
from tests.browser.story import Told, tell


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with serve() as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def viewers() -> AsyncIterator[Browser]:
    """A browser without a camera of its own."""
    async with browser() as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def told(livekit_stack: Stack, site: Site, viewers: Browser, tmp_path_factory: pytest.TempPathFactory) -> Told:
    status = livekit_stack.status().livekit
    assert status is not None
    server = Server(status.url, status.api_key, Secret(status.api_secret))
    return await tell(server, site, viewers, tmp_path_factory.mktemp("browser"))
