"""What DescribeCloudRecording tells of a recording, and whom it tells nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudrec_contract.resources import Phase
from cloudrec_gateway.api import describe, mapping
from cloudrec_gateway.errors import ApiFault
from tests.unit.gateway.api.samples import create

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "0b9d2c4e-0000-4000-8000-000000000001"
APP = 1400000001


def task(status: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **meta: Any) -> describe.Task:
    resource = mapping.recording(create(), name="rec-1", namespace="school", app="demo", now=NOW)
    resource["metadata"] |= {"uid": UID, **meta}
    resource["spec"] |= spec or {}
    if status is not None:
        resource["status"] = status
    return describe.Task.parse(resource, APP)


def file(user: str, media: str = "main", kind: str = "video", begin: int = 1622186279144) -> dict[str, Any]:
    return {"userId": user, "media": media, "kind": kind, "beginTimeStamp": begin}


def found(task: describe.Task | None, task_id: str = UID, app: int = APP, hours: float = 1) -> describe.Task:
    return describe.known(task, task_id=task_id, sdk_app_id=app, now=NOW + timedelta(hours=hours))


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        (None, "Idle"),
        ("Pending", "Idle"),
        ("Starting", "Idle"),
        ("Idle", "Idle"),
        ("Recording", "InProgress"),
        ("Stopping", "Exited"),
        ("Finalizing", "Exited"),
    ],
)
def test_status(phase: str | None, status: str) -> None:
    known = found(task({"phase": phase}))
    answer = json.loads(describe.described(known).json_bytes)
    assert answer == {"TaskId": UID, "Status": status, "StorageFileList": [], "RecorderKey": ""}


@pytest.mark.parametrize("phase", [each for each in Phase if not each.terminal])
def test_what_was_told_to_stop_is_exiting(phase: Phase) -> None:
    status = {"phase": phase.value}
    assert describe.described(task(status, {"desiredState": "Stopped"})).status == "Exited"
    assert describe.described(task(status, deletionTimestamp="2026-01-02T03:04:06Z")).status == "Exited"


def test_without_a_status() -> None:
    assert describe.described(found(task())).status == "Idle"


def test_every_playlist_of_every_attempt() -> None:
    attempts = [
        {"pod": "p-1", "index": 1, "report": {"files": [file("bob", begin=1622186999000)]}},
        {"pod": "p-2", "index": 2},
        {"pod": "p-f0", "index": 0, "role": "Finish", "report": {"files": [file("ghost")]}},
        {
            "pod": "p-0",
            "index": 0,
            "report": {
                "files": [file("bob"), file("bob", "main", "audio", 1622186279100), file("教师", "aux", "audio_video")]
            },
        },
    ]
    files = json.loads(describe.described(task({"phase": "Recording", "attempts": attempts})).json_bytes)[
        "StorageFileList"
    ]
    head = "1400000001_12345__UserId_s_Ym9i__UserId_e_main"
    assert files == [
        {"UserId": "bob", "FileName": f"{head}_video.m3u8", "TrackType": "video", "BeginTimeStamp": 1622186279144},
        {"UserId": "bob", "FileName": f"{head}_audio.m3u8", "TrackType": "audio", "BeginTimeStamp": 1622186279100},
        {
            "UserId": "教师",
            "FileName": "1400000001_12345__UserId_s_5pWZ5biI__UserId_e_aux_audio_video.m3u8",
            "TrackType": "audio_video",
            "BeginTimeStamp": 1622186279144,
        },
        {"UserId": "bob", "FileName": f"ha1_{head}_video.m3u8", "TrackType": "video", "BeginTimeStamp": 1622186999000},
    ]


def test_a_mixed_recording_has_one_playlist_an_attempt() -> None:
    attempts = [
        {"pod": f"p-{index}", "index": index, "report": {"files": [file("", "main", "audio_video", 1622186279144)]}}
        for index in (0, 1)
    ]
    status = {"phase": "Recording", "attempts": attempts}
    files = describe.storage_files(task(status, {"mode": "Mixed", "mix": {}}))
    assert [json.loads(each.model_dump_json(by_alias=True)) for each in files] == [
        {"UserId": "", "FileName": name, "TrackType": "audio_video", "BeginTimeStamp": 1622186279144}
        for name in ("1400000001_12345.m3u8", "ha1_1400000001_12345.m3u8")
    ]


def test_of_a_recording_to_vod_no_file_is_told() -> None:
    attempts = [{"pod": "p-0", "index": 0, "report": {"files": [file("bob")]}}]
    known = found(task({"phase": "Recording", "attempts": attempts}, {"storage": {"vod": {}}}))
    answer = json.loads(describe.described(known).json_bytes)
    assert answer == {"TaskId": UID, "Status": "InProgress", "StorageFileList": [], "RecorderKey": ""}


def test_while_its_files_are_made_a_task_is_exiting_and_its_playlists_are_told() -> None:
    """MP4 alone, too: that its playlists go is not known before its end, and then nothing is told."""
    attempts = [
        {"pod": "p-0", "index": 0, "report": {"state": "Ended", "files": [file("bob")]}},
        {
            "pod": "p-f0",
            "index": 0,
            "role": "Finish",
            "report": {"state": "Stopping", "conversion": {"reason": "Converting", "percent": 40}},
        },
    ]
    for formats in (["HLS", "MP4"], ["MP4"]):
        told = found(task({"phase": "Finalizing", "attempts": attempts}, {"output": {"formats": formats}}))
        answer = describe.described(told)
        assert answer.status == "Exited"
        assert [each.user_id for each in answer.storage_file_list] == ["bob"]


def test_a_string_rooms_id_is_encoded() -> None:
    attempts = [{"pod": "p-0", "index": 0, "report": {"files": [file("bob")]}}]
    known = task({"phase": "Recording", "attempts": attempts}, {"room": {"id": "12345", "type": "String"}})
    (only,) = describe.storage_files(known)
    assert only.file_name == "1400000001_MTIzNDU.__UserId_s_Ym9i__UserId_e_main_video.m3u8"


@pytest.mark.parametrize(
    "lookup",
    [
        lambda: found(None),
        lambda: found(task({"phase": "Completed"})),
        lambda: found(task({"phase": "Failed"})),
        lambda: found(task({"phase": "Recording"}), app=APP + 1),
        lambda: found(task({"phase": "Recording"}), hours=72),
    ],
    ids=["unknown", "completed", "failed", "another app", "expired"],
)
def test_a_stranger_learns_nothing(lookup: Any) -> None:
    with pytest.raises(ApiFault) as caught:
        lookup()
    assert caught.value.code == "ResourceNotFound"
    told = caught.value.message.replace(str(APP + 1), str(APP))
    assert told == f"TaskId: '{UID}' given; SdkAppId {APP} has no such task, or it has ended or expired"


def test_expiry_is_counted_from_the_request() -> None:
    assert found(task({"phase": "Recording"}), hours=71.99)


def test_a_recording_made_with_kubectl_does_not_expire() -> None:
    assert found(task({"phase": "Idle"}, {"apiExpiresAt": None}), hours=10**5)
