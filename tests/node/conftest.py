"""Tests on a real kubelet: `make node-smoke`. Never run by the way, as a cluster must be around them, and root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudrec_local.errors import StackError
from cloudrec_local.onenode.cluster import OneNode, running
from tests.node.recorded import Room

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave this folder out unless it was asked for by name; asked for without a cluster, its tests are errors."""
    asked = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


@pytest.fixture(scope="session")
def node() -> OneNode:
    try:
        return running()
    except StackError as error:
        pytest.fail(f"{error.message}: {error.hint}", pytrace=False)


@pytest.fixture
def room(node: OneNode, tmp_path: Path, request: pytest.FixtureRequest) -> Room:
    """A room for this test alone."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:40].strip("-")
    return Room(node, tmp_path, name)
