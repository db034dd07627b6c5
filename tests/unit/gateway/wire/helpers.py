"""A backend in memory, requests signed by hand as each SDK signs them, a client that calls the application itself."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from cloudrec_contract.secret import Secret
from cloudrec_gateway.api.models import (
    CreateCloudRecordingRequest,
    CreateCloudRecordingResponse,
    DeleteCloudRecordingRequest,
    DeleteCloudRecordingResponse,
    DescribeCloudRecordingRequest,
    DescribeCloudRecordingResponse,
    ModifyCloudRecordingRequest,
    ModifyCloudRecordingResponse,
    StorageFile,
)
from cloudrec_gateway.asgi import App
from cloudrec_gateway.backend import Caller, Credential
from cloudrec_gateway.errors import REQUEST_LIMIT_EXCEEDED, RESOURCE_NOT_FOUND, ApiFault

APP = 1400123456
NOW = 1_700_000_000
SECRET_ID = "AKIDexample"
SECRET_KEY = "kJ8+secret/Key=of&the*tests"
OPEN_ID = "AKIDopen"
HOST = "127.0.0.1:8800"
BUCKET_KEY = "bucket-access-key-x7"
BUCKET_SECRET = "bucket-secret-key-y8"
USER_SIG = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwsUwQYhwcUp2YkFBZoqSlaGJgYGhsZGBgaFSLQCzWRN5"
PRIVATE_MAP_KEY = "eJyrVkrOT0lVslJKTixKUaoFACBaBLA_"
SECRETS = (SECRET_KEY, BUCKET_KEY, BUCKET_SECRET, USER_SIG, PRIVATE_MAP_KEY)

CREATE: dict[str, Any] = {
    "SdkAppId": APP,
    "RoomId": "12345",
    "UserId": "robot",
    "UserSig": USER_SIG,
    "PrivateMapKey": PRIVATE_MAP_KEY,
    "RecordParams": {
        "RecordMode": 1,
        "SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["10.*$", "阿丽"], "SubscribeVideoUserIds": ["123"]},
    },
    "StorageParams": {
        "CloudStorage": {
            "Vendor": 1,
            "Region": "local",
            "Bucket": "recordings",
            "AccessKey": BUCKET_KEY,
            "SecretKey": BUCKET_SECRET,
            "FileNamePrefix": ["a", "b"],
        }
    },
    "MixLayoutParams": {"MixLayoutMode": 3, "PureAudioDisableLayout": True},
}
DESCRIBE = {"SdkAppId": APP, "TaskId": "0b1c"}


class MemoryBackend:
    """Two SecretIds for one application; `fault` is raised by the next actions if it is set."""

    def __init__(self) -> None:
        key = Secret(SECRET_KEY)
        apps = frozenset({APP})
        self.credentials = {
            SECRET_ID: Credential(SECRET_ID, key, apps),
            OPEN_ID: Credential(OPEN_ID, key, apps, allow_unsigned_payload=True),
        }
        self.tasks: dict[tuple[str, str], str] = {}
        self.calls: list[tuple[Caller, Any]] = []
        self.fault: Exception | None = None
        self.not_ready = ""
        self.allowed = 1 << 62

    def lookup(self, secret_id: str) -> Credential | None:
        return self.credentials.get(secret_id)

    def admit(self, sdk_app_id: int) -> None:
        if self.allowed <= 0:
            raise ApiFault(REQUEST_LIMIT_EXCEEDED, f"more than 20 requests a second for SdkAppId {sdk_app_id}")
        self.allowed -= 1

    def ready(self) -> str:
        return self.not_ready

    def _note(self, caller: Caller, request: Any) -> None:
        self.calls.append((caller, request))
        if self.fault:
            raise self.fault

    def _known(self, task_id: str) -> str:
        if task_id not in self.tasks.values():
            raise ApiFault(RESOURCE_NOT_FOUND, "TaskId is unknown, or its task has ended")
        return task_id

    async def create(self, caller: Caller, request: CreateCloudRecordingRequest) -> CreateCloudRecordingResponse:
        self._note(caller, request)
        task_id = self.tasks.setdefault((caller.signature, caller.body_hash), str(uuid.uuid4()))
        return CreateCloudRecordingResponse(task_id=task_id)

    async def describe(self, caller: Caller, request: DescribeCloudRecordingRequest) -> DescribeCloudRecordingResponse:
        self._note(caller, request)
        files = [
            StorageFile(user_id="阿丽", file_name="a.m3u8", track_type="audio", begin_time_stamp=1_622_186_279_144)
        ]
        task_id = self._known(request.task_id)
        return DescribeCloudRecordingResponse(task_id=task_id, status="InProgress", storage_file_list=files)

    async def modify(self, caller: Caller, request: ModifyCloudRecordingRequest) -> ModifyCloudRecordingResponse:
        self._note(caller, request)
        return ModifyCloudRecordingResponse(task_id=self._known(request.task_id))

    async def delete(self, caller: Caller, request: DeleteCloudRecordingRequest) -> DeleteCloudRecordingResponse:
        self._note(caller, request)
        return DeleteCloudRecordingResponse(task_id=self._known(request.task_id))


@dataclass
class Http:
    """A request on its way; headers as they are sent."""

    method: str = "POST"
    headers: list[tuple[str, str]] = field(default_factory=list)
    query: bytes = b""
    body: bytes = b""
    path: str = "/"

    def set(self, name: str, value: str | None) -> "Http":
        """Replace a header, or with None leave it out."""
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))
        return self

    @property
    def signature(self) -> str:
        return dict(self.headers)["Authorization"].rpartition("=")[2]

    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query,
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers],
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 8800),
        }


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def response(self) -> dict[str, Any]:
        response: dict[str, Any] = json.loads(self.body)["Response"]
        return response

    @property
    def code(self) -> str:
        """The error's code; empty when there is none."""
        return str(self.response.get("Error", {}).get("Code", ""))

    @property
    def message(self) -> str:
        return str(self.response["Error"]["Message"])


