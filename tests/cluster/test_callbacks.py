"""Callbacks from a real status to a real receiver, confirmed there; and an operator that dies in between."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from cloudrec_contract.secret import Secret
from cloudrec_local.kubeapi import ApiError, Object
from cloudrec_operator.callbacks.render import sign
from tests.cluster.operating import APPS, World, app, condition, recording, secret

pytestmark = pytest.mark.cluster

KEY = "k3yOfTheApp"
NOW = time.time_ns() // 1_000_000
JOINED: Object = {"seq": 1, "type": 301, "ts": NOW, "args": {"Status": 0}}
"""Of today: what is older than a day is given up at the second failure."""


class Receiver:
    """Keeps what arrives with a good signature; answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    async def hook(self, request: web.Request) -> web.Response:
        content = await request.read()
        if request.headers["Sign"] != sign(Secret(KEY), content) or request.headers["SdkAppId"] != "1400000001":
            return web.Response(status=403)
        self.got.append((request.headers["Idempotency-Key"], json.loads(content)))
        return web.Response(status=self.status)

    @property
    def types(self) -> list[int]:
        return [body["EventType"] for _, body in self.got]


@asynccontextmanager
async def receiving(given: Receiver | None = None) -> AsyncIterator[Receiver]:
    receiver = given or Receiver()
    served = web.Application()
    served.router.add_post("/hook", receiver.hook)
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def calling(receiver: Receiver, **callback: Any) -> Object:
    made = app()
    made["spec"]["callback"] = {
        "url": receiver.url,
        "keySecretRef": {"name": "hook"},
        "allowPrivateAddresses": True,
        **callback,
    }
    return made


def facts(*types: int, first: int = 2) -> list[Object]:
    args = {303: {"Status": 0}, 302: {"LeaveCode": 0}, 304: {"FileList": "a.m3u8"}}
    return [{"seq": first + n, "type": t, "ts": NOW + n, "args": args[t]} for n, t in enumerate(types)]


def acked(found: Object) -> int:
    return int(found["status"]["attempts"][0].get("acked", 0))


async def furnish(world: World, receiver: Receiver) -> None:
    await world.furnish()
    await world.apply(secret("hook", key=KEY))
    await world.apply(calling(receiver))


async def test_every_event_is_told_in_its_order_and_acknowledged(world: World) -> None:
    async with receiving() as receiver:
        await furnish(world, receiver)
        async with world.operator():
            await world.apply(recording("told"))
            pod = await world.pod("told")
            name = pod["metadata"]["name"]
            await world.run_pod(name)
            async with world.sidecar(pod) as sidecar:
                busy = {"state": "Recording", "ready": True}
                await sidecar.report("told", **busy, events=[JOINED, *facts(303, 304)])
                known = await world.until("told", lambda o: acked(o) == 3, "acknowledged")
                assert receiver.types == [301, 303, 304]
                assert condition(known, "CallbacksDelivered")[:2] == ("True", "Delivered")
                await sidecar.report("told", **busy, events=facts(302, first=4), leaveCode=0)
                await world.patch("told", {"desiredState": "Stopped"})
                await sidecar.report("told", state="Ended", ready=True, uploaded=True, events=facts(302, first=4))
            await world.end_recorder(name)
            await world.phase("told", "Completed")
            await world.pod_gone(name)
            done = await world.until("told", lambda o: o["status"]["callbacks"].get("settledAt"), "settled", 30)
            assert receiver.types == [301, 303, 304, 302, 305]
            told = done["status"]["callbacks"]
            assert (told["watermark"], told["pending"], told["deadLetters"]) == (5, 0, 0)
            assert receiver.got[0][1]["EventInfo"]["TaskId"] == done["metadata"]["uid"]
            assert receiver.got[0][1]["EventInfo"]["RoomId"] == "12345"
            await world.until("told", lambda o: not o["metadata"].get("finalizers"), "finalizer taken off")
            await world.patch("told", {"ttlSecondsAfterFinished": 0})
            await world.gone("told")


