"""An app's server with Tencent's own SDK, and nothing of ours: a room of real users recorded through the gateway."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import Phase
from cloudrec_local.fetch import download
from cloudrec_local.home import example
from cloudrec_local.stack import Stack
from cloudrec_local.status import environment
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from tests.analysis.files import Whose, read_folder
from tests.e2e.task import Cluster, named

pytestmark = [pytest.mark.media, pytest.mark.cluster]

IN_PROGRESS_SECONDS = 15.0
FOLLOWED_SECONDS = 1.0


def sdk_example() -> ModuleType:
    """examples/sdk_python.py: the example is the client."""
    spec = importlib.util.spec_from_file_location("sdk_python", example("sdk_python.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def code_of(call: Any) -> str:
    with pytest.raises(TencentCloudSDKException) as caught:
        call()
    return str(caught.value.get_code())


async def until(call: Any, good: Any, seconds: float) -> Any:
    """The first answer that is good."""
    deadline = time.monotonic() + seconds
    while not good(answer := await asyncio.to_thread(call)):
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.1)
    return answer


def client(env: Mapping[str, str]) -> Any:
    """The example's client for the stack of `cloudrec status --env`."""
    return sdk_example().Recorder(
        env["CLOUDREC_ENDPOINT"],
        env["CLOUDREC_SECRET_ID"],
        env["CLOUDREC_SECRET_KEY"],
        int(env["CLOUDREC_SDK_APP_ID"]),
    )


def storage(env: Mapping[str, str], *prefix: str) -> dict[str, Any]:
    """CloudStorage: the stack's bucket."""
    return {
        "Vendor": 1,
        "Region": env["CLOUDREC_REGION"],
        "Bucket": env["CLOUDREC_BUCKET"],
        "AccessKey": env["CLOUDREC_ACCESS_KEY"],
        "SecretKey": env["CLOUDREC_ACCESS_SECRET"],
        "FileNamePrefix": list(prefix),
    }


async def test_an_app_that_changed_its_endpoint_and_nothing_else(stack: Stack, tmp_path: Path) -> None:
    env, cluster = environment(stack.status()), Cluster.of(stack)
    sdk = client(env)
    async with SyntheticUsers(cluster.server, "algebra", standard_plan(2)) as users:
        await users.published()
        asked = time.monotonic()
        task = await asyncio.to_thread(sdk.create, "algebra", "recorder-1", "unsigned", storage(env, "school", "7b"))
        await until(lambda: sdk.describe(task), lambda told: told.Status == "InProgress", IN_PROGRESS_SECONDS)
        print(f"InProgress {time.monotonic() - asked:.2f} s after Create was asked for")
        told = await until(lambda: sdk.describe(task), lambda told: len(told.StorageFileList) == 4, 30)
        await asyncio.sleep(2)
        await asyncio.to_thread(sdk.modify, task, {"UnSubscribeVideoUserIds": ["user-2"]})
        modified = time.time()
        await asyncio.sleep(3)
        name = await named(cluster, task)
        objects = await cluster.objects(name)
        await asyncio.to_thread(sdk.delete, task)
        assert sdk.describe(task).Status == "Exited"
        await cluster.phase(name, Phase.COMPLETED)
    assert await until(lambda: _gone(sdk, task), bool, 5)
    assert code_of(lambda: sdk.modify(task, {})) == code_of(lambda: sdk.delete(task)) == "ResourceNotFound"

    assert f"school/7b/{task}" in objects.where
    download(objects, tmp_path / "files", players=False)
    files = read_folder(tmp_path / "files")
    assert {Whose(f.UserId, "main", f.TrackType) for f in told.StorageFileList} == set(files)
    assert not [fault for file in files.values() for fault in file.faults]
    for file in told.StorageFileList:
        assert parse(objects.get(file.FileName).decode()).begin_ms == file.BeginTimeStamp
    ends = {whose: file.pictures[-1].wall for whose, file in files.items() if whose.kind == "video"}
    assert ends[Whose("user-2", "main", "video")] - modified <= FOLLOWED_SECONDS
    assert ends[Whose("user-1", "main", "video")] - modified > 2


def _gone(sdk: Any, task: str) -> bool:
    try:
        sdk.describe(task)
    except TencentCloudSDKException as error:
        return bool(error.get_code() == "ResourceNotFound")
    return False
