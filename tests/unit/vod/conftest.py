from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudrec_local.stack import Stack
from tests.unit.vod.helpers import Place
from tests.unit.vod.temporary import Temporary, running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place(bucket_stack: Stack, tmp_path: Path) -> Place:
    return Place(bucket_stack, tmp_path)


@pytest.fixture(scope="session")
def temporary_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporary]:
    with running(tmp_path_factory.mktemp("temporary")) as server:
        yield server
