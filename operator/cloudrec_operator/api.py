"""The Kubernetes API as the operator uses it: JSON in, JSON out, over the client library's connection and credentials.

The library's models are left aside: they cost more than the call, and an object that is written back must keep what a
newer API server put into it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient

from cloudrec_contract.applying import apply_body
from cloudrec_contract.resources import APPS, GROUP, RECORDINGS, VERSION
from cloudrec_operator.errors import NotLeader, api_error

Object = dict[str, Any]

JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
FIELD_MANAGER = "cloudrec-operator"

CORE = "/api/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POLICY = "/apis/policy/v1"
LEASES = "/apis/coordination.k8s.io/v1"
CLOUDREC = f"/apis/{GROUP}/{VERSION}"

REQUEST_SECONDS = 10.0
_ERROR_TEXT = 1000
_PAGE = 500


class Requests(Protocol):
    """A transport; raises the errors of `errors.py`."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object: ...


class HttpRequests:
    """`Requests` over HTTPS. Close it, or use it as a context manager."""

    def __init__(self, configuration: Any, seconds: float = REQUEST_SECONDS) -> None:
        # The kubeconfig's own proxy counts. To look at the environment and ~/.netrc costs a thread at each request.
        configuration.client_session_kwargs = {"trust_env": False}
        self._client = ApiClient(configuration)
        self._seconds = seconds

    async def __aenter__(self) -> HttpRequests:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object:
        # The library takes what is applied for JSON, unless it is text already and of a type that it does not know.
        given: Object | str | None = body
        if body is not None and content_type == APPLY:
            given, content_type = apply_body(body), f"{APPLY}; charset=utf-8"
        method, url, headers, _, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": JSON, "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        try:
            # The body is JSON already: the library would look into each of its values.
            response = await self._client.call_api(method, url, headers, given, _request_timeout=self._seconds)
            data = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise api_error(0, "Unreachable", f"{type(error).__name__}: {error}") from error
        if 200 <= response.status < 300:
            answer: Object = json.loads(data)
            return answer
        raise _error(response.status, data)


def _error(status: int, data: bytes) -> Exception:
    try:
        told = json.loads(data)
        return api_error(status, str(told.get("reason", "")), str(told.get("message", ""))[:_ERROR_TEXT])
    except (ValueError, AttributeError):
        return api_error(status, "", data[:_ERROR_TEXT].decode(errors="replace"))


class LeaderRequests:
    """`Requests` that lets writes pass only while this replica leads. Raises NotLeader."""

    def __init__(self, requests: Requests, leads: Callable[[], bool]) -> None:
        self._requests = requests
        self._leads = leads

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object:
        if method != "GET" and not self._leads():
            raise NotLeader(f"{method} {path}")
        return await self._requests.request(method, path, query=query, body=body, content_type=content_type)


class Api:
    """The calls that the operator makes. Every method raises the errors of `errors.py`."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def recording(self, namespace: str, name: str) -> Object:
        return await self._requests.request("GET", _recording(namespace, name))

    async def recordings(self, namespace: str) -> list[Object]:
        """All of a namespace, as they are now."""
        found: list[Object] = []
        query = {"limit": str(_PAGE)}
        while True:
            page = await self._requests.request("GET", _path(CLOUDREC, namespace, RECORDINGS), query=query)
            found += page["items"]
            if not (rest := page["metadata"].get("continue")):
                return found
            query = {"limit": str(_PAGE), "continue": rest}

    async def app(self, namespace: str, name: str) -> Object:
        return await self._requests.request("GET", _path(CLOUDREC, namespace, APPS, name))

    async def pod(self, namespace: str, name: str) -> Object:
        return await self._requests.request("GET", _path(CORE, namespace, "pods", name))

    async def node(self, name: str) -> Object:
        return await self._requests.request("GET", f"{CORE}/nodes/{_segments((name,))}")

    async def namespace(self, name: str) -> Object:
        return await self._requests.request("GET", f"{CORE}/namespaces/{_segments((name,))}")

    async def secret(self, namespace: str, name: str) -> Object:
        return await self._requests.request("GET", _path(CORE, namespace, "secrets", name))

    async def set_finalizers(self, recording: Object, finalizers: list[str]) -> Object:
        """Replace the finalizers of what was read. Conflict when it has changed since."""
        meta = recording["metadata"]
        return await self._requests.request(
            "PATCH",
            _recording(meta["namespace"], meta["name"]),
            query={"fieldManager": FIELD_MANAGER},
            body={
                "metadata": {
                    "uid": meta["uid"],
                    "resourceVersion": meta["resourceVersion"],
                    "finalizers": finalizers,
                }
            },
            content_type=MERGE,
        )

    async def apply_status(self, body: Object) -> Object:
        """Server-side apply of the operator's part of a status; `body` is `status.body`'s."""
        meta = body["metadata"]
        return await self._requests.request(
            "PATCH",
            _recording(meta["namespace"], meta["name"]) + "/status",
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=body,
            content_type=APPLY,
        )

    async def delete_recording(self, namespace: str, name: str, uid: str) -> None:
        await self._requests.request(
            "DELETE",
            _recording(namespace, name),
            body={"preconditions": {"uid": uid}, "propagationPolicy": "Background"},
        )

    async def create(self, group: str, namespace: str, plural: str, body: Object) -> Object:
        """Create `body` in that collection of `group` (CORE, RBAC, …). Conflict when it is there already."""
        return await self._requests.request(
            "POST", _path(group, namespace, plural), query={"fieldManager": FIELD_MANAGER}, body=body
        )

    async def apply_secret(self, body: Object) -> Object:
        meta = body["metadata"]
        return await self._requests.request(
            "PATCH",
            _path(CORE, meta["namespace"], "secrets", meta["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=body,
            content_type=APPLY,
        )

    async def delete_pod(self, namespace: str, name: str, uid: str, grace_seconds: int | None) -> None:
        """`grace_seconds` None leaves it to the Pod's own."""
        body: Object = {"preconditions": {"uid": uid}}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        await self._requests.request("DELETE", _path(CORE, namespace, "pods", name), body=body)


def _recording(namespace: str, name: str) -> str:
    return _path(CLOUDREC, namespace, RECORDINGS, name)


def _path(group: str, *parts: str) -> str:
    """`group`'s path to namespace, plural and name: each stays one segment, whatever a tenant has written into it.

    Raises NotFound for what can be no segment: there is no such object.
    """
    return f"{group}/namespaces/{_segments(parts)}"


def _segments(parts: tuple[str, ...]) -> str:
    if any(part in ("", ".", "..") for part in parts):
        raise api_error(404, "NotFound", f"no object has such a name: {'/'.join(parts)}")
    return "/".join(quote(part, safe="") for part in parts)
