"""The gateway as its own program against a real API server, and its clients."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient

from cloudrec_local.kubeapi import MERGE, Object
from tests.cluster.operating import APPS, RECORDINGS, World, authority, eventually, secret

SDK_APP_ID = 1400000001
SECRET_ID, SECRET_KEY = "AKID-demo", "demo-secret-key-0123456789"
BUCKET_ID, BUCKET_KEY = "INLINE-ACCESS-KEY", "inline-secret-key-9876543210"
OTHER_APP_ID = 1400000002
OTHER_ID, OTHER_KEY = "AKID-other", "other-secret-key-0123456789"


def served_app(name: str, sdk_app_id: int, credentials: str, **spec: Any) -> Object:
    """A RecordingApp that the gateway serves."""
    livekit = {"url": "ws://127.0.0.1:1", "apiKeySecretRef": {"name": "livekit-keys"}}
    return {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "RecordingApp",
        "metadata": {"name": name},
        "spec": {
            "sdkAppId": sdk_app_id,
            "room": {"livekit": livekit},
            "storage": {"endpoints": [{"vendor": "AWS", "region": "local", "endpoint": "http://127.0.0.1:1"}]},
            "api": {"credentialsSecretRef": {"name": credentials}},
            "limits": {"requestsPerSecond": 10000},
            **spec,
        },
    }


async def furnish(world: World, **spec: Any) -> None:
    """Make the world's app `demo` one that is served, and another one beside it."""
    await world.admin.request("DELETE", f"{APPS.format(world.namespace)}/demo")
    await world.apply(secret("credentials", **{SECRET_ID: SECRET_KEY}))
    await world.apply(served_app("demo", SDK_APP_ID, "credentials", **spec))
    await world.apply(secret("other-credentials", **{OTHER_ID: OTHER_KEY}))
    await world.apply(served_app("other", OTHER_APP_ID, "other-credentials"))


def create_body(room: str = "12345", robot: str = "robot", **more: Any) -> dict[str, Any]:
    """Parameters of a Create that is good."""
    return {
        "SdkAppId": SDK_APP_ID,
        "RoomId": room,
        "UserId": robot,
        "UserSig": "not-looked-at",
        "RecordParams": {"RecordMode": 1, "MaxIdleTime": 60},
        "StorageParams": {
            "CloudStorage": {
                "Vendor": 1,
                "Region": "local",
                "Bucket": "recordings",
                "AccessKey": BUCKET_ID,
                "SecretKey": BUCKET_KEY,
                "FileNamePrefix": ["school"],
            }
        },
        **more,
    }


async def told(world: World, name: str, **status: Any) -> None:
    """Write into a recording's status, as the operator does."""
    path = f"{world.path(name)}/status"
    await world.admin.request("PATCH", path, {"status": status}, content_type=MERGE)


@asynccontextmanager
async def accepting(world: World) -> AsyncIterator[None]:
    """Of an operator the decision alone: every recording is accepted, and nothing else is done."""

    async def accept() -> None:
        while True:
            for found in (await world.admin.get(RECORDINGS.format(world.namespace)))["items"]:
                if "taskId" not in found.get("status", {}):
                    meta = found["metadata"]
                    await told(world, meta["name"], phase="Pending", taskId=meta["uid"])
            await asyncio.sleep(0.05)

    task = asyncio.create_task(accept())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


@dataclass
class Gateway:
    """A running gateway. `lines`: of its log so far."""

    process: Process
    port: int
    lines: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sdk(self, secret_id: str = SECRET_ID, secret_key: str = SECRET_KEY) -> Sdk:
        return Sdk(self.endpoint, secret_id, secret_key)


