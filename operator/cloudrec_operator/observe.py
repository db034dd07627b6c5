"""Looking: one recording and all around it, from the store where that is fresh, else from the API server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from cloudrec_contract.resources import Callback, Phase, SecretRef
from cloudrec_operator.api import Api, Object
from cloudrec_operator.errors import NotFound, Refused
from cloudrec_operator.observed import App, Node, Observed, Pod, Recording, SecretData
from cloudrec_operator.policy import acceptance, rivals, tokens
from cloudrec_operator.settings import Settings
from cloudrec_operator.slots import Slots
from cloudrec_operator.store import Key, Store
from cloudrec_operator.watch import in_short

log = logging.getLogger(__name__)

FRESH_SECONDS = 60.0
"""What was heard of longer ago is read again: a watch may have missed a deletion."""
SAFETY_SECONDS = 300.0
"""Every recording that is not finished is looked at so often, although events should come."""
MOUNT_SECONDS = 5.0
"""A container that is created for longer than this may miss a Secret."""


class Observer:
    """Reads; `expiries` and `refusals` are what the reconciler found out by writing."""

    def __init__(self, api: Api, store: Store, settings: Settings, now: Callable[[], datetime]) -> None:
        self._api = api
        self._store = store
        self._settings = settings
        self._now = now
        self._expiries: dict[Key, tuple[datetime, datetime]] = {}
        """Of each room token, by its Secret, and when that was read."""
        self._apps: dict[Key, tuple[Object, App]] = {}
        """As they were read last: one is looked at with each of its recordings."""
        self._gone: dict[str, set[str]] = {}
        """Uids of Pods that are no more, by the recording's: they need not be asked for again."""
        self.slots = Slots(store.recordings, self._read_all)
        self.refusals: dict[str, str] = {}
        """Why the last Pod or Secret of a recording, by its uid, was refused."""

    def expires(self, namespace: str, secret: str, at: datetime) -> None:
        """A room token's Secret was written."""
        self._expiries[Key(namespace, secret)] = (at, self._now())

    def forget(self, recording: Recording) -> None:
        for attempt in recording.status.attempts:
            self._expiries.pop(Key(recording.namespace, tokens.secret_name(attempt.pod)), None)
        self._gone.pop(recording.uid, None)
        self.refusals.pop(recording.uid, None)

    async def recording(self, key: Key) -> Object | None:
        known = self._store.recordings.get(key, FRESH_SECONDS)
        if known is not None:
            return known
        try:
            read = await self._api.recording(*key)
        except NotFound:
            self._store.recordings.drop(key)
            return None
        self._store.recordings.put(read)
        return read

    async def around(self, recording: Recording) -> Observed:
        """Raises the errors of `errors.py`."""
        seen = Observed(recording, self._now(), refused=self.refusals.get(recording.uid, ""))
        if not recording.accepted:
            return await self._with_slot(await self._with_sources(seen)) if self._needs_sources(seen) else seen
        pods = await self._pods(recording)
        seen = replace(seen, pods=pods, callback=await self._callback(recording))
        if recording.terminal:
            return seen
        newest = recording.attempt
        pod = pods.get(newest.pod) if newest else None
        expires = None
        if newest is not None and recording.finisher is None:
            if self._slow(recording, pod):
                self._expiries.pop(Key(recording.namespace, tokens.secret_name(newest.pod)), None)
            expires = await self._token_expires(recording, newest.pod)
        seen = replace(
            seen,
            nodes=await self._nodes(pods.values()),
            token_expires=expires,
            namespace_ends=await self._namespace_ends(recording, pods),
            rival=self._rival(recording),
        )
        return await self._with_sources(seen) if self._needs_sources(seen) else seen

    # --- other recordings -------------------------------------------------------------------------------------------

    async def _read_all(self, namespace: str) -> None:
        for read in await self._api.recordings(namespace):
            self._store.recordings.put(read)

    async def _with_slot(self, seen: Observed) -> Observed:
        """The last look before acceptance: nothing is waited for between it and the decision."""
        recording = seen.recording
        if recording.spec is None or seen.app is None or seen.app.spec is None:
            return seen
        await self.slots.know(recording.namespace)
        limit = seen.app.spec.limits.max_concurrent_tasks
        app = Key(recording.namespace, recording.spec.app_ref.name)
        return replace(seen, room_for_one=self.slots.take(Key(recording.namespace, recording.name), app, limit))

    def _rival(self, recording: Recording) -> str | None:
        own = self._store.recordings.get(Key(recording.namespace, recording.name))
        if own is None or recording.must_stop or recording.finisher is not None:
            return None
        return rivals.later(own, self._store.recordings.alike(own))

    # --- Pods and nodes ---------------------------------------------------------------------------------------------

    async def _pods(self, recording: Recording) -> dict[str, Pod]:
        """The Pods of all attempts; of a finished task, and of a status that lost its attempts, all that bear its
        label."""
        gone = self._gone.get(recording.uid, set())
        found: dict[str, Pod] = {}
        for attempt in recording.status.attempts:
            if attempt.pod_uid in gone:
                continue
            pod = await self._pod(recording.namespace, attempt.pod)
            if pod is not None:
                found[pod.name] = pod
            elif attempt.pod_uid is not None and not recording.terminal:
                self._gone.setdefault(recording.uid, set()).add(attempt.pod_uid)
        if recording.terminal or not recording.status.attempts:
            for raw in self._store.pods:
                labels = raw["metadata"].get("labels") or {}
                if labels.get("cloudrec.dev/task") == recording.uid:
                    found.setdefault(raw["metadata"]["name"], Pod.parse(raw))
        return found

    async def _pod(self, namespace: str, name: str) -> Pod | None:
        key = Key(namespace, name)
        raw = self._store.pods.get(key, FRESH_SECONDS)
        if raw is None:
            try:
                raw = await self._api.pod(*key)
            except NotFound:
                self._store.pods.drop(key)
                return None
            self._store.pods.put(raw)
        return Pod.parse(raw)

    async def _nodes(self, pods: Iterable[Pod]) -> dict[str, Node]:
        names = {pod.node for pod in pods if pod.node and not pod.over}
        return {name: await self._node(name) for name in sorted(names)}

    async def _node(self, name: str) -> Node:
        key = Key("", name)
        raw = self._store.nodes.get(key, FRESH_SECONDS)
        if raw is None:
            try:
                raw = in_short(await self._api.node(name))
            except NotFound:
                self._store.nodes.drop(key)
                return Node.missing(name)
            except Refused as error:
                log.warning("nodes cannot be read, so a lost one is not noticed: %s", error)
                return Node()
            self._store.nodes.put(raw)
        return Node.parse(raw)

    async def _namespace_ends(self, recording: Recording, pods: Mapping[str, Pod]) -> bool:
        """Whether the newest Pod goes because its namespace does, and nobody knows yet that the task is to end."""
        newest = recording.finisher or recording.attempt
        pod = pods.get(newest.pod) if newest is not None else None
        known = recording.deleted_at is not None or (recording.must_stop and recording.finisher is None)
        if known or pod is None or not pod.leaving:
            return False
        try:
            found = await self._api.namespace(recording.namespace)
        except NotFound:
            return True
        except Refused as error:
            log.warning("namespaces cannot be read: %s", error)
            return False
        return "deletionTimestamp" in found["metadata"]

    # --- what the Pod is made of ------------------------------------------------------------------------------------

    def _needs_sources(self, seen: Observed) -> bool:
        """Whether the app and the Secrets matter for the decision: before there is a Pod, and when it starts badly."""
        recording, attempt = seen.recording, seen.recording.attempt
        if recording.terminal or recording.spec is None or (recording.must_stop and not recording.accepted):
            return False
        if recording.finisher is not None:
            return recording.finisher.pod_uid is None
        if attempt is None or attempt.pod_uid is None:
            return True
        life = timedelta(seconds=self._settings.token_seconds)
        if tokens.due(seen.token_expires, seen.now, life) and not recording.must_stop:
            return True
        return self._slow(recording, seen.pods.get(attempt.pod))

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
        if app is None or app.spec is None:
            return replace(seen, app=app)

        async def read(ref: SecretRef | None) -> SecretData | None:
            return await self._secret(recording.namespace, ref) if ref is not None else None

        bucket = acceptance.bucket_or_none(spec, app.spec)
        backup = acceptance.backup_of(spec, app.spec)
        return replace(
            seen,
            app=app,
            app_secret=await read(app.spec.room.livekit.api_key_secret_ref),
            bucket_secret=await read(bucket.credentials_secret_ref if bucket else None),
            backup_secret=await read(backup.credentials_secret_ref if backup else None),
            vod_secret=await read(acceptance.vod_keys(spec, app.spec)),
        )

    async def _callback(self, recording: Recording) -> Callback | None:
        """The app's. Apps change seldom: what the watch told last is good enough."""
        if recording.spec is None or (recording.terminal and recording.status.callbacks is None):
            return None
        app = await self._app(Key(recording.namespace, recording.spec.app_ref.name), None)
        return app.spec.callback if app is not None and app.spec is not None else None

    async def _app(self, key: Key, max_age: float | None = FRESH_SECONDS) -> App | None:
        raw = self._store.apps.get(key, max_age)
        if raw is None:
            try:
                raw = await self._api.app(*key)
            except NotFound:
                self._store.apps.drop(key)
                self._apps.pop(key, None)
                return None
            self._store.apps.put(raw)
        known = self._apps.get(key)
        if known is None or known[0] is not raw:
            known = self._apps[key] = (raw, App.parse(raw))
        return known[1]

    async def _secret(self, namespace: str, ref: SecretRef) -> SecretData:
        try:
            return SecretData.parse(await self._api.secret(namespace, ref.name))
        except NotFound:
            return SecretData(ref.name, None)

    async def _token_expires(self, recording: Recording, pod: str) -> datetime | None:
        """Now and then the Secret itself is looked at: somebody may have deleted it."""
        key = Key(recording.namespace, tokens.secret_name(pod))
        known = self._expiries.pop(key, None)
        now = self._now()
        if known is not None and now < known[1] + timedelta(seconds=SAFETY_SECONDS):
            self._expiries[key] = known
            return known[0]
        with suppress(NotFound):
            read = tokens.expiry(await self._api.secret(*key), recording)
            if read is not None:
                self._expiries[key] = (read, now)
            return read
        return None
