"""The reconciler: observe, decide, write the status, act. All I/O of a decision is here; the decision is `decide.py`'s.

Order: at most one status write; Kubernetes Events only after it succeeded; then the plan's actions. Anything that has
changed meanwhile is a Conflict, and the key is looked at again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from cloudrec_contract import naming
from cloudrec_contract.resources import Phase
from cloudrec_operator import plan as plans
from cloudrec_operator import status as statuses
from cloudrec_operator.api import CORE, RBAC, Api, Object
from cloudrec_operator.decide import decide
from cloudrec_operator.errors import ApiError, Conflict, NotFound, NotLeader, Refused
from cloudrec_operator.observed import FINALIZER, App, Observed, Pod, Recording, SecretData
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import access, tokens, transitions
from cloudrec_operator.settings import Settings
from cloudrec_operator.store import Key, Store
from cloudrec_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

FRESH_SECONDS = 60.0
"""What was heard of longer ago is read again: a watch may have missed a deletion."""
SAFETY_SECONDS = 300.0
"""Every recording that is not finished is looked at so often, although events should come."""
RECONCILE_SECONDS = 60.0
MOUNT_SECONDS = 5.0
"""A container that is created for longer than this may miss a Secret."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Reconciler:
    """Looks at one recording at a time; as many workers may call it as there are keys."""

    def __init__(
        self,
        api: Api,
        store: Store,
        queue: WorkQueue[Key],
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._api = api
        self._store = store
        self._queue = queue
        self._settings = settings
        self._now = now
        self._expiries: dict[str, tuple[datetime, datetime]] = {}
        """Of each recording's room token, and when that was read."""
        self._refusals: dict[str, str] = {}

    async def work(self) -> None:
        """A worker: takes keys until the queue is closed."""
        while (key := await self._queue.get()) is not None:
            try:
                async with asyncio.timeout(RECONCILE_SECONDS):
                    await self.reconcile(key)
            except NotLeader:
                log.info("left to the next leader", extra={"recording": "/".join(key)})
            except Conflict as error:
                log.debug("changed meanwhile: %s", error, extra={"recording": "/".join(key)})
                self._store.recordings.drop(key)
                self._queue.retry(key)
            except (ApiError, TimeoutError) as error:
                if isinstance(error, NotFound):
                    self._store.recordings.drop(key)
                log.warning("will be tried again: %s", error, extra={"recording": "/".join(key)})
                self._queue.retry(key)
            except Exception:
                log.exception("reconcile failed", extra={"recording": "/".join(key)})
                self._queue.retry(key)
            finally:
                self._queue.done(key)

    async def reconcile(self, key: Key) -> None:
        """One pass. Raises the errors of `errors.py`."""
        raw = await self._recording(key)
        if raw is None:
            return
        recording = Recording.parse(raw)
        seen = await self._observe(recording)
        plan = decide(seen, self._settings)
        if plan.status is not None and statuses.differs(recording.status, plan.status):
            raw = await self._api.apply_status(statuses.body(recording, plan.status))
            self._store.recordings.put(raw)
            await self._tell(seen, plan)
            self._queue.add(key)
        for action in plan.actions:
            await self._act(key, raw, recording, action)
        self._requeue(key, plan, recording)

    def _requeue(self, key: Key, plan: Plan, recording: Recording) -> None:
        if plan.retry:
            self._queue.retry(key)
        else:
            self._queue.settle(key)
        if plan.after is not None:
            self._queue.add_after(key, plan.after)
        if not recording.terminal:
            self._queue.add_after(key, SAFETY_SECONDS)

    async def _tell(self, seen: Observed, plan: Plan) -> None:
        """Kubernetes Events; a lost one is no reason to fail."""
        recording = seen.recording
        if plan.status is None:
            return
        notes = transitions.notes(recording.status, plan.status)
        for number, note in enumerate(notes):
            body = transitions.event(recording, note, number, self._now(), self._settings.who)
            log.info(
                note.message,
                extra={
                    "recording": f"{recording.namespace}/{recording.name}",
                    "task": recording.uid,
                    "reason": note.reason,
                },
            )
            try:
                await self._api.create(CORE, recording.namespace, "events", body)
            except ApiError as error:
                log.warning("event not written: %s", error)

    # --- observe ----------------------------------------------------------------------------------------------------

    async def _recording(self, key: Key) -> Object | None:
        known = self._store.recordings.get(key, FRESH_SECONDS)
        if known is not None:
            return known
        try:
            read = await self._api.recording(*key)
        except NotFound:
            self._store.recordings.drop(key)
            self._queue.settle(key)
            return None
        self._store.recordings.put(read)
        return read

    async def _observe(self, recording: Recording) -> Observed:
        now = self._now()
        attempt = recording.attempt
        name = attempt.pod if attempt else naming.pod_name(recording.name, recording.uid, 0)
        pod = await self._pod(recording, name) if recording.accepted else None
        expires = None
        if recording.accepted and not recording.terminal:
            if self._slow(recording, pod):
                self._expiries.pop(recording.uid, None)
            expires = await self._token_expires(recording, name)
        seen = Observed(
            recording,
            now,
            pod=pod,
            token_expires=expires,
            refused=self._refusals.get(recording.uid, ""),
        )
        if self._needs_sources(seen):
            seen = await self._with_sources(seen)
        return seen

    def _needs_sources(self, seen: Observed) -> bool:
        """Whether the app and the Secrets matter for the decision: before there is a Pod, and when it starts badly."""
        recording, attempt = seen.recording, seen.recording.attempt
        if recording.terminal or recording.spec is None or (recording.must_stop and not recording.accepted):
            return False
        if attempt is None or attempt.pod_uid is None:
            return True
        life = timedelta(seconds=self._settings.token_seconds)
        if tokens.due(seen.token_expires, seen.now, life) and not recording.must_stop:
            return True
        return self._slow(recording, seen.pod)

    def _slow(self, recording: Recording, pod: Pod | None) -> bool:
        """Whether the Pod may be waiting for a Secret that is not there."""
        since = recording.status.phase_since
        if pod is None or recording.status.phase is not Phase.STARTING or since is None:
            return False
        late = self._now() >= datetime.fromisoformat(since) + timedelta(seconds=MOUNT_SECONDS)
        return late and pod.recorder.waiting in ("ContainerCreating", "PodInitializing")

    async def _with_sources(self, seen: Observed) -> Observed:
        recording, spec = seen.recording, seen.recording.spec
        if spec is None:
            return seen
        app = await self._app(Key(recording.namespace, spec.app_ref.name))
        app_secret = None
        if app is not None and app.spec is not None:
            app_secret = await self._secret(recording.namespace, app.spec.room.livekit.api_key_secret_ref.name)
        bucket_secret = await self._secret(recording.namespace, spec.storage.bucket.credentials_secret_ref.name)
        return replace(seen, app=app, app_secret=app_secret, bucket_secret=bucket_secret)

    async def _app(self, key: Key) -> App | None:
        raw = self._store.apps.get(key, FRESH_SECONDS)
        if raw is None:
            try:
                raw = await self._api.app(*key)
            except NotFound:
                self._store.apps.drop(key)
                return None
            self._store.apps.put(raw)
        return App.parse(raw)

    async def _secret(self, namespace: str, name: str) -> SecretData:
        try:
            return SecretData.parse(await self._api.secret(namespace, name))
        except NotFound:
            return SecretData(name, None)

    async def _pod(self, recording: Recording, name: str) -> Pod | None:
        key = Key(recording.namespace, name)
        raw = self._store.pods.get(key, FRESH_SECONDS)
        if raw is None:
            try:
                raw = await self._api.pod(*key)
            except NotFound:
                self._store.pods.drop(key)
                return None
            self._store.pods.put(raw)
        return Pod.parse(raw)

    async def _token_expires(self, recording: Recording, pod: str) -> datetime | None:
        """Now and then the Secret itself is looked at: somebody may have deleted it."""
        known = self._expiries.pop(recording.uid, None)
        now = self._now()
        if known is not None and now < known[1] + timedelta(seconds=SAFETY_SECONDS):
            self._expiries[recording.uid] = known
            return known[0]
        with suppress(NotFound):
            read = tokens.expiry(await self._api.secret(recording.namespace, tokens.secret_name(pod)), recording)
            if read is not None:
                self._expiries[recording.uid] = (read, now)
            return read
        return None

    # --- act --------------------------------------------------------------------------------------------------------

    async def _act(self, key: Key, raw: Object, recording: Recording, action: plans.Action) -> None:
        match action:
            case plans.Hold():
                await self._hold(key, raw, action.held)
            case plans.EnsureAccess():
                await self._ensure_access(recording.namespace)
            case plans.WriteToken():
                await self._write_token(recording, action)
            case plans.CreatePod():
                await self._create_pod(key, recording, action)
            case plans.DeletePod():
                with suppress(NotFound, Conflict):
                    await self._api.delete_pod(recording.namespace, action.name, action.uid, action.grace_seconds)
            case plans.DeleteRecording():
                with suppress(NotFound, Conflict):
                    await self._api.delete_recording(recording.namespace, recording.name, recording.uid)
            case _:
                assert_never(action)

    async def _hold(self, key: Key, raw: Object, held: bool) -> None:
        others = [name for name in raw["metadata"].get("finalizers", ()) if name != FINALIZER]
        try:
            changed = await self._api.set_finalizers(raw, [*others, FINALIZER] if held else others)
        except NotFound:
            self._store.recordings.drop(key)
            return
        if not held:
            self._forget(raw["metadata"]["uid"])
        self._store.recordings.put(changed)
        self._queue.add(key)

    def _forget(self, uid: str) -> None:
        self._expiries.pop(uid, None)
        self._refusals.pop(uid, None)

    async def _ensure_access(self, namespace: str) -> None:
        with suppress(Conflict):
            await self._api.create(CORE, namespace, "serviceaccounts", access.service_account(namespace))
        with suppress(Conflict):
            await self._api.create(RBAC, namespace, "rolebindings", access.role_binding(namespace))

    async def _write_token(self, recording: Recording, action: plans.WriteToken) -> None:
        try:
            written = await self._api.apply_secret(action.manifest)
        except Refused as error:
            self._refusals[recording.uid] = f"the room token's Secret: {error.message}"
            raise
        self._refusals.pop(recording.uid, None)
        expires = tokens.expiry(written, recording)
        if expires is not None:
            self._expiries[recording.uid] = (expires, self._now())

    async def _create_pod(self, key: Key, recording: Recording, action: plans.CreatePod) -> None:
        name = action.manifest["metadata"]["name"]
        try:
            made = await self._api.create(CORE, recording.namespace, "pods", action.manifest)
        except Conflict:
            made = await self._api.pod(recording.namespace, name)
        except Refused as error:
            self._refusals[recording.uid] = error.message
            raise
        self._refusals.pop(recording.uid, None)
        self._store.pods.put(made)
        self._queue.add(key)