async def call(app: App, http: Http, *, parts: Sequence[bytes] | None = None) -> Answer:
    """Give the request to the application; `parts`: its body as it arrives, in place of `http.body`."""
    waiting = list(parts) if parts is not None else [http.body]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not waiting:
            return {"type": "http.disconnect"}
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(http.scope(), receive, send)
    start, *bodies = sent
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in bodies))


def tc3(
    action: str = "DescribeCloudRecording",
    params: Mapping[str, Any] | None = None,
    *,
    method: str = "POST",
    body: bytes | None = None,
    secret_id: str = SECRET_ID,
    secret_key: str = SECRET_KEY,
    timestamp: int = NOW,
    date: str | None = None,
    service: str = "trtc",
    host: str = HOST,
    signed_host: str | None = None,
    content_type: str | None = None,
    lower: bool = False,
    unsigned: bool = False,
    more_signed: Sequence[tuple[str, str]] = (),
) -> Http:
    """A request signed with TC3-HMAC-SHA256, written after the published algorithm.

    `signed_host`: the host that is signed, if not the one that is sent. `lower`: values are signed in lower case.
    """
    params = DESCRIBE if params is None else params
    query = b""
    if method == "GET":
        query = urlencode(flattened(params)).encode()
        body = b""
    elif body is None:
        body = json.dumps(params).encode()
    kind = content_type or ("application/json" if method == "POST" else "application/x-www-form-urlencoded")
    signed = sorted([("content-type", kind), ("host", signed_host or host), *more_signed])
    canonical = "".join(f"{name}:{value.lower() if lower else value}\n" for name, value in signed)
    names = ";".join(name for name, _ in signed)
    payload = hashlib.sha256(b"UNSIGNED-PAYLOAD" if unsigned else body).hexdigest()
    text = f"{method}\n/\n{query.decode()}\n{canonical}\n{names}\n{payload}"
    date = date or time.strftime("%Y-%m-%d", time.gmtime(timestamp))
    scope = f"{date}/{service}/tc3_request"
    digest = hashlib.sha256(text.encode()).hexdigest()
    key = ("TC3" + secret_key).encode()
    for part in (date, service, "tc3_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}"
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers = [
        ("Host", host),
        ("Content-Type", kind),
        ("X-TC-Action", action),
        ("X-TC-Version", "2019-07-22"),
        ("X-TC-Timestamp", str(timestamp)),
        ("X-TC-Region", "ap-guangzhou"),
        (
            "Authorization",
            f"TC3-HMAC-SHA256 Credential={secret_id}/{scope}, SignedHeaders={names}, Signature={signature}",
        ),
    ]
    if unsigned:
        headers.append(("X-TC-Content-SHA256", "UNSIGNED-PAYLOAD"))
    have = {name.lower() for name, _ in headers}
    headers += [(name, value) for name, value in more_signed if name not in have]
    return Http(method, headers, query, body)


def legacy(
    action: str = "DescribeCloudRecording",
    params: Mapping[str, Any] | None = None,
    *,
    method: str = "POST",
    algorithm: str = "HmacSHA256",
    host: str = HOST,
    secret_id: str = SECRET_ID,
    secret_key: str = SECRET_KEY,
    timestamp: int | str = NOW,
    content_type: str | None = "application/x-www-form-urlencoded",
    nonce: int | None = 4711,
    **more: str,
) -> Http:
    """A request signed with HmacSHA1 or HmacSHA256; with an empty `algorithm` the method is left out (HmacSHA1)."""
    fields: dict[str, Any] = {
        **flattened(DESCRIBE if params is None else params),
        "Action": action,
        "Version": "2019-07-22",
        "Timestamp": timestamp,
        "SecretId": secret_id,
        "Region": "ap-guangzhou",
        **more,
    }
    if nonce is not None:
        fields["Nonce"] = nonce
    if algorithm:
        fields["SignatureMethod"] = algorithm
    text = f"{method}{host}/?" + "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    digest = hashlib.sha256 if algorithm == "HmacSHA256" else hashlib.sha1
    fields["Signature"] = base64.b64encode(hmac.new(secret_key.encode(), text.encode(), digest).digest()).decode()
    sent = urlencode(fields).encode()
    headers = [("Host", host)]
    if content_type and method == "POST":
        headers.append(("Content-Type", content_type))
    return Http(method, headers, b"" if method == "POST" else sent, sent if method == "POST" else b"")


def flattened(params: Any, prefix: str = "") -> dict[str, Any]:
    """`{"A": {"B": [1]}}` -> `{"A.B.0": 1}`, as all SDKs do it; values as Python writes them."""
    if isinstance(params, Mapping):
        items: Any = params.items()
    elif isinstance(params, list):
        items = enumerate(params)
    else:
        return {prefix: params}
    flat: dict[str, Any] = {}
    for name, value in items:
        flat |= flattened(value, f"{prefix}.{name}" if prefix else str(name))
    return flat
