"""The calls to the API server that the gateway makes: JSON in, JSON out.

HTTP rather than a client library: the library's import alone takes 60 MB and more than a second of CPU.

    ApiError              an answer that is no success, or none
    ├── NotFound          404
    ├── Conflict          409: there already, or changed since
    ├── Invalid           400, 422: the object is not as the schema wants it
    ├── Refused           401, 403: the gateway may not, or a quota or policy is against it
    └── Unavailable       429, 5xx, network, time-out: worth another try
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp

from cloudrec_contract.resources import APPS, GROUP, RECORDINGS, VERSION

Object = dict[str, Any]

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
FIELD_MANAGER: Final = "cloudrec-gateway"

CLOUDREC: Final = f"/apis/{GROUP}/{VERSION}"
ALL_RECORDINGS: Final = f"{CLOUDREC}/{RECORDINGS}"
ALL_APPS: Final = f"{CLOUDREC}/{APPS}"

CALL_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 120
"""A watch is opened anew so often: a connection that died in silence delays what is seen no longer than that."""
_LINE: Final = 1 << 20  # bytes; a resource is 256 KB at most, and a watch sends it as one line
_PAGE: Final = 500
_TEXT: Final = 1000


class ApiError(Exception):
    """`status` is the HTTP code, 0 when there was no answer; `message` is the API server's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class Invalid(ApiError):
    pass


class Refused(ApiError):
    pass


class Unavailable(ApiError):
    pass


_KINDS: Final[Mapping[int, type[ApiError]]] = {
    400: Invalid,
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    422: Invalid,
}


def api_error(status: int, message: str) -> ApiError:
    """The error of an HTTP code."""
    kind = _KINDS.get(status, Unavailable if status in (0, 429) or status >= 500 else ApiError)
    return kind(status, message)


def namespaced(root: str, namespace: str, plural: str, name: str = "") -> str:
    """The path of a collection or of one object; `root` is CLOUDREC or /api/v1. Names are the API server's own."""
    path = f"{root}/namespaces/{namespace}/{plural}"
    return f"{path}/{name}" if name else path


class Kube:
    """One connection pool to the API server at `server` (https://host:port). Use as an async context manager.

    `service_account`: the folder with `token`, read at each call because it is renewed, and `ca.crt`. Every method
    raises ApiError.
    """

    def __init__(self, server: str, service_account: Path) -> None:
        self._server = server
        self._token = service_account / "token"
        self._tls = ssl.create_default_context(cafile=service_account / "ca.crt")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Kube:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=_LINE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, seconds: float = CALL_SECONDS) -> Object:
        return await self._request("GET", path, seconds)

    async def create(self, path: str, body: Object, seconds: float = CALL_SECONDS) -> Object:
        """Into the collection `path`. Conflict when there is one of that name."""
        return await self._request("POST", path, seconds, body=body, params={"fieldManager": FIELD_MANAGER})

    async def patch(self, path: str, body: Object, seconds: float = CALL_SECONDS) -> Object:
        """JSON merge patch; `metadata.uid` in it makes it a Conflict when that one is gone."""
        params = {"fieldManager": FIELD_MANAGER}
        return await self._request("PATCH", path, seconds, body=body, params=params, content_type=MERGE)

    async def delete(self, path: str, uid: str, version: str, seconds: float = CALL_SECONDS) -> None:
        """Conflict when it is another, or not of this resourceVersion any more."""
        body: Object = {"preconditions": {"uid": uid, "resourceVersion": version}, "propagationPolicy": "Background"}
        await self._request("DELETE", path, seconds, body=body)

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> tuple[list[Object], str]:
        """All objects of a collection, and the resourceVersion to watch from."""
        items: list[Object] = []
        query = {**(params or {}), "limit": str(_PAGE)}
        while True:
            page = await self._request("GET", path, CALL_SECONDS, params=query)
            items += page["items"]
            if not (rest := page["metadata"].get("continue")):
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = rest

    async def watch(
        self, path: str, version: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of each change, bookmarks too; ends after a while. ApiError 410: list anew."""
        query = {
            **(params or {}),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        assert self._session is not None
        limits = aiohttp.ClientTimeout(total=WATCH_SECONDS + 30.0, sock_connect=CALL_SECONDS)
        try:
            async with self._session.get(
                self._server + path, params=query, headers=self._headers(), timeout=limits, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise api_error(answer.status, _message(await answer.read()))
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise api_error(int(status.get("code", 500)), str(status.get("message", "")))
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            raise Unavailable(0, f"{type(error).__name__}: {error}") from error

    async def _request(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        body: Object | None = None,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> Object:
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                self._server + path,
                params=params,
                data=None if body is None else json.dumps(body).encode(),
                headers={**self._headers(), "Content-Type": content_type},
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as answer:
                data = await answer.read()
                if not 200 <= answer.status < 300:
                    raise api_error(answer.status, _message(data))
                found: Object = json.loads(data)
                return found
        # OSError: the token's file, too. ValueError: an answer that is no JSON.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(0, f"{type(error).__name__}: {error}") from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.read_text().strip()}", "Accept": JSON}


def _message(data: bytes) -> str:
    """What the API server said, without the rest of its Status object."""
    try:
        return str(json.loads(data)["message"])[:_TEXT]
    except (ValueError, KeyError, TypeError):
        return "no message"
