"""A sidecar that lies in its report, as far as schema and admission let it: the operator goes on, with others too."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.resources import LAST_MS, LAST_SEQ
from cloudrec_local.kubeapi import ApiError, Object
from cloudrec_recorder.uploader.kube import Recordings
from tests.cluster.attacking import left_alone
from tests.cluster.operating import FILE, JOINED, World, app, authority, condition, recording, server

pytestmark = pytest.mark.cluster

LONG = 2**63 - 1
CONTROL = "\x1b[2J\x1b]0;owned\x07\r\n\t\x00\x7f\u202e\ufeff" + "\ud7ff😀" * 20


def events(*more: Object) -> list[Object]:
    return [{"seq": 1 + n, "type": 301, "ts": JOINED["ts"], **event} for n, event in enumerate(more)]


REFUSED: dict[str, dict[str, Any]] = {
    "ten thousand files": {"files": [{**FILE, "userId": f"u{n}"} for n in range(10_000)]},
    "a file of a long name": {"files": [{**FILE, "userId": "u" * 1025}]},
    "files of long names": {"files": [{**FILE, "userId": f"{n:u>1024}"} for n in range(300)]},
    "a file of another age": {"files": [{**FILE, "beginTimeStamp": LONG}]},
    "too many events": {"events": events(*({} for _ in range(65)))},
    "an event of the year 292278994": {"events": events({"ts": LONG})},
    "an event before all time": {"events": events({"ts": -LONG})},
    "an event in another attempt's place": {"events": events({"seq": LAST_SEQ + 1})},
    "an event of another kind": {"events": events({"type": 999})},
    "an event as long as a book": {"events": events({"args": {"Message": "x" * 300_000}})},
    "an event with long lists": {"events": events({"args": {"FileList": ["x" * 1000] * 300}})},
    "an event that is deep": {"events": events({"args": {"TencentVod": {"a": {"b": "c"}}}})},
    "an event with a deep list": {"events": events({"args": {"FileMessage": [{"FileName": {"a": "b"}}]}})},
    "an event with a list of long maps": {
        "events": events({"args": {"FileMessage": [{"FileName": "x" * 1000}] * 300}})
    },
    "events that are long together": {"events": events(*({"args": {"Message": "x" * 5000}} for _ in range(60)))},
    "a long message": {"conditions": [{"reason": "X", "message": "x" * 2049}]},
    "a long reason": {"conditions": [{"reason": "X" * 129}]},
    "too many conditions": {"conditions": [{"reason": f"R{n}"} for n in range(17)]},
    "another state": {"state": "Elsewhere"},
    "half a megabyte": {"conditions": [{"reason": "X", "message": "x" * 500_000}]},
}


async def test_what_is_too_much_is_not_taken(world: World) -> None:
    async with left_alone(world, "mine") as pods, world.sidecar(pods["mine"]) as sidecar:
        for what, report in REFUSED.items():
            with pytest.raises(ApiError) as error:
                await sidecar.report("mine", **{"state": "Recording", **report})
            assert error.value.code in (403, 413, 422), (what, error.value)
        found = await world.get("mine")
        assert found is not None
        assert "report" not in found["status"]["attempts"][0]
        # what a long and busy recording may say
        names = [f"1400000001_room_UserId_s_{'u' * 60}_UserId_e_main_video.mp4" for _ in range(600)]
        files = [{"FileName": name, "UserId": "u", "StartTimeStamp": JOINED["ts"]} for name in names[:200]]
        stop = {"Status": 0, "FileList": names, "FileMessage": files}
        await sidecar.report(
            "mine",
            state="Recording",
            files=[{**FILE, "userId": f"{n:0>128}"} for n in range(512)],
            events=events(*({"args": {"Message": "x" * 1024}} for _ in range(63)), {"type": 310, "args": stop}),
            conditions=[{"reason": "BucketUnreachable", "message": "x" * 1024}],
        )


def wild() -> list[dict[str, Any]]:
    """Reports that the API server takes, each worse than an uploader would ever write."""
    other = "00000000-0000-0000-0000-000000000000"
    told: list[Object] = [
        {"args": {"Status": 0}, "ts": LAST_MS},
        {"args": {"Status": 0, "TaskId": other}},
        {"type": 302, "args": {"LeaveCode": {"TaskId": other}}},
        {"type": 304, "args": {"FileList": [CONTROL]}},
        {"type": 305, "args": {"Status": "2"}},
        {
            "type": 307,
            "args": {"FileName": "../../" + other, "UserId": CONTROL, "TrackType": 1, "BeginTimeStamp": None},
        },
        {"type": 310, "args": {}},
        {"type": 308, "args": {"Code": LONG, "Message": CONTROL}, "seq": 60},
        {"type": 301, "ts": 0, "seq": LAST_SEQ, "args": {"Status": 0}},
    ]
    files = [{**FILE, "userId": CONTROL, "beginTimeStamp": LAST_MS} for _ in range(512)]
    return [
        {"state": "Recording", "ready": True, "events": events(*told), "files": files},
        {"state": "Idle", "leaveCode": LONG, "missing": -LONG, "backup": LONG},
        {"state": "Ended", "uploaded": True, "conditions": [{"reason": "", "message": CONTROL}]},
        {"state": "Starting", "conditions": [{"reason": f"Unheard{n}", "message": CONTROL} for n in range(16)]},
        {"state": "Recording", "conversion": {"reason": CONTROL, "message": CONTROL, "files": LONG, "failed": -LONG}},
        {"state": "Recording", "conditions": [{"reason": "BucketUnreachable", "message": CONTROL}]},
    ]


async def test_the_operator_bears_it_and_others_go_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    demo = app()
    demo["spec"]["callback"] = {"url": "http://127.0.0.1:9/", "allowPrivateAddresses": True}
    await world.apply(demo)
    async with world.operator() as operator:
        await world.apply(recording("wild", robot={"userId": "wild"}))
        async with world.sidecar(await world.pod("wild")) as sidecar:
            stop = asyncio.Event()

            async def lie() -> int:
                reports, written = wild(), 0
                while not stop.is_set():
                    await sidecar.report("wild", **reports[written % len(reports)])
                    written += 1
                return written

            lying = asyncio.create_task(lie())
            began = time.monotonic()
            await world.apply(recording("calm", robot={"userId": "calm"}))
            pod = await world.pod("calm")
            await world.run_pod(pod["metadata"]["name"])
            async with world.sidecar(pod) as calm:
                await calm.report("calm", state="Recording", ready=True, events=[JOINED], files=[FILE])
                await world.phase("calm", "Recording", 5)
            assert time.monotonic() - began < 10
            stop.set()
            assert await lying > len(wild())
            await sidecar.report("wild", **wild()[-1])
            said = await world.condition("wild", "Uploaded", "False", "BucketUnreachable")
            assert condition(said, "Uploaded")[2].isprintable()
        assert not operator.done()
        assert "reconcile failed" not in caplog.text
        # it can be ended, and let go
        await world.delete("wild")
        for found in (await world.admin.get(world.pods()))["items"]:
            if found["metadata"]["labels"]["cloudrec.dev/recording"] == "wild":
                await world.admin.request(
                    "DELETE", f"{world.pods()}/{found['metadata']['name']}", {"gracePeriodSeconds": 0}
                )
        await world.until("wild", lambda o: o["status"]["phase"] in ("Completed", "Failed"), "an end")
        assert "reconcile failed" not in caplog.text


async def test_it_says_each_report_once_and_rests(world: World) -> None:
    """The operator writes nothing when nothing changes, whatever the report says."""
    async with world.operator():
        await world.apply(recording("wild"))
        async with world.sidecar(await world.pod("wild")) as sidecar:
            await sidecar.report("wild", **wild()[0])
            await world.phase("wild", "Recording")

            async def version() -> str:
                found = await world.get("wild")
                assert found is not None
                return str(found["metadata"]["resourceVersion"])

            await asyncio.sleep(1.5)
            before = await version()
            await asyncio.sleep(1.5)
            assert await version() == before


@dataclass(frozen=True)
class Place:
    """Where an uploader reports, and by which account."""

    namespace: str
    recording: str
    task_id: str
    pod: str
    service_account: Path
    api_server: str


async def test_people_may_be_called_as_they_like(world: World, tmp_path: Path) -> None:
    """The API server reads what is applied as YAML, the uploader's and the operator's alike."""
    name = "zoë 😀 \U0001f469\u200d\U0001f680 \x85\u2028\ufeff\x7f"
    async with world.operator():
        await world.apply(recording("mine"))
        pod = await world.pod("mine")
        (tmp_path / "token").write_text(await world.token("cloudrec-recorder", world.namespace, pod))
        (tmp_path / "ca.crt").write_text(authority(world.kubeconfig))
        found = await world.get("mine")
        assert found is not None
        place = Place(
            world.namespace,
            "mine",
            found["metadata"]["uid"],
            pod["metadata"]["name"],
            tmp_path,
            server(world.kubeconfig),
        )
        async with Recordings(place) as recordings:
            trouble = {"reason": "BucketUnreachable", "message": f"not there: {name}"}
            await recordings.apply_report(
                {"state": "Recording", "ready": True, "files": [{**FILE, "userId": name}], "conditions": [trouble]}
            )
        told = await world.condition("mine", "Uploaded", "False", "BucketUnreachable")
        assert told["status"]["attempts"][0]["report"]["files"][0]["userId"] == name
        assert "zoë 😀" in condition(told, "Uploaded")[2]
