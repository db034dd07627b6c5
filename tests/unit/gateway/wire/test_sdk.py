"""Tencent's own SDK, unmodified, against the application in a real HTTP server: what it is told is what it sends."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models, trtc_client, trtc_client_async

from cloudrec_gateway.asgi import App
from cloudrec_gateway.protocol import BoundedProtocol
from cloudrec_gateway.wire.request import MAX_BODY
from tests.unit.gateway.wire.helpers import APP, CREATE, OPEN_ID, SECRET_ID, SECRET_KEY, SECRETS, MemoryBackend

# The SDK calls datetime.utcfromtimestamp, which newer Pythons advise against.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")

SIGN_METHODS = ("TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256")
WAYS = [(sign, method) for sign in SIGN_METHODS for method in ("POST", "GET")]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[MemoryBackend, str]]:
    """A backend and its `host:port`."""
    backend = MemoryBackend()
    config = uvicorn.Config(App(backend), log_config=None, access_log=False, lifespan="off", http=BoundedProtocol)
    running = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not running.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield backend, f"127.0.0.1:{listening.getsockname()[1]}"
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def backend(server: tuple[MemoryBackend, str]) -> Iterator[MemoryBackend]:
    memory, _ = server
    memory.calls.clear()
    yield memory
    memory.fault, memory.not_ready, memory.allowed = None, "", 1 << 62


@pytest.fixture
def endpoint(server: tuple[MemoryBackend, str], backend: MemoryBackend) -> str:
    return server[1]


def profile(endpoint: str, sign: str, method: str, *, unsigned: bool = False) -> ClientProfile:
    http = HttpProfile(protocol="http", endpoint=endpoint, reqMethod=method, reqTimeout=20)
    made = ClientProfile(signMethod=sign, httpProfile=http)
    made.unsignedPayload = unsigned
    return made


@contextmanager
def client(
    endpoint: str,
    sign: str = "TC3-HMAC-SHA256",
    method: str = "POST",
    *,
    secret_id: str = SECRET_ID,
    secret_key: str = SECRET_KEY,
    token: str | None = None,
    unsigned: bool = False,
) -> Iterator[Any]:
    credential = Credential(secret_id, secret_key, token)
    made = trtc_client.TrtcClient(credential, "ap-guangzhou", profile(endpoint, sign, method, unsigned=unsigned))
    try:
        yield made
    finally:
        made.request.conn._session.close()


@asynccontextmanager
async def async_client(endpoint: str, sign: str, method: str) -> AsyncIterator[Any]:
    credential = Credential(SECRET_ID, SECRET_KEY)
    async with trtc_client_async.TrtcClient(credential, "ap-guangzhou", profile(endpoint, sign, method)) as made:
        yield made


def request(kind: str, params: dict[str, Any]) -> Any:
    made = getattr(models, f"{kind}CloudRecordingRequest")()
    made._deserialize(params)
    return made


def check_created(backend: MemoryBackend) -> None:
    _, created = backend.calls[-1]
    assert (created.sdk_app_id, created.room_id, created.user_id) == (APP, "12345", "robot")
    assert created.mix_layout_params.pure_audio_disable_layout is True
    lists = created.record_params.subscribe_stream_user_ids
    assert lists.subscribe_audio_user_ids == ["10.*$", "阿丽"]
    assert lists.subscribe_video_user_ids == ["123"]
    storage = created.storage_params.cloud_storage
    assert storage.file_name_prefix == ["a", "b"]
    assert storage.secret_key.get_secret_value() == CREATE["StorageParams"]["CloudStorage"]["SecretKey"]


@pytest.mark.parametrize(("sign", "method"), WAYS)
def test_the_whole_life_of_a_task(backend: MemoryBackend, endpoint: str, sign: str, method: str) -> None:
    with client(endpoint, sign, method) as trtc:
        created = trtc.CreateCloudRecording(request("Create", CREATE))
        assert created.TaskId
        assert created.RequestId == backend.calls[-1][0].request_id
        check_created(backend)
        task = {"SdkAppId": APP, "TaskId": created.TaskId}
        described = trtc.DescribeCloudRecording(request("Describe", task))
        assert (described.TaskId, described.Status) == (created.TaskId, "InProgress")
        (file,) = described.StorageFileList
        assert (file.UserId, file.FileName, file.TrackType) == ("阿丽", "a.m3u8", "audio")
        assert file.BeginTimeStamp == 1_622_186_279_144
        changes = {**task, "SubscribeStreamUserIds": {"UnSubscribeVideoUserIds": ["bob & co/=+%"]}}
        assert trtc.ModifyCloudRecording(request("Modify", changes)).TaskId == created.TaskId
        assert backend.calls[-1][1].subscribe_stream_user_ids.un_subscribe_video_user_ids == ["bob & co/=+%"]
        assert trtc.DeleteCloudRecording(request("Delete", task)).TaskId == created.TaskId


@pytest.mark.parametrize(("sign", "method"), WAYS)
async def test_the_asynchronous_client(backend: MemoryBackend, endpoint: str, sign: str, method: str) -> None:
    async with async_client(endpoint, sign, method) as trtc:
        created = await trtc.CreateCloudRecording(request("Create", CREATE))
        check_created(backend)
        task = {"SdkAppId": APP, "TaskId": created.TaskId}
        assert (await trtc.DescribeCloudRecording(request("Describe", task))).Status == "InProgress"
        await trtc.DeleteCloudRecording(request("Delete", task))
        with pytest.raises(TencentCloudSDKException) as refused:
            await trtc.DescribeCloudRecording(request("Describe", {**task, "TaskId": "nobody's"}))
        assert refused.value.code == "ResourceNotFound"


@pytest.mark.parametrize(("sign", "method"), WAYS)
def test_errors_arrive_with_code_message_and_request_id(
    backend: MemoryBackend, endpoint: str, sign: str, method: str
) -> None:
    with client(endpoint, sign, method) as trtc:
        task = {"SdkAppId": APP, "TaskId": "nobody's"}
        for kind in ("Describe", "Modify", "Delete"):
            with pytest.raises(TencentCloudSDKException) as refused:
                getattr(trtc, f"{kind}CloudRecording")(request(kind, task))
            assert refused.value.code == "ResourceNotFound"
            assert refused.value.requestId == backend.calls[-1][0].request_id
        for params, code in (
            ({**CREATE, "RoomId": None}, "MissingParameter.RoomId"),
            ({**CREATE, "RecordParams": {"RecordMode": 9}}, "InvalidParameter.OutOfRange"),
            ({**CREATE, "SdkAppId": 1}, "InvalidParameter.SdkAppId"),
            ({**CREATE, "SdkAppId": "x"}, "InvalidParameter"),
        ):
            with pytest.raises(TencentCloudSDKException) as refused:
                trtc.CreateCloudRecording(request("Create", params))
            assert refused.value.code == code
            assert not any(secret in str(refused.value) for secret in SECRETS)


@pytest.mark.parametrize(("sign", "method"), WAYS)
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"secret_key": "another"}, "AuthFailure.SignatureFailure"),
        ({"secret_id": "AKIDnobody"}, "AuthFailure.SecretIdNotFound"),
        ({"token": "of-sts"}, "AuthFailure.TokenFailure"),
    ],
)
def test_credentials_that_are_refused(
    backend: MemoryBackend, endpoint: str, sign: str, method: str, options: dict[str, str], code: str
) -> None:
    with client(endpoint, sign, method, **options) as trtc, pytest.raises(TencentCloudSDKException) as refused:  # type: ignore[arg-type]
        trtc.DescribeCloudRecording(request("Describe", {"SdkAppId": APP, "TaskId": "x"}))
    assert refused.value.code == code
    assert not backend.calls


def test_unsigned_payload_only_where_it_is_allowed(backend: MemoryBackend, endpoint: str) -> None:
    with client(endpoint, unsigned=True, secret_id=OPEN_ID) as trtc:
        assert trtc.CreateCloudRecording(request("Create", CREATE)).TaskId
    with client(endpoint, unsigned=True) as trtc, pytest.raises(TencentCloudSDKException) as refused:
        trtc.CreateCloudRecording(request("Create", CREATE))
    assert refused.value.code == "AuthFailure.UnauthorizedOperation"


def test_another_action_of_the_same_service(backend: MemoryBackend, endpoint: str) -> None:
    with client(endpoint) as trtc, pytest.raises(TencentCloudSDKException) as refused:
        trtc.call_json("DescribeRoomInfo", {"SdkAppId": APP})
    assert refused.value.code == "InvalidAction"


@pytest.mark.parametrize("sign", SIGN_METHODS)
def test_a_body_that_is_too_large(backend: MemoryBackend, endpoint: str, sign: str) -> None:
    """The client sends all of it before it reads the answer, and has to get it all the same."""
    with client(endpoint, sign) as trtc, pytest.raises(TencentCloudSDKException) as refused:
        trtc.CreateCloudRecording(request("Create", {**CREATE, "RoomId": "x" * 20 * MAX_BODY}))
    assert refused.value.code == "RequestSizeLimitExceeded"


def test_too_many_requests(backend: MemoryBackend, endpoint: str) -> None:
    backend.allowed = 1
    with client(endpoint) as trtc:
        assert trtc.CreateCloudRecording(request("Create", CREATE)).TaskId
        with pytest.raises(TencentCloudSDKException) as refused:
            trtc.CreateCloudRecording(request("Create", CREATE))
    assert refused.value.code == "RequestLimitExceeded"


def test_a_failure_of_the_gateway_is_told_without_its_reason(backend: MemoryBackend, endpoint: str) -> None:
    backend.fault = RuntimeError("disk on fire")
    with client(endpoint) as trtc, pytest.raises(TencentCloudSDKException) as refused:
        trtc.CreateCloudRecording(request("Create", CREATE))
    assert refused.value.code == "InternalError.CRInternalError"
    assert "fire" not in str(refused.value)
