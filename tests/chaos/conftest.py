"""The table of all faults, printed at the end; CLOUDREC_CHAOS_TABLE names a document that keeps it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from tests.chaos.table import Row, keep, rendered

DOCUMENT = "CLOUDREC_CHAOS_TABLE"
_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()

Tell = Callable[[Row], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Puts a row into the table."""
    rows = request.config.stash.setdefault(_ROWS, [])
    return rows.append


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[KubeApi]:
    async with KubeApi.from_kubeconfig(stack.home.kubeconfig) as client:
        yield client


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(_ROWS, [])
    if not rows:
        return
    terminalreporter.section("what the faults cost")
    terminalreporter.write(rendered(rows))
    if document := os.environ.get(DOCUMENT):
        keep(Path(document), rows)
