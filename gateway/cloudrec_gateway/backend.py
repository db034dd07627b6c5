"""What the HTTP side asks of whatever holds the recordings. Nothing here knows HTTP or Kubernetes.

asgi.App  --Keys.lookup-->  who signed?  --Actions.admit-->  not too often?  --Actions.create/…-->  the answer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cloudrec_contract.secret import Secret

if TYPE_CHECKING:
    from cloudrec_gateway.api.models import (
        CreateCloudRecordingRequest,
        CreateCloudRecordingResponse,
        DeleteCloudRecordingRequest,
        DeleteCloudRecordingResponse,
        DescribeCloudRecordingRequest,
        DescribeCloudRecordingResponse,
        ModifyCloudRecordingRequest,
        ModifyCloudRecordingResponse,
    )


@dataclass(frozen=True, slots=True)
class Credential:
    """A SecretId/SecretKey pair and the applications that it reaches; no other SdkAppId is reached with it."""

    secret_id: str
    secret_key: Secret
    sdk_app_ids: frozenset[int]
    allow_unsigned_payload: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. The same request sent again (SDKs do not, networks and impatient users do) has the same
    `signature` and the same `body_hash`; a new request of the same content has another timestamp or nonce, and so
    another signature.

    `signature`: verified, as it stood in the request (hexadecimal for TC3, base64 for the older methods).
    `body_hash`: hexadecimal SHA-256 of the body (of the query string for GET), whether or not the signature covers it
    (with UNSIGNED-PAYLOAD it does not). `request_id`: the RequestId of the answer.
    """

    credential: Credential
    signature: str
    body_hash: str
    request_id: str


class Keys(Protocol):
    def lookup(self, secret_id: str) -> Credential | None:
        """The credential of this SecretId, from memory; None when there is none. Does not raise."""
        ...


class Actions(Protocol):
    """The four actions. Each raises `ApiFault` for what is to be told to the client.

    The HTTP side has verified the signature, that the caller reaches `request.sdk_app_id`, and `admit`; an action need
    not look at these again.
    """

    def admit(self, sdk_app_id: int) -> None:
        """Count one request of this application; raises `ApiFault` RequestLimitExceeded when there are too many."""
        ...

    async def create(self, caller: Caller, request: CreateCloudRecordingRequest) -> CreateCloudRecordingResponse: ...

    async def describe(
        self, caller: Caller, request: DescribeCloudRecordingRequest
    ) -> DescribeCloudRecordingResponse: ...

    async def modify(self, caller: Caller, request: ModifyCloudRecordingRequest) -> ModifyCloudRecordingResponse: ...

    async def delete(self, caller: Caller, request: DeleteCloudRecordingRequest) -> DeleteCloudRecordingResponse: ...

    def ready(self) -> str:
        """Why requests cannot be served now; empty when they can."""
        ...


class Backend(Keys, Actions, Protocol):
    """All of it in one object."""
