"""A Pod's calls to the API server, all on its own CloudRecording, with the Pod's bound token: the sidecar's, and the
finisher's.

Three calls by HTTP rather than a client library: the library's import alone takes 60 MB and more than a second of CPU,
which each Pod and each failover would pay.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import aiohttp

from cloudrec_contract.applying import apply_body
from cloudrec_contract.resources import API_VERSION, GROUP, RECORDINGS, VERSION

CALL_SECONDS = 10.0
WATCH_SECONDS = 60
"""A watch is opened anew so often: a connection that died in silence delays a change no longer than that."""
_BUFFER = 1 << 20  # bytes; a resource is 256 KB at most, and a watch sends it as one line

Resource = Mapping[str, Any]


class ApiError(Exception):
    """A call did not succeed; `status` is HTTP's, 0 when there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Place(Protocol):
    """Where a Pod reports: its recording, by name and by `task_id` (the uid), and the attempt named `pod`."""

    @property
    def namespace(self) -> str: ...
    @property
    def recording(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def pod(self) -> str: ...
    @property
    def service_account(self) -> Path:
        """Folder with the files token and ca.crt."""

    @property
    def api_server(self) -> str:
        """https://host:port."""


def server_url(host: str, port: str) -> str:
    """Of KUBERNETES_SERVICE_HOST and _PORT."""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


class Recordings:
    """One CloudRecording and its status. All methods raise ApiError; none waits longer than its deadline."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._manager = f"cloudrec-uploader-{place.pod[-110:]}"
        self._token = place.service_account / "token"
        self._url = f"{place.api_server}/apis/{GROUP}/{VERSION}/namespaces/{place.namespace}/{RECORDINGS}"
        self._only = {"fieldSelector": f"metadata.name={place.recording}"}
        self._tls = ssl.create_default_context(cafile=place.service_account / "ca.crt")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Recordings:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=4)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=_BUFFER)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self) -> tuple[Resource | None, str]:
        """The resource, None when there is none, and the resourceVersion to watch from."""
        async with self._call("GET", self._url, params=self._only) as answer:
            found = await answer.json()
            items = found["items"]
            return (items[0] if items else None), found["metadata"]["resourceVersion"]

    async def watch(self, resource_version: str) -> AsyncIterator[Resource]:
        """Watch events, `{"type", "object"}`, bookmarks too; ends after a while. ApiError 410: get anew."""
        params = {
            **self._only,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self._call("GET", self._url, seconds=WATCH_SECONDS + 10.0, params=params) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(int(event["object"].get("code", 500)), str(event["object"].get("message")))
                yield event

    async def apply_report(self, report: dict[str, Any]) -> None:
        """Server-side apply of this attempt's report: no other field of the status is touched."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "CloudRecording",
            "metadata": {"name": self._place.recording, "uid": self._place.task_id},
            "status": {"attempts": [{"pod": self._place.pod, "report": report}]},
        }
        async with self._call(
            "PATCH",
            f"{self._url}/{self._place.recording}/status",
            params={"fieldManager": self._manager, "force": "true"},
            data=apply_body(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ):
            pass

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        url: str,
        *,
        params: dict[str, str],
        data: str | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of 2xx, to be read within its deadline."""
        assert self._session is not None
        try:
            # At each call: a kubelet writes a new token long before the old one ends.
            authorization = {"Authorization": f"Bearer {self._token.read_text().strip()}", **(headers or {})}
            async with self._session.request(
                method,
                url,
                params=params,
                data=data,
                headers=authorization,
                timeout=aiohttp.ClientTimeout(total=seconds, connect=CALL_SECONDS),
                allow_redirects=False,
            ) as answer:
                if not 200 <= answer.status < 300:
                    message = _message(await answer.text(errors="replace"))
                    raise ApiError(answer.status, f"{answer.status} {answer.reason}: {message}")
                yield answer
        # OSError: the token's file. ValueError and KeyError: an answer that is not what it should be.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            raise ApiError(0, f"{type(error).__name__}: {error}") from error


def _message(body: str) -> str:
    """What the API server said, without the rest of its Status object."""
    try:
        return str(json.loads(body)["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return "no message"
