"""The sidecar's calls to the API server, all on its own CloudRecording, with the Pod's bound token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException

from cloudrec_contract.resources import API_VERSION, GROUP, RECORDINGS, VERSION
from cloudrec_recorder.uploader.settings import Settings

CALL_SECONDS = 10.0
WATCH_SECONDS = 60
"""A watch is opened anew so often: a connection that died in silence delays a change no longer than that."""

Resource = Mapping[str, Any]


class ApiError(Exception):
    """A call did not succeed; `status` is HTTP's, 0 when there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Recordings:
    """One CloudRecording and its status. All methods raise ApiError; none waits longer than its deadline."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._manager = f"cloudrec-uploader-{settings.pod[-110:]}"
        token = settings.service_account / "token"

        def read_token(configuration: Any) -> None:
            # At each call: a kubelet writes a new token long before the old one ends.
            configuration.api_key["BearerToken"] = "Bearer " + token.read_text().strip()

        configuration = Configuration(host=settings.api_server)
        configuration.ssl_ca_cert = str(settings.service_account / "ca.crt")
        configuration.api_key["BearerToken"] = ""  # without it the hook is never asked
        configuration.refresh_api_key_hook = read_token  # type: ignore[assignment]
        configuration.client_session_kwargs = {"trust_env": False}
        self._client = ApiClient(configuration)
        self._api = CustomObjectsApi(self._client)
        self._where: dict[str, Any] = {
            "group": GROUP,
            "version": VERSION,
            "namespace": settings.namespace,
            "plural": RECORDINGS,
        }
        self._only = f"metadata.name={settings.recording}"

    async def __aenter__(self) -> Recordings:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def get(self) -> tuple[Resource | None, str]:
        """The resource, None when there is none, and the resourceVersion to watch from."""
        try:
            found: Any = await self._api.list_namespaced_custom_object(
                **self._where, field_selector=self._only, _request_timeout=CALL_SECONDS
            )
        except _FAILURES as error:
            raise _api_error(error) from error
        items = found["items"]
        return (items[0] if items else None), found["metadata"]["resourceVersion"]

    async def watch(self, resource_version: str) -> AsyncIterator[Resource]:
        """Watch events, `{"type", "object"}`, bookmarks too; ends after a while. ApiError 410: get anew."""
        try:
            response = await self._api.list_namespaced_custom_object_without_preload_content(
                **self._where,
                field_selector=self._only,
                resource_version=resource_version,
                watch=True,
                allow_watch_bookmarks=True,
                timeout_seconds=WATCH_SECONDS,
                _request_timeout=float(WATCH_SECONDS + 10),
            )
            async with response:
                if response.status != 200:
                    raise ApiError(response.status, response.reason or "")
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(int(event["object"].get("code", 500)), str(event["object"].get("message")))
                    yield event
        except _FAILURES as error:
            raise _api_error(error) from error

    async def apply_report(self, report: dict[str, Any]) -> None:
        """Server-side apply of this attempt's report: no other field of the status is touched."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "CloudRecording",
            "metadata": {"name": self._settings.recording, "uid": self._settings.task.task_id},
            "status": {"attempts": [{"pod": self._settings.pod, "report": report}]},
        }
        try:
            await self._api.patch_namespaced_custom_object_status(
                **self._where,
                name=self._settings.recording,
                body=body,
                field_manager=self._manager,
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=CALL_SECONDS,
            )
        except _FAILURES as error:
            raise _api_error(error) from error


# OSError: the token's file. ValueError: an answer that is no JSON, a watch line longer than the buffer.
_FAILURES = (ApiException, aiohttp.ClientError, TimeoutError, OSError, ValueError)


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiException):
        return ApiError(int(error.status or 0), f"{error.status} {error.reason}: {_message(error.body)}")
    return ApiError(0, f"{type(error).__name__}: {error}")


def _message(body: object) -> str:
    """What the API server said, without the rest of its Status object."""
    try:
        return str(json.loads(str(body))["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return "no message"
