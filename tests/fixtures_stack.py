"""Session fixtures with private embedded stacks: own folder, own ports, gone at the end of the session.

Ask for the smallest that will do: each is started at most once a session, and only when a test asks for it.

    stack          everything, with the operator running and the RecordingApp `demo` in namespace `default`
    api_stack      API server, controllers, scheduler; CRDs, RBAC and admission policies installed
    node_stack     api_stack's parts and the node agent (image `test/tools:1`: this Python environment)
    media_stack    LiveKit server and bucket
    livekit_stack  LiveKit server only
    bucket_stack   bucket only
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudrec_local.stack import Stack
from cloudrec_local.state import PARTS, Image, Part

TOOLS = "test/tools:1"


def _running(tmp_path_factory: pytest.TempPathFactory, name: str, *parts: Part) -> Iterator[Stack]:
    images = {TOOLS: Image(path=(str(Path(sys.executable).parent),))}
    home = tmp_path_factory.mktemp(name, numbered=True) / "home"
    stack = Stack(name, home=home, components=parts, images=images)
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from _running(tmp_path_factory, "whole", *PARTS)


@pytest.fixture(scope="session")
def api_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from _running(tmp_path_factory, "api", "api")


@pytest.fixture(scope="session")
def node_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from _running(tmp_path_factory, "node", "api", "node")


@pytest.fixture(scope="session")
def media_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from _running(tmp_path_factory, "media", "livekit", "bucket")


@pytest.fixture(scope="session")
def livekit_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from _running(tmp_path_factory, "livekit", "livekit")


@pytest.fixture(scope="session")
def bucket_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from _running(tmp_path_factory, "bucket", "bucket")
