"""Who gets an app's callbacks: its RecordingApp and the Secrets that this names, looked at again every minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cloudrec_contract.resources import Callback
from cloudrec_contract.secret import Secret
from cloudrec_operator.api import Api, Object
from cloudrec_operator.callbacks.metrics import Outcome
from cloudrec_operator.errors import ApiError, NotFound
from cloudrec_operator.observed import App, SecretData
from cloudrec_operator.store import Key, Store

FRESH_SECONDS = 60.0
KEY = "key"


class Undelivered(Exception):
    """Why a try failed, in words that may be shown: no secret, no path of the URL."""

    def __init__(self, message: str, outcome: Outcome = Outcome.SETTINGS) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Receiver:
    """`url` may hold a secret in its path or query, so it is not shown; `events` None: all."""

    url: str = field(repr=False)
    host: str
    sdk_app_id: int
    key: Secret | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)
    events: frozenset[int] | None = None
    allow_private: bool = False
    ca: str | None = field(default=None, repr=False)


class Receivers:
    """Finds receivers, and remembers each for a minute or until its app changes."""

    def __init__(self, api: Api, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._known: dict[Key, tuple[Object, App, float, Receiver]] = {}
        self._locks: dict[Key, asyncio.Lock] = {}

    async def of(self, key: Key) -> Receiver:
        """Raises Undelivered when there is none, or one of its Secrets cannot be read."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            try:
                return await self._of(key)
            except ApiError as error:
                raise Undelivered(f"the app or its Secrets cannot be read: {error.reason or error.status}") from error

    async def _of(self, key: Key) -> Receiver:
        raw = await self._app(key)
        known = self._known.pop(key, None)
        if raw is None:
            raise Undelivered(f"RecordingApp {key.name} names no callback")
        fresh = known is not None and self._clock() - known[2] < FRESH_SECONDS
        if known is not None and fresh and known[0] is raw:
            self._known[key] = known
            return known[3]
        app = App.parse(raw)
        if known is not None and fresh and known[1] == app:
            self._known[key] = (raw, *known[1:])
            return known[3]
        if app.spec is None or app.spec.callback is None:
            raise Undelivered(f"RecordingApp {key.name} names no callback")
        made = await self._make(key.namespace, app.spec.sdk_app_id, app.spec.callback)
        self._known[key] = (raw, app, self._clock(), made)
        return made

    async def _app(self, key: Key) -> Object | None:
        raw = self._store.apps.get(key)
        if raw is None:
            try:
                raw = await self._api.app(*key)
            except NotFound:
                return None
            self._store.apps.put(raw)
        return raw

    async def _make(self, namespace: str, sdk_app_id: int, callback: Callback) -> Receiver:
        secrets: dict[str, SecretData] = {}

        async def value(name: str, key: str) -> Secret:
            if name not in secrets:
                try:
                    secrets[name] = SecretData.parse(await self._api.secret(namespace, name))
                except NotFound:
                    raise Undelivered(f"Secret {name} of the callback does not exist in this namespace") from None
            found = (secrets[name].values or {}).get(key)
            if not found:
                raise Undelivered(f"Secret {name} of the callback lacks {key}")
            return found

        signing = await value(callback.key_secret_ref.name, KEY) if callback.key_secret_ref else None
        headers = {header.name: await value(header.secret_ref.name, header.key) for header in callback.headers}
        return Receiver(
            url=callback.url,
            host=urlsplit(callback.url).hostname or "",
            sdk_app_id=sdk_app_id,
            key=signing,
            headers=headers,
            events=frozenset(callback.events) if callback.events is not None else None,
            allow_private=callback.allow_private_addresses,
            ca=callback.ca_bundle,
        )
