"""Who may call, from the apps and their Secrets: a SecretId leads to its key and to the apps that it reaches."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from cloudrec_contract.secret import Secret
from cloudrec_gateway.backend import Credential
from cloudrec_gateway.kube.cache import App, Key, Shelf
from cloudrec_gateway.kube.client import ApiError, NotFound, Object, Refused, namespaced

log = logging.getLogger(__name__)

USER_SIG_KEY: Final = "key"

Values = Mapping[str, Secret]
"""A Secret's data."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A SecretId's credential, and the apps that it reaches by their SdkAppIds."""

    credential: Credential
    apps: Mapping[int, App]


def directory(apps: Iterable[App], secrets: Mapping[Key, Values]) -> dict[str, Entry]:
    """SecretIds and what they reach.

    A SecretId belongs to the oldest app that names it: a later one, of another tenant perhaps, cannot take it over, and
    joins only with the same SecretKey. Of several apps with one SdkAppId a SecretId reaches the oldest.
    """
    reached: dict[str, tuple[Secret, dict[int, App]]] = {}
    for app in _by_age(apps):
        for secret_id, secret_key in secrets.get(credentials_of(app), {}).items():
            known_key, known = reached.setdefault(secret_id, (secret_key, {}))
            if known_key != secret_key:
                log.warning("a SecretId of RecordingApp %s/%s belongs to an older app", *app.key)
            else:
                known.setdefault(app.spec.sdk_app_id, app)
    return {
        secret_id: Entry(Credential(secret_id, key, frozenset(known), _unsigned(known.values())), known)
        for secret_id, (key, known) in reached.items()
    }


def credentials_of(app: App) -> Key:
    assert app.spec.api is not None
    return Key(app.key.namespace, app.spec.api.credentials_secret_ref.name)


def user_sig_key_of(app: App) -> Key | None:
    return Key(app.key.namespace, app.spec.user_sig.key_secret_ref.name) if app.spec.user_sig else None


def _by_age(apps: Iterable[App]) -> list[App]:
    return sorted(apps, key=lambda app: (app.created, app.uid))


def _unsigned(apps: Iterable[App]) -> bool:
    return all(app.spec.api is not None and app.spec.api.allow_unsigned_payload for app in apps)


def data_of(secret: Object) -> dict[str, Secret]:
    """A Secret's values, without white space around them; what is empty or no text is left out."""
    values: dict[str, Secret] = {}
    for name, encoded in (secret.get("data") or {}).items():
        try:
            text = base64.b64decode(encoded, validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if text:
            values[name] = Secret(text)
    return values


class Gets(Protocol):
    """The part of `client.Kube` that is used here."""

    async def get(self, path: str) -> Object: ...


class Keyring:
    """The directory, kept up to date. The gateway may get Secrets and not list them: they are read every `seconds`,
    and at once when an app changes."""

    def __init__(self, kube: Gets, apps: Shelf[App], seconds: float) -> None:
        self._kube = kube
        self._apps = apps
        self._seconds = seconds
        self._secrets: dict[Key, Values] = {}
        self._of: list[App] = []
        self._directory: dict[str, Entry] = {}
        self._rates: dict[int, int] = {}
        self._changed = asyncio.Event()
        self.synced = False
        apps.on_change(self._changed.set)

    def entry(self, secret_id: str) -> Entry | None:
        return self._directory.get(secret_id)

    def rate(self, sdk_app_id: int) -> int:
        """Requests per second of the oldest app of this SdkAppId; 1 when there is none (any more)."""
        return self._rates.get(sdk_app_id, 1)

    def user_sig_key(self, app: App) -> Secret | None:
        """None when the app's Secret or its `key` is not there."""
        key = user_sig_key_of(app)
        return self._secrets.get(key, {}).get(USER_SIG_KEY) if key else None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            if self._apps.synced:
                await self.refresh()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._changed.wait()

    async def refresh(self) -> None:
        """Read every Secret that an app names now."""
        apps = self._apps.all()
        wanted = {credentials_of(app) for app in apps} | {key for app in apps if (key := user_sig_key_of(app))}
        found: dict[Key, Values] = {}
        for key in sorted(wanted):
            values = await self._read(key)
            if values is not None:
                found[key] = values
        if found != self._secrets or apps != self._of:
            self._of, self._secrets = apps, found
            self._directory = directory(apps, found)
            self._rates = {app.spec.sdk_app_id: app.spec.limits.requests_per_second for app in reversed(_by_age(apps))}
        self.synced = True

    async def _read(self, key: Key) -> Values | None:
        """None when there is none. While the API server does not answer, what was read last holds."""
        try:
            return data_of(await self._kube.get(namespaced("/api/v1", key.namespace, "secrets", key.name)))
        except (NotFound, Refused) as error:
            if key in self._secrets or not self.synced:
                log.warning("Secret %s/%s of a RecordingApp cannot be read: %s", *key, error)
            return None
        except ApiError as error:
            log.warning("Secret %s/%s was not read: %s", *key, error)
            return self._secrets.get(key)
