"""Paths at the API server: what a tenant wrote stays one segment, on the wire too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from cloudrec_operator.api import CORE, JSON, Api, HttpRequests, Object
from cloudrec_operator.errors import NotFound


@pytest.fixture
async def paths() -> AsyncIterator[tuple[Api, list[str]]]:
    """An `Api` of a real client, and the path of every request as the server got it."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app) as server:
        configuration = Configuration(host=str(server.make_url("")).rstrip("/"))
        async with HttpRequests(configuration) as requests:
            yield Api(requests), seen


async def test_a_name_cannot_leave_its_place(paths: tuple[Api, list[str]]) -> None:
    api, seen = paths
    name = "../../victim/recordingapps/demo"
    for read in (api.app, api.secret, api.pod, api.recording):
        await read("own", name)
    await api.secret("own", "a?b#c%2e%2e")
    await api.delete_pod("own", name, "u", None)
    await api.delete_recording("own", name, "u")
    assert len(seen) == 7
    for path in seen:
        assert path.split("?")[0].split("/")[-3:-1] in (
            ["own", plural] for plural in ("recordingapps", "secrets", "pods", "cloudrecordings")
        )


async def test_plain_names_stay_as_they_are(paths: tuple[Api, list[str]]) -> None:
    api, seen = paths
    await api.app("own", "demo.v1")
    await api.create(CORE, "own", "events", {})
    assert seen == [
        "/apis/cloudrec.dev/v1alpha1/namespaces/own/recordingapps/demo.v1",
        "/api/v1/namespaces/own/events?fieldManager=cloudrec-operator",
    ]


class Unused:
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object:
        raise AssertionError(f"{method} {path}")


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_what_is_no_name_names_nothing(name: str) -> None:
    with pytest.raises(NotFound):
        await Api(Unused()).app("own", name)
