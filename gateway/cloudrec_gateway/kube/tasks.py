"""The four actions on CloudRecordings: `backend.Backend` over a Kubernetes cluster. Two replicas behave as one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cloudrec_contract.resources import RECORDINGS, RoomType
from cloudrec_gateway.api import mapping
from cloudrec_gateway.api.describe import Task as Known
from cloudrec_gateway.api.describe import known
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
from cloudrec_gateway.auth.usersig import UserSig, verify_private_map_key, verify_user_sig
from cloudrec_gateway.backend import Caller, Credential
from cloudrec_gateway.errors import (
    FAILED_OPERATION,
    INTERNAL_ERROR,
    INVALID_SDK_APP_ID,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_OPERATION,
    ApiFault,
    missing_parameter,
    shown,
)
from cloudrec_gateway.kube.cache import App, Cache, Task
from cloudrec_gateway.kube.client import CLOUDREC, ApiError, Conflict, NotFound, Object, namespaced
from cloudrec_gateway.kube.creating import PAUSE_SECONDS, Creating, Writes, recording_name, trying, write_fault
from cloudrec_gateway.kube.keys import Keyring
from cloudrec_gateway.kube.limits import Rates

ANSWER_SECONDS: Final = 5.8
"""No action takes longer, all of its waits and retries counted."""
CATCH_UP_SECONDS: Final = 1.0
"""How long a task that is not known is waited for: another replica may have made it a moment ago."""
_LAST_TIME: Final = 253_402_300_799  # the end of the year 9999
_TASK_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def utc_now() -> datetime:
    return datetime.now(UTC)


def _rfc3339(seconds: int) -> str:
    """Of Unix seconds; of a time beyond what can be written, the last that can."""
    return datetime.fromtimestamp(min(seconds, _LAST_TIME), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _no_vod(app: App) -> str:
    return (
        f"StorageParams.CloudVod: the RecordingApp {app.key.name} has no VOD: its administrator has to add spec.vod "
        "(spool, and one of bucket and tencent); CloudStorage is possible without"
    )


class KubeBackend:
    """`accept_seconds`: how long a Create waits for the operator. `keep_seconds`: how long the resource of a recording
    made here is kept after its end. `ending`: whether this replica is about to end."""

    def __init__(
        self,
        kube: Writes,
        cache: Cache,
        keyring: Keyring,
        rates: Rates,
        *,
        accept_seconds: float,
        keep_seconds: int,
        ending: Callable[[], bool] = lambda: False,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._keyring = keyring
        self._rates = rates
        self._accept_seconds = accept_seconds
        self._keep_seconds = keep_seconds
        self._ending = ending
        self._now = now

    def lookup(self, secret_id: str) -> Credential | None:
        entry = self._keyring.entry(secret_id)
        return entry.credential if entry is not None else None

    def admit(self, sdk_app_id: int) -> None:
        self._rates.admit(sdk_app_id, self._keyring.rate(sdk_app_id))

    def ready(self) -> str:
        if self._ending():
            return "this replica is ending"
        return self._unready()

    async def create(self, caller: Caller, request: CreateCloudRecordingRequest) -> CreateCloudRecordingResponse:
        began = asyncio.get_running_loop().time()
        app = self._app(caller, request.sdk_app_id)
        if request.vod is not None and app.spec.vod is None:
            raise ApiFault(UNSUPPORTED_OPERATION, _no_vod(app))
        robot = self._verify(app, request)
        body = mapping.recording(
            request,
            name=recording_name(request.sdk_app_id, caller.signature, caller.body_hash),
            namespace=app.key.namespace,
            app=app.key.name,
            now=self._now(),
            ttl_seconds_after_finished=self._keep_seconds,
        )
        if robot is not None:
            body["spec"]["robot"]["userSigExpiresAt"] = _rfc3339(robot.expires_at)
        creating = Creating(self._kube, self._cache.tasks, began + self._accept_seconds, began + ANSWER_SECONDS)
        task_id = await creating.run(body, lambda made: mapping.bucket_secret(request, made))
        return CreateCloudRecordingResponse(task_id=task_id)

    async def describe(self, caller: Caller, request: DescribeCloudRecordingRequest) -> DescribeCloudRecordingResponse:
        task, its = await self._task(self._app(caller, request.sdk_app_id), request.task_id)
        return task.told(its)

    async def modify(self, caller: Caller, request: ModifyCloudRecordingRequest) -> ModifyCloudRecordingResponse:
        task, its = await self._task(self._app(caller, request.sdk_app_id), request.task_id)
        await self._patch(task, mapping.modified(request, its.spec))
        return ModifyCloudRecordingResponse(task_id=task.uid)

    async def delete(self, caller: Caller, request: DeleteCloudRecordingRequest) -> DeleteCloudRecordingResponse:
        task, _ = await self._task(self._app(caller, request.sdk_app_id), request.task_id)
        await self._patch(task, mapping.stopped())
        return DeleteCloudRecordingResponse(task_id=task.uid)

    # ----------------------------------------------------------------------------------------------------------------

    def _unready(self) -> str:
        return self._cache.missing() or ("" if self._keyring.synced else "credentials have not been read yet")

    def _app(self, caller: Caller, sdk_app_id: int) -> App:
        """The app that the caller's SecretId reaches by this SdkAppId."""
        if reason := self._unready():
            raise ApiFault(INTERNAL_ERROR, f"the gateway is not ready: {reason}; ask again")
        entry = self._keyring.entry(caller.credential.secret_id)
        app = entry.apps.get(sdk_app_id) if entry is not None else None
        if app is None:
            raise ApiFault(INVALID_SDK_APP_ID, f"SdkAppId is {shown(sdk_app_id)}, which is unknown to this SecretId")
        return app

    def _verify(self, app: App, request: CreateCloudRecordingRequest) -> UserSig | None:
        """The robot's UserSig and PrivateMapKey, where the app has a key for them."""
        check = app.spec.user_sig
        if check is None:
            return None
        key = self._keyring.user_sig_key(app)
        if key is None:
            name = check.key_secret_ref.name
            raise ApiFault(FAILED_OPERATION, f"UserSig cannot be verified: the app's Secret {name} has no `key`")
        now = self._now().timestamp()
        app_id, robot = request.sdk_app_id, request.user_id
        robot_sig = verify_user_sig(request.user_sig.get_secret_value(), key, sdk_app_id=app_id, user_id=robot, now=now)
        if not check.private_map_key:
            return robot_sig
        if request.private_map_key is None:
            message = "PrivateMapKey is missing: the app has permission control, so the robot needs one"
            raise ApiFault(missing_parameter("PrivateMapKey"), message)
        verify_private_map_key(
            request.private_map_key.get_secret_value(),
            key,
            sdk_app_id=app_id,
            user_id=robot,
            room=request.room_id,
            string_room=request.room_type is RoomType.STRING,
            now=now,
        )
        return robot_sig

    async def _task(self, app: App, task_id: str) -> tuple[Task, Known]:
        """The app's task. Raises ApiFault ResourceNotFound, later for what is not its own or not there."""
        tasks = self._cache.tasks

        def own() -> Task | None:
            found = tasks.by_uid(task_id)
            return found if found is not None and found.app == app.key else None

        if own() is None and _TASK_ID.fullmatch(task_id):
            await tasks.until(lambda: own() is not None, asyncio.get_running_loop().time() + CATCH_UP_SECONDS)
        found, app_id = own(), app.spec.sdk_app_id
        its = found.known(app_id) if found is not None else None
        its = known(its, task_id=task_id, sdk_app_id=app_id, now=self._now())
        assert found is not None
        return found, its

    async def _patch(self, task: Task, change: Object) -> None:
        """Apply it to this very recording, whatever else changes it at the same time."""
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS - CATCH_UP_SECONDS
        path = namespaced(CLOUDREC, task.key.namespace, RECORDINGS, task.key.name)
        body = {**change, "metadata": {"uid": task.uid}}
        while True:
            try:
                changed = await trying(lambda left: self._kube.patch(path, body, left), deadline)
                break
            except NotFound:
                raise ApiFault(RESOURCE_NOT_FOUND, f"TaskId: {shown(task.uid)} given; the task is gone") from None
            except Conflict as error:
                await self._still_there(path, task, deadline, error)
            except ApiError as error:
                raise write_fault(error) from error
        if self._cache.tasks.by_uid(task.uid) is not None:
            self._cache.tasks.put(changed)

    async def _still_there(self, path: str, task: Task, deadline: float, error: Conflict) -> None:
        """After a Conflict: return when another try may succeed."""
        try:
            there = await trying(lambda left: self._kube.get(path, left), deadline)
        except ApiError:
            there = {"metadata": {"uid": ""}}
        if there["metadata"]["uid"] != task.uid:
            raise ApiFault(RESOURCE_NOT_FOUND, f"TaskId: {shown(task.uid)} given; the task is gone") from error
        if asyncio.get_running_loop().time() + PAUSE_SECONDS >= deadline:
            raise write_fault(error) from error
        await asyncio.sleep(PAUSE_SECONDS)
