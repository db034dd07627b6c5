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
from datetime import UTC, datetime
from typing import assert_never

from cloudrec_operator import observe, slots
from cloudrec_operator import plan as plans
from cloudrec_operator import status as statuses
from cloudrec_operator.api import CORE, POLICY, RBAC, Api, Object
from cloudrec_operator.callbacks.metrics import Deliveries
from cloudrec_operator.callbacks.sender import Sender
from cloudrec_operator.decide import decide
from cloudrec_operator.errors import ApiError, Conflict, NotFound, NotLeader, Refused
from cloudrec_operator.observe import Observer
from cloudrec_operator.observed import FINALIZER, Observed, Recording
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import access, callbacks, disruption, rivals, tokens, transitions
from cloudrec_operator.settings import Settings
from cloudrec_operator.store import Key, Store
from cloudrec_operator.telemetry import Conversions
from cloudrec_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0


def utc_now() -> datetime:
    return datetime.now(UTC)


def _accepts(plan: Plan) -> bool:
    """Whether a recording that is not accepted will be, by this plan or the next."""
    if plan.status is not None:
        return plan.status.task_id is not None
    return plans.Hold(True) in plan.actions


class Reconciler:
    """Looks at one recording at a time; as many workers may call it as there are keys."""

    def __init__(
        self,
        api: Api,
        store: Store,
        queue: WorkQueue[Key],
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
        sender: Sender | None = None,
        deliveries: Deliveries | None = None,
        conversions: Conversions | None = None,
    ) -> None:
        self._api = api
        self._store = store
        self._queue = queue
        self._settings = settings
        self._now = now
        self._sender = sender
        self._deliveries = deliveries or Deliveries()
        self._conversions = conversions or Conversions()
        self._observer = Observer(api, store, settings, now)

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
                self._store.recordings.outdate(key)
                self._queue.retry(key)
            except (ApiError, TimeoutError) as error:
                if isinstance(error, NotFound):
                    self._store.recordings.outdate(key)
                log.warning("will be tried again: %s", error, extra={"recording": "/".join(key)})
                self._queue.retry(key)
            except Exception:
                log.exception("reconcile failed", extra={"recording": "/".join(key)})
                self._queue.retry(key)
            finally:
                self._queue.done(key)

    async def reconcile(self, key: Key) -> None:
        """One pass. Raises the errors of `errors.py`."""
        raw = await self._observer.recording(key)
        if raw is None:
            self._queue.settle(key)
            self._observer.slots.settle(key)
            if self._sender is not None:
                self._sender.drop(key)
            return
        recording = Recording.parse(raw)
        seen = await self._observer.around(recording)
        if self._sender is not None:
            progress = self._sender.offer(key, recording, seen.callback, callbacks.silent(seen))
            seen = replace(seen, progress=progress)
        plan = decide(seen, self._settings)
        if plan == Plan(actions=(plans.Hold(True),)):
            held = await self._hold(key, raw, recording, True)
            if held is None:
                self._observer.slots.settle(key)
                return
            raw, recording = held, Recording.parse(held)
            seen = replace(seen, recording=recording)
            plan = decide(seen, self._settings)
        if recording.accepted or not _accepts(plan):
            self._observer.slots.settle(key)
        if plan.status is not None and statuses.differs(recording.status, plan.status):
            before, raw = raw, await self._api.apply_status(statuses.body(recording, plan.status))
            self._store.recordings.put(raw, written=True)
            if raw["status"].get("taskId"):
                self._observer.slots.settle(key)
            self._wake_others(before, raw)
            self._conversions.noted(recording.status, plan.status)
            await self._tell(seen, plan)
            if not plan.progress_only or recording.terminal or not self._confirmed(key, seen, plan, raw):
                self._queue.add(key)
            if not recording.accepted and plan.status.task_id is not None:
                # Its Pod is the next pass's: others wait to be accepted.
                plan = replace(plan, actions=())
        for action in plan.actions:
            await self._act(key, raw, recording, action)
            if action == plans.Hold(False) and recording.deleted_at is not None:
                await self._tell_unsent(seen)
        self._requeue(key, plan, recording)

    def _confirmed(self, key: Key, seen: Observed, plan: Plan, raw: Object) -> bool:
        """Let the sender go on after a write of its progress alone: nothing else follows from that."""
        if self._sender is None or plan.status is None:
            return False
        now = replace(seen.recording, status=plan.status, resource_version=raw["metadata"]["resourceVersion"])
        progress = self._sender.offer(key, now, seen.callback, callbacks.silent(replace(seen, recording=now)))
        return not (progress.settled and progress.due)

    def lead_anew(self) -> None:
        """This replica leads again, or for the first time."""
        self._observer.slots.forget()

    def _wake_others(self, before: Object, after: Object) -> None:
        """Those of the same robot when this one was accepted; those that wait for a slot when it gave back its own."""
        began = slots.holds(after) and not slots.holds(before)
        ended = slots.holds(before) and not slots.holds(after)
        for other in self._store.recordings if began or ended else ():
            rival = began and slots.holds(other) and rivals.same(after, other)
            waiter = ended and slots.waits(other) and slots.app_of(other) == slots.app_of(after)
            if rival or waiter:
                self._queue.add(slots.key_of(other))

    def _requeue(self, key: Key, plan: Plan, recording: Recording) -> None:
        if plan.retry:
            self._queue.retry(key)
        else:
            self._queue.settle(key)
        if plan.after is not None:
            self._queue.add_after(key, plan.after)
        if not recording.terminal:
            self._queue.add_after(key, observe.SAFETY_SECONDS)

    async def _tell(self, seen: Observed, plan: Plan) -> None:
        """Kubernetes Events; a lost one is no reason to fail."""
        recording = seen.recording
        if plan.status is None:
            return
        notes = transitions.notes(recording.status, plan.status)
        for number, note in enumerate(notes):
            await self._note(recording, note, number)

    async def _note(self, recording: Recording, note: transitions.Note, number: int) -> None:
        body = transitions.event(recording, note, number, self._now(), self._settings.who)
        where = {"recording": f"{recording.namespace}/{recording.name}", "task": recording.uid, "reason": note.reason}
        log.log(logging.WARNING if note.reason == transitions.UNSENT else logging.INFO, note.message, extra=where)
        try:
            await self._api.create(CORE, recording.namespace, "events", body)
        except ApiError as error:
            log.warning("event not written: %s", error)

    async def _tell_unsent(self, seen: Observed) -> None:
        """Somebody may look for what the deleted recording took with it."""
        if count := callbacks.unsent(seen):
            self._deliveries.unsent(count)
            await self._note(seen.recording, transitions.unsent(count), 0)

    # --- act --------------------------------------------------------------------------------------------------------

    async def _act(self, key: Key, raw: Object, recording: Recording, action: plans.Action) -> None:
        match action:
            case plans.Hold():
                await self._hold(key, raw, recording, action.held)
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

    async def _hold(self, key: Key, raw: Object, recording: Recording, held: bool) -> Object | None:
        """The recording as it is then; None when it is gone."""
        others = [name for name in raw["metadata"].get("finalizers", ()) if name != FINALIZER]
        try:
            changed = await self._api.set_finalizers(raw, [*others, FINALIZER] if held else others)
        except NotFound:
            self._store.recordings.drop(key)
            return None
        if not held:
            self._observer.forget(recording)
        if recording.deleted_at is not None and not changed["metadata"].get("finalizers"):
            self._store.recordings.drop(key, recording.uid)  # this was all that kept it
        else:
            self._store.recordings.put(changed)
        self._queue.add(key)
        return changed

    async def _ensure_access(self, namespace: str) -> None:
        with suppress(Conflict):
            await self._api.create(CORE, namespace, "serviceaccounts", access.service_account(namespace))
        with suppress(Conflict):
            await self._api.create(RBAC, namespace, "rolebindings", access.role_binding(namespace))
        if self._settings.refuse_evictions:
            with suppress(Conflict):
                await self._api.create(POLICY, namespace, "poddisruptionbudgets", disruption.budget(namespace))

    async def _write_token(self, recording: Recording, action: plans.WriteToken) -> None:
        try:
            written = await self._api.apply_secret(action.manifest)
        except Refused as error:
            self._observer.refusals[recording.uid] = f"the room token's Secret: {error.message}"
            raise
        self._observer.refusals.pop(recording.uid, None)
        expires = tokens.expiry(written, recording)
        if expires is not None:
            self._observer.expires(recording.namespace, action.manifest["metadata"]["name"], expires)

    async def _create_pod(self, key: Key, recording: Recording, action: plans.CreatePod) -> None:
        name = action.manifest["metadata"]["name"]
        try:
            made = await self._api.create(CORE, recording.namespace, "pods", action.manifest)
        except Conflict:
            made = await self._api.pod(recording.namespace, name)
        except Refused as error:
            self._observer.refusals[recording.uid] = error.message
            raise
        self._observer.refusals.pop(recording.uid, None)
        self._store.pods.put(made)
        self._queue.add(key)