async def test_an_operator_that_dies_after_sending_loses_nothing(world: World) -> None:
    async with receiving() as receiver:
        await furnish(world, receiver)
        receiver.status = 500
        async with world.operator():
            await world.apply(recording("again"))
            pod = await world.pod("again")
            await world.run_pod(pod["metadata"]["name"])
            async with world.sidecar(pod) as sidecar:
                await sidecar.report("again", state="Idle", ready=True, events=[JOINED, *facts(303, 304)])
            await world.condition("again", "CallbacksDelivered", "False", "CallbackFailing")
        receiver.got.clear()
        receiver.status = 200
        async with world.operator(identity="next"):
            await world.until("again", lambda o: acked(o) == 3, "acknowledged", 30)
            healed = await world.until("again", lambda o: o["status"]["callbacks"]["watermark"] == 3, "told")
        task = healed["metadata"]["uid"]
        assert [key for key, _ in receiver.got] == [f"{task}-0-{seq}" for seq in (1, 2, 3)]
        assert "lastError" not in healed["status"]["callbacks"]


async def test_a_deleted_recording_says_its_last_words_first(world: World) -> None:
    async with receiving() as receiver:
        await furnish(world, receiver)
        async with world.operator():
            await world.apply(recording("bye"))
            pod = await world.pod("bye")
            name = pod["metadata"]["name"]
            await world.run_pod(name)
            async with world.sidecar(pod) as sidecar:
                await sidecar.report("bye", state="Idle", ready=True, events=[JOINED])
                await world.phase("bye", "Idle")
                await world.delete("bye")
                over = {"state": "Ended", "ready": True, "leaveCode": 0, "uploaded": True}
                await sidecar.report("bye", **over, events=[JOINED, *facts(302)])
            await world.end_recorder(name)
            await world.gone("bye", 40)
            assert sorted(set(receiver.types)) == [301, 302, 305]


async def test_what_a_deleted_recording_could_not_tell_is_told(world: World) -> None:
    async with receiving() as receiver:
        await furnish(world, receiver)
        receiver.status = 500
        async with world.operator(delete_seconds=2):
            await world.apply(recording("lost"))
            pod = await world.pod("lost")
            await world.run_pod(pod["metadata"]["name"])
            async with world.sidecar(pod) as sidecar:
                await sidecar.report("lost", state="Idle", ready=True, events=[JOINED])
            await world.condition("lost", "CallbacksDelivered", "False", "CallbackFailing")
            await world.delete("lost")
            await world.told("lost", "CallbacksUnsent")
            await world.gone("lost", 30)


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        ({"url": "ftp://app.test/"}, "spec.callback.url"),
        ({"url": "http://user:pass@app.test/"}, "spec.callback.url"),
        ({"url": "http://app.test/", "events": [300]}, "spec.callback.events"),
        (
            {"headers": [{"name": "Content-Type", "secretRef": {"name": "s"}, "key": "k"}]},
            "this header is set by the sender",
        ),
        ({"headers": [{"name": "a b", "secretRef": {"name": "s"}, "key": "k"}]}, "name"),
    ],
)
async def test_a_callback_that_cannot_be_is_refused(world: World, callback: dict[str, Any], told: str) -> None:
    body = app("another")
    body["spec"]["callback"] = {"url": "https://app.test/hook?t=1", **callback}
    with pytest.raises(ApiError) as error:
        await world.admin.request("POST", APPS.format(world.namespace), body, params={"dryRun": "All"})
    assert told in str(error.value)


async def test_a_callback_with_everything_is_taken(world: World) -> None:
    body = app("another")
    body["spec"]["callback"] = {
        "url": "https://app.test:8443/hook?t=1",
        "keySecretRef": {"name": "hook"},
        "headers": [{"name": "Authorization", "secretRef": {"name": "hook"}, "key": "token"}],
        "events": [301, 312],
        "allowPrivateAddresses": True,
        "caBundle": "-----BEGIN CERTIFICATE-----",
    }
    await world.admin.request(
        "POST", APPS.format(world.namespace), body, params={"dryRun": "All", "fieldValidation": "Strict"}
    )
