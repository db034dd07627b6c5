"""Real media in a folder that plays the bucket: what is made, kept, said and removed, and what fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import TaskFacts, payload
from cloudrec_contract.finish import LEDGER
from cloudrec_contract.manifest import MANIFEST
from cloudrec_contract.resources import EventFact, Mode, Report
from cloudrec_recorder.convert import engine
from cloudrec_recorder.convert.engine import Limits
from cloudrec_recorder.finisher import making
from cloudrec_recorder.finisher.drain import Stopped
from cloudrec_recorder.finisher.patience import GivenUp
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, UploadFailed
from tests.unit.convert.recordings import EPOCH_MS, Recorded, look
from tests.unit.finisher.desk import AAC, HLS, MP4, NOW, Desk, FolderDepot, always, task
from tests.unit.segments.pictures import FPS

AWAY = BucketUnreachable("503", "scripted")
DENIED = BucketRefused("AccessDenied", "scripted")
ALICE = "1400000001_12345__UserId_s_YWxpY2U.__UserId_e_main"
BOB = "1400000001_12345__UserId_s_Ym9i__UserId_e_main"


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    folder = tmp_path / "bucket"
    folder.mkdir()
    return Recorded(folder)


@pytest.fixture
def desk(recorded: Recorded, tmp_path: Path) -> Desk:
    return Desk(FolderDepot(recorded.folder), tmp_path / "scratch")


def told(events: list[EventFact]) -> list[tuple[int, dict[str, Any]]]:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    facts = TaskFacts("7b1c", "12345", "robot")
    return [(e.type, payload(e.type, e.ts, e.args, facts, NOW)["EventInfo"]["Payload"]) for e in events]


def two_users(recorded: Recorded) -> None:
    recorded.video("alice", (1, 5))
    recorded.audio("alice", (1, 5))
    recorded.audio("bob", (2, 4))


def test_files_of_two_users_and_what_is_said_of_them(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    before = desk.names(".ts")
    done = desk.run(task(HLS, MP4, AAC))
    assert desk.names(".mp4") == [f"{ALICE}.mp4", f"{BOB}.mp4"]
    assert desk.names(".aac") == [f"{ALICE}.aac", f"{BOB}.aac"]
    assert desk.bucket.types == {
        f"{who}.{kind}": f"{'video' if kind == 'mp4' else 'audio'}/{kind}"
        for who in (ALICE, BOB)
        for kind in ("mp4", "aac")
    }
    assert desk.names(".ts") == before
    assert desk.bucket.count("entries") == 1
    assert look(desk.bucket.folder / f"{ALICE}.mp4").numbers == list(range(FPS, 5 * FPS))
    ((number, said),) = told(done.events)
    assert number == 310
    assert said["Status"] == 0
    assert said["FileList"] == [f"{ALICE}.mp4", f"{ALICE}.aac", f"{BOB}.mp4", f"{BOB}.aac"]
    first = said["FileMessage"][0]
    assert list(first) == ["FileName", "UserId", "TrackType", "MediaId", "StartTimeStamp", "EndTimeStamp"]
    assert (first["UserId"], first["TrackType"], first["MediaId"]) == ("alice", "audio_video", "main")
    assert first["StartTimeStamp"] == pytest.approx(EPOCH_MS + 1000, abs=30)
    assert first["EndTimeStamp"] == pytest.approx(EPOCH_MS + 5000, abs=50)
    assert [message["TrackType"] for message in said["FileMessage"]] == ["audio_video", "audio", "audio", "audio"]
    conversion = done.conversion
    assert (conversion.reason, conversion.files, conversion.failed) == (Reason.REMUXED, 4, 0)
    assert (conversion.done, conversion.percent) == (True, 100)
    assert desk.ledger.done
    assert desk.ledger.events == done.events


def test_a_second_finisher_repeats_nothing_and_says_the_same(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    first = desk.run(task(MP4))
    desk.bucket.calls.clear()
    second = desk.run(task(MP4))
    assert second == first
    assert {call for call, _ in desk.bucket.calls} == {"entries", "read"}
    assert desk.run(task(HLS, MP4)).events == first.events
    assert desk.bucket.calls[-1] == ("read", LEDGER)


def test_pictures_alone_have_no_aac_and_a_mixed_recording_no_user(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 3))
    recorded.both(None, (1, 3))
    done = desk.run(task(HLS, MP4, AAC, mode=Mode.MIXED))
    assert sorted(desk.names(".mp4") + desk.names(".aac")) == [
        "1400000001_12345.aac",
        "1400000001_12345.mp4",
        f"{ALICE}.mp4",
    ]
    messages = {message["FileName"]: message for message in told(done.events)[0][1]["FileMessage"]}
    mixed = messages["1400000001_12345.mp4"]
    assert (mixed["UserId"], mixed["MediaId"], mixed["TrackType"]) == ("", "mix", "audio_video")
    assert messages[f"{ALICE}.mp4"]["TrackType"] == "video"
    assert done.conversion.failed == 0


def test_failover_overlap_and_a_gap_in_one_file(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 7))
    recorded.video("alice", (5, 9), attempt=1)
    recorded.video("alice", (12, 14), attempt=2)
    desk.run(task(HLS, MP4))
    seen = look(desk.bucket.folder / f"{ALICE}.mp4")
    assert seen.numbers == [*range(FPS, 9 * FPS), *range(12 * FPS, 14 * FPS)]
    assert seen.pictures[-1][0] == pytest.approx(13 - 1 / FPS, abs=0.01)


def test_another_size_is_told(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 3))
    recorded.video("alice", (3, 5), size=(640, 360), attempt=1)
    done = desk.run(task(HLS, MP4))
    assert done.conversion.reason == Reason.REENCODED
    assert "another size" in done.conversion.message
    assert told(done.events)[0][1]["Status"] == 0


def test_parts_and_one_that_dies_between_them(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 9))
    stored: list[str] = []

    def dies(call: str, name: str) -> Exception | None:
        if call == "put_file" and name.endswith("_2.mp4"):
            desk.stop.set()
            return AWAY
        return None

    desk.bucket.fault = dies
    limits = Limits(seconds=2.5)
    with pytest.raises(Stopped):
        desk.run(task(HLS, MP4), limits)
    assert list(desk.scratch.iterdir()) == []
    assert desk.ledger.making is not None
    assert [file.name for file in desk.ledger.making.files] == [f"{ALICE}_1.mp4"]
    desk.stop.clear()
    desk.bucket.fault = lambda call, name: stored.append(name) if call == "put_file" else None  # type: ignore[func-returns-value]
    done = desk.run(task(HLS, MP4), limits)
    names = [f"{ALICE}_{part}.mp4" for part in (1, 2, 3, 4)]
    assert stored == names[1:]
    assert told(done.events)[0][1]["FileList"] == names
    numbers = [n for name in names for n in look(desk.bucket.folder / name).numbers]
    assert numbers == list(range(FPS, 9 * FPS))


def test_nothing_was_recorded(desk: Desk) -> None:
    done = desk.run(task(MP4))
    assert told(done.events) == [(310, {"Status": 0, "FileList": [], "FileMessage": []})]
    assert done.conversion.reason == Reason.NOTHING_TO_CONVERT


# --- HLS that is not wanted ---


def test_hls_goes_when_all_is_stored(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    (desk.bucket.folder / MANIFEST).write_text("{}")
    (desk.bucket.folder / "notes.txt").write_text("somebody's own")
    done = desk.run(task(MP4))
    assert sorted(path.name for path in desk.bucket.folder.iterdir()) == sorted(
        [f"{ALICE}.mp4", f"{BOB}.mp4", LEDGER, "notes.txt"]
    )
    assert desk.bucket.calls[-2] == ("remove", MANIFEST)
    assert done.conversion.reason == Reason.REMUXED


def test_a_kill_at_any_step_is_made_good(recorded: Recorded, desk: Desk, tmp_path: Path) -> None:
    two_users(recorded)
    shutil.copytree(recorded.folder, tmp_path / "scene")
    changes = {"put_file", "put_playlist", "remove"}
    for steps in range(60):
        shutil.rmtree(recorded.folder)
        shutil.copytree(tmp_path / "scene", recorded.folder)
        left = [steps]

        def dies(call: str, name: str) -> Exception | None:
            if call in changes:
                if not left[0]:  # noqa: B023
                    return KeyboardInterrupt()  # type: ignore[return-value]
                left[0] -= 1  # noqa: B023
            return None

        desk.bucket.fault, desk.bucket.calls = dies, []
        try:
            desk.run(task(MP4))
        except KeyboardInterrupt:
            stored = {file.name for output in desk.ledger.outputs for file in output.files} if steps > 1 else set()
            desk.bucket.fault, desk.bucket.calls = (lambda call, name: None), []
            done = desk.run(task(MP4))
            assert not stored & {name for call, name in desk.bucket.calls if call == "put_file"}
            assert told(done.events)[0][1]["FileList"] == [f"{ALICE}.mp4", f"{BOB}.mp4"]
            assert done.conversion.reason == Reason.REMUXED
            assert sorted(path.name for path in recorded.folder.iterdir()) == sorted(
                [f"{ALICE}.mp4", f"{BOB}.mp4", LEDGER]
            )
        else:
            break
    assert steps == 6 + 7 + 3 + 1  # for each output a file, and the ledger twice; segments, playlists; the ledger


@pytest.mark.parametrize("why", ["refused", "backup", "flawed", "unlisted"])
def test_hls_stays_when_it_may_be_needed(recorded: Recorded, desk: Desk, why: str) -> None:
    two_users(recorded)
    segment = recorded.files("_main_video")[1]
    if why == "refused":
        desk.bucket.fault = always("remove", DENIED)
    if why == "flawed":
        segment.write_bytes(segment.read_bytes()[:188] + b"x" * 18800)
    if why == "unlisted":
        shutil.copy(segment, segment.with_name(f"ha1_{segment.name}"))
    before = desk.names(".ts") + desk.names(".m3u8")
    converter = desk.converter(task(MP4))
    if why == "backup":
        desk.board.drained(Report(uploaded=True, backup=2))
    done = converter.run()
    assert desk.names(".ts") + desk.names(".m3u8") == before
    assert done.conversion.reason == Reason.HLS_KEPT
    assert told(done.events)[0][1]["Status"] == (1 if why == "backup" else 0)
    assert desk.pauses == []


# --- what fails ---


def test_a_damaged_stream_ends_no_other(recorded: Recorded, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    two_users(recorded)
    real = engine.to_mp4

    def breaks(stream: Any, *rest: Any) -> Any:
        if stream.user_id == "alice":
            raise ZeroDivisionError("scripted")
        return real(stream, *rest)

    monkeypatch.setattr(making, "to_mp4", breaks)
    done = desk.run(task(MP4))
    assert desk.names(".mp4") == [f"{BOB}.mp4"]
    assert told(done.events)[0][1]["Status"] == 1
    assert (done.conversion.reason, done.conversion.failed) == (Reason.CONVERT_FAILED, 1)
    assert "alice (main): it cannot be converted: ZeroDivisionError: scripted" in done.conversion.message
    assert len(desk.names(".ts")) == 7  # nothing is removed


def test_missing_segments_are_told_and_a_stream_without_any_fails(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    gone = recorded.files("YWxpY2U.__UserId_e_main_video")[1]
    gone.unlink()
    for path in recorded.files("Ym9i"):
        path.unlink()
    done = desk.run(task(MP4, AAC))
    assert desk.names(".mp4") == [f"{ALICE}.mp4"]
    outputs = {(output.user_id, output.format): output for output in desk.ledger.outputs}
    assert outputs["alice", MP4].faults == [f"{gone.name}: missing"]
    assert not outputs["alice", MP4].failed
    assert outputs["bob", MP4].failed
    assert outputs["bob", AAC].failed
    assert (told(done.events)[0][1]["Status"], done.conversion.failed) == (1, 1)


def test_a_bucket_that_is_away_is_waited_for_and_told_of_once(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    tries: dict[tuple[str, str], int] = {}

    def flaky(call: str, name: str) -> Exception | None:
        tries[call, name] = tries.get((call, name), 0) + 1
        return AWAY if tries[call, name] <= 3 else None

    desk.bucket.fault = flaky
    done = desk.run(task(HLS, MP4), seconds=3600)
    assert done.conversion.reason == Reason.REMUXED
    assert Reason.BUCKET_UNREACHABLE in [c.reason for report in desk.said for c in report.conditions]
    assert max(desk.pauses) < 10


def test_a_file_that_cannot_be_stored_in_time_fails(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.bucket.fault = always("put_file", AWAY)
    done = desk.run(task(MP4), seconds=600)
    assert desk.now >= 600
    assert done.conversion.reason == Reason.CONVERT_FAILED
    assert "given up after 600 s: 503: scripted" in done.conversion.message
    assert told(done.events)[0][1] == {"Status": 1, "FileList": [], "FileMessage": []}


def test_a_recording_that_cannot_be_read_is_an_error(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.bucket.fault = always("entries", DENIED)
    done = desk.run(task(MP4))
    assert told(done.events)[0][1]["Status"] == 2
    assert done.conversion.reason == Reason.CONVERT_FAILED
    assert "AccessDenied" in done.conversion.message


def test_without_the_ledger_nothing_is_said(desk: Desk) -> None:
    desk.bucket.fault = always("read", AWAY)
    with pytest.raises(GivenUp, match="503"):
        desk.run(task(MP4))
    assert not any(report.events for report in desk.said)


def test_a_store_that_wants_none_of_it_is_not_asked_for_long(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.bucket.fault = always("put_file", UploadFailed("EntityTooLarge", "scripted"))
    done = desk.run(task(MP4))
    assert done.conversion.failed == 2
    assert "EntityTooLarge" in done.conversion.message
    assert len(desk.pauses) == 8


def test_no_room_on_the_disk(recorded: Recorded, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    two_users(recorded)
    full = shutil.disk_usage(recorded.folder)._replace(free=1 << 20)
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda _: full)
    done = desk.run(task(MP4))
    assert "no room on the disk" in done.conversion.message
    assert told(done.events)[0][1]["Status"] == 1


def test_nothing_is_removed_when_the_ledger_cannot_be_stored(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.bucket.fault = always("put_playlist", AWAY)
    done = desk.run(task(MP4))
    assert (len(desk.names(".ts")), desk.names(".mp4")) == (7, [f"{ALICE}.mp4", f"{BOB}.mp4"])
    assert done.conversion.reason == Reason.HLS_KEPT
    assert "outputs.json cannot be stored" in done.conversion.message
    assert told(done.events)[0][1]["Status"] == 0


def test_a_second_finisher_that_cannot_list_fails_nothing(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.run(task(MP4))
    desk.bucket.fault = always("entries", DENIED)
    done = desk.run(task(MP4))
    assert (done.conversion.reason, done.conversion.files) == (Reason.HLS_KEPT, 2)
    assert told(done.events)[0][1]["Status"] == 0


def test_a_damaged_ledger_is_begun_anew(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    (desk.bucket.folder / LEDGER).write_text(json.dumps({"taskId": "another"}))
    assert desk.run(task(HLS, MP4)).conversion.files == 2


def test_told_to_end_it_ends_in_the_middle(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.bucket.fault = lambda call, name: desk.stop.set() if name.endswith(".ts") else None  # type: ignore[func-returns-value]
    with pytest.raises(Stopped):
        desk.run(task(MP4))
    assert list(desk.scratch.iterdir()) == []
    assert desk.names(".mp4") == []