class Sdk:
    """The real SDK, with each call in a thread. Raises its TencentCloudSDKException."""

    def __init__(self, endpoint: str, secret_id: str, secret_key: str) -> None:
        profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=endpoint, reqTimeout=10))
        self._client = TrtcClient(Credential(secret_id, secret_key), "ap-guangzhou", profile)

    async def create(self, **parameters: Any) -> str:
        return str((await self._call("CreateCloudRecording", create_body(**parameters))).TaskId)

    async def describe(self, task_id: str, sdk_app_id: int = SDK_APP_ID) -> Any:
        return await self._call("DescribeCloudRecording", {"SdkAppId": sdk_app_id, "TaskId": task_id})

    async def modify(self, task_id: str, **parameters: Any) -> Any:
        return await self._call("ModifyCloudRecording", {"SdkAppId": SDK_APP_ID, "TaskId": task_id, **parameters})

    async def delete(self, task_id: str, sdk_app_id: int = SDK_APP_ID) -> Any:
        return await self._call("DeleteCloudRecording", {"SdkAppId": sdk_app_id, "TaskId": task_id})

    async def _call(self, action: str, parameters: Mapping[str, Any]) -> Any:
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return await asyncio.to_thread(getattr(self._client, action), request)


def sign(action: str, body: bytes, host: str, timestamp: int) -> dict[str, str]:
    """The headers of a call as the SDK signs it (TC3-HMAC-SHA256), at a time of choice."""
    date = time.strftime("%Y-%m-%d", time.gmtime(timestamp))
    scope = f"{date}/trtc/tc3_request"
    canonical = "\n".join(
        ("POST", "/", "", f"content-type:application/json\nhost:{host}\n", "content-type;host", _sha256(body))
    )
    text = "\n".join(("TC3-HMAC-SHA256", str(timestamp), scope, _sha256(canonical.encode())))
    key = b"TC3" + SECRET_KEY.encode()
    for part in (date, "trtc", "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    return {
        "Authorization": f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope}, SignedHeaders=content-type;host, "
        f"Signature={signature}",
        "Content-Type": "application/json",
        "Host": host,
        "X-TC-Action": action,
        "X-TC-Version": "2019-07-22",
        "X-TC-Timestamp": str(timestamp),
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def post(
    session: aiohttp.ClientSession, gateway: Gateway, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """The Response of a call."""
    async with session.post(f"http://{gateway.endpoint}/", data=body, headers=headers) as answer:
        assert answer.status == 200
        found: dict[str, Any] = json.loads(await answer.read())["Response"]
        return found


@asynccontextmanager
async def gateway(world: World, **settings: str) -> AsyncIterator[Gateway]:
    """A gateway with its real service account, serving this namespace only, once it is ready."""
    folder = await service_account(world)
    env = {
        **os.environ,
        "CLOUDREC_SERVICEACCOUNT": str(folder),
        "CLOUDREC_NAMESPACE": world.namespace,
        "CLOUDREC_HOST": "127.0.0.1",
        "CLOUDREC_PORT": "0",
        "CLOUDREC_SECRETS_SECONDS": "0.5",
        "CLOUDREC_DRAIN_SECONDS": "0",
        **settings,
    }
    program = (sys.executable, "-m", "cloudrec_gateway.main")
    process = await asyncio.create_subprocess_exec(*program, env=env, stderr=PIPE)
    made = Gateway(process, 0)
    reading = asyncio.create_task(_read(made))
    try:
        await eventually(lambda: _ready(made), "gateway ready", 30)
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _read(made: Gateway) -> None:
    assert made.process.stderr is not None
    async for line in made.process.stderr:
        text = line.decode()
        made.lines.append(text)
        with suppress(ValueError):
            told = json.loads(text)
            if told["message"] == "listening":
                made.port = told["port"]


async def _ready(made: Gateway) -> bool:
    assert made.process.returncode is None, "".join(made.lines)
    if not made.port:
        return False
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://{made.endpoint}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


async def service_account(world: World) -> Path:
    """The folder that a Pod of the gateway would have mounted."""
    folder = world.kubeconfig.parent / f"gateway-{world.namespace}"
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(await world.token("cloudrec-gateway", "cloudrec-system"))
    (folder / "namespace").write_text("cloudrec-system")
    (folder / "ca.crt").write_text(authority(world.kubeconfig))
    return folder
