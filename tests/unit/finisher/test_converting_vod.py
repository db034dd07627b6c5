"""The same for VOD: what is committed, said of each file, resumed, and kept in the spool when VOD does not take it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.finish import LEDGER
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import Mode
from cloudrec_recorder.convert.engine import Limits
from cloudrec_recorder.finisher.drain import Stopped
from cloudrec_recorder.uploader.store import BucketUnreachable
from cloudrec_recorder.vod import VodRefused, VodUnreachable
from tests.unit.convert.recordings import EPOCH_MS, Recorded
from tests.unit.finisher.desk import AAC, HLS, MP4, Desk, FolderDepot, always, task
from tests.unit.finisher.test_converting import ALICE, BOB, told, two_users

REFUSED = VodRefused("FileTypeError", "scripted")
AWAY = VodUnreachable("503", "scripted")


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    folder = tmp_path / "bucket"
    folder.mkdir()
    return Recorded(folder)


@pytest.fixture
def desk(recorded: Recorded, tmp_path: Path) -> Desk:
    return Desk(FolderDepot(recorded.folder), tmp_path / "scratch")


def test_each_file_is_committed_and_told_of(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    done = desk.run(task(MP4, AAC, vod={"user_define_record_id": "lesson-7"}))
    names = [f"lesson-7__UserDefine_u_{who}.{kind}" for who in (ALICE, BOB) for kind in ("mp4", "aac")]
    assert list(desk.vod.committed) == names
    assert [media.kind for media, _ in desk.vod.committed.values()] == ["mp4", "aac", "mp4", "aac"]
    assert all(desk.vod.committed[name][1] for name in names)
    *files, last = told(done.events)
    assert [number for number, _ in files] == [311] * 4
    assert last == (312, {"Status": 0})
    stored = desk.ledger.outputs[0].files[0]
    assert stored.start == pytest.approx(EPOCH_MS + 1000, abs=30)
    assert files[0][1] == {
        "Status": 0,
        "TencentVod": {
            "UserId": "alice",
            "TrackType": "audio_video",
            "MediaId": "main",
            "FileId": "id-1",
            "VideoUrl": f"https://vod/{names[0]}",
            "CacheFile": names[0],
            "StartTimeStamp": stored.start,
            "EndTimeStamp": stored.end,
        },
    }
    assert sorted(path.name for path in recorded.folder.iterdir()) == [LEDGER]
    assert done.conversion.reason == Reason.REMUXED
    # One by one, as they came about.
    assert [len(report.events) for report in desk.said if report.events] == [1, 2, 3, 4]
    assert desk.run(task(MP4, AAC, vod={})) == done


def test_a_refused_file_goes_into_the_spool_and_the_others_go_on(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.vod.fault = lambda name: REFUSED if name.startswith(ALICE) else None
    done = desk.run(task(MP4, vod={}))
    first, second, last = told(done.events)
    assert first[1] == {
        "Status": 1,
        "Errmsg": "FileTypeError: scripted",
        "TencentVod": {
            "UserId": "alice",
            "TrackType": "audio_video",
            "MediaId": "main",
            "CacheFile": f"{ALICE}.mp4",
        },
    }
    assert second[1]["Status"] == 0
    assert last[1] == {"Status": 1}
    assert desk.names(".mp4") == [f"{ALICE}.mp4"]
    assert len(desk.names(".ts")) == 7
    assert (done.conversion.reason, done.conversion.failed) == (Reason.CONVERT_FAILED, 1)
    assert "FileTypeError" in done.conversion.message
    assert Reason.VOD_REFUSED in [condition.reason for condition in desk.said[-1].conditions]
    assert desk.pauses == []
    assert desk.vod.tries == 2


def test_vod_that_is_away_is_waited_for_with_the_token_of_the_earlier_try(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 3))
    desk.vod.fault = lambda name: AWAY if desk.vod.tries < 3 else None
    done = desk.run(task(MP4, vod={}))
    assert desk.vod.resumed == ["", "token-1", "token-2"]
    assert done.conversion.reason == Reason.REMUXED
    assert desk.ledger.sessions == {}
    troubled = [bool(report.conditions) for report in desk.said]
    assert (troubled.count(True), troubled[-1]) == (1, False)


def test_vod_that_stays_away_is_given_up(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.vod.fault = lambda name: AWAY
    done = desk.run(task(MP4, vod={}), seconds=600)
    assert [fact["Status"] for _, fact in told(done.events)] == [1, 1, 1]
    assert desk.now >= 600
    assert desk.names(".mp4") == [f"{ALICE}.mp4", f"{BOB}.mp4"]
    assert "given up after 600 s" in told(done.events)[0][1]["Errmsg"]


def test_one_that_is_killed_at_the_last_step_is_followed_by_one_with_its_token(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 3))

    def killed(name: str) -> Exception:
        desk.vod.fault = lambda name: None
        raise KeyboardInterrupt

    desk.vod.fault = killed
    with pytest.raises(KeyboardInterrupt):
        desk.run(task(MP4, vod={}))
    assert desk.ledger.sessions == {f"{ALICE}.mp4": "token-1"}
    desk.run(task(MP4, vod={}))
    assert desk.vod.resumed == ["", "token-1"]


def test_each_part_is_told_of_once(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 9))

    def killed(name: str) -> Exception | None:
        if name.endswith("_3.mp4") and desk.vod.tries < 4:
            raise KeyboardInterrupt
        return None

    desk.vod.fault = killed
    with pytest.raises(KeyboardInterrupt):
        desk.run(task(MP4, vod={}), Limits(seconds=2.5))
    done = desk.run(task(MP4, vod={}), Limits(seconds=2.5))
    files = [fact["TencentVod"]["CacheFile"] for number, fact in told(done.events) if number == 311]
    assert files == list(desk.vod.committed) == [f"{ALICE}_{part}.mp4" for part in (1, 2, 3, 4)]


def test_what_cannot_be_made_is_an_error(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 3))
    for path in recorded.files(""):
        path.unlink()
    done = desk.run(task(MP4, vod={}))
    (number, fact), last = told(done.events)
    assert (number, fact["Status"], fact["TencentVod"]["CacheFile"]) == (311, 2, f"{ALICE}.mp4")
    assert fact["Errmsg"].endswith(".ts: missing")
    assert last == (312, {"Status": 1})


def test_a_recording_that_cannot_be_read(recorded: Recorded, desk: Desk) -> None:
    two_users(recorded)
    desk.bucket.fault = always("entries", BucketUnreachable("503", "scripted"))
    assert told(desk.run(task(MP4, vod={})).events) == [(312, {"Status": 1})]


def test_an_expiry_that_was_refused_is_told_by_successors_too(recorded: Recorded, desk: Desk) -> None:
    recorded.video("alice", (1, 3))
    desk.vod.note = "expireSeconds: AccessDenied"
    for _ in range(2):
        desk.run(task(MP4, vod={}))
        desk.board.end(desk.run(task(MP4, vod={})).conversion, [], last=True)
        assert [(c.reason, c.message) for c in desk.said[-1].conditions] == [
            (Reason.EXPIRY_REFUSED, "expireSeconds: AccessDenied")
        ]


def test_hls_of_all_attempts_as_one_playlist(recorded: Recorded, desk: Desk) -> None:
    recorded.both(None, (1, 5))
    recorded.both(None, (3, 9), attempt=1)
    done = desk.run(task(HLS, vod={}, mode=Mode.MIXED))
    ((media, text),) = desk.vod.committed.values()
    assert (media.name, media.kind) == ("1400000001_12345.m3u8", "m3u8")
    playlist = parse(text.decode())
    assert playlist.ended
    assert tuple(segment.name for segment in playlist.segments) == media.segments
    assert [name.startswith("ha1_") for name in media.segments] == [False, False, True, True]
    assert [segment.discontinuity for segment in playlist.segments] == [False, False, True, False]
    fact = told(done.events)[0][1]["TencentVod"]
    assert (fact["UserId"], fact["MediaId"], fact["CacheFile"]) == ("", "mix", media.name)
    assert fact["EndTimeStamp"] == EPOCH_MS + 9000
    assert sorted(path.name for path in recorded.folder.iterdir()) == [LEDGER]


def test_told_to_end_while_vod_is_away(recorded: Recorded, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    recorded.video("alice", (1, 3))
    desk.vod.fault = lambda name: desk.stop.set() or AWAY  # type: ignore[func-returns-value]
    with pytest.raises(Stopped):
        desk.run(task(MP4, vod={}))
    assert desk.ledger.outputs == []
    assert caplog.records == []
    assert list(desk.scratch.iterdir()) == []
