"""Who gets the callbacks: the app, its Secrets, and how long they are remembered."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cloudrec_operator.api import Api, Object
from cloudrec_operator.callbacks.receivers import Receivers, Undelivered
from cloudrec_operator.errors import api_error
from cloudrec_operator.store import Key, Store
from tests.unit.operator.samples import APP_SPEC
from tests.unit.operator.test_observe import Server

APP = Key("school", "demo")
APP_PATH = "/apis/cloudrec.dev/v1alpha1/namespaces/school/recordingapps/demo"
HOOK_PATH = "/api/v1/namespaces/school/secrets/hook"
CALLBACK = {
    "url": "https://app.test/hook?t=1",
    "keySecretRef": {"name": "hook"},
    "headers": [{"name": "Authorization", "secretRef": {"name": "hook"}, "key": "token"}],
    "events": [301, 302],
}


def app(version: str = "1", **callback: Any) -> Object:
    meta = {"name": "demo", "namespace": "school", "uid": "app", "resourceVersion": version}
    return {"metadata": meta, "spec": {**APP_SPEC, "callback": {**CALLBACK, **callback}}}


def secret(**values: str) -> Object:
    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"metadata": {"name": "hook", "namespace": "school"}, "data": data}


class Finding:
    def __init__(self) -> None:
        self.now = 0.0
        self.store = Store()
        self.server = Server({APP_PATH: app(), HOOK_PATH: secret(key="k3y", token="Bearer x")})
        self.receivers = Receivers(Api(self.server), self.store, lambda: self.now)


async def test_the_app_and_its_secrets_are_read_once_a_minute() -> None:
    at = Finding()
    found = await at.receivers.of(APP)
    assert (found.host, found.sdk_app_id, found.events) == ("app.test", 1400123456, frozenset({301, 302}))
    assert found.key is not None
    assert found.key.reveal() == "k3y"
    assert found.headers["Authorization"].reveal() == "Bearer x"
    assert "k3y" not in repr(found)
    assert "t=1" not in repr(found)
    assert await at.receivers.of(APP) is found
    assert at.server.asked == [APP_PATH, HOOK_PATH]
    at.now = 61
    at.server.answers = {HOOK_PATH: secret(key="new", token="Bearer x")}
    newer = await at.receivers.of(APP)
    assert newer.key is not None
    assert newer.key.reveal() == "new"


async def test_a_changed_app_counts_at_once() -> None:
    at = Finding()
    await at.receivers.of(APP)
    at.store.apps.put(app("2", url="https://other.test/"))
    assert (await at.receivers.of(APP)).host == "other.test"


@pytest.mark.parametrize(
    ("path", "answer", "why"),
    [
        (APP_PATH, None, "names no callback"),
        (APP_PATH, {**app(), "spec": APP_SPEC}, "names no callback"),
        (HOOK_PATH, None, "Secret hook of the callback does not exist"),
        (HOOK_PATH, secret(key="k"), "Secret hook of the callback lacks token"),
        (HOOK_PATH, secret(key="", token="t"), "Secret hook of the callback lacks key"),
        (HOOK_PATH, api_error(403, "Forbidden", "secret message"), "cannot be read: Forbidden"),
        (HOOK_PATH, api_error(0, "Unreachable", "x"), "cannot be read: Unreachable"),
    ],
)
async def test_what_is_missing_is_said(path: str, answer: Object | Exception | None, why: str) -> None:
    at = Finding()
    at.server.answers = {**at.server.answers, path: answer}
    with pytest.raises(Undelivered, match=why):
        await at.receivers.of(APP)
