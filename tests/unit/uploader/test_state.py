"""The fold: what follows from the journal and the own log, and that a restart anywhere changes nothing."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.manifest import parse_manifest
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import ReportState
from cloudrec_contract.spool import (
    ClockRecord,
    ConditionRecord,
    EndRecord,
    ImageRecord,
    JoinedRecord,
    JournalRecord,
    LeftRecord,
    SegmentRecord,
    StateRecord,
    TrackRecord,
    decode_record,
)
from cloudrec_recorder.uploader.holdings import LARGE_PLAYLIST, LARGE_PLAYLIST_MS, MANIFEST_MS
from cloudrec_recorder.uploader.listing import manifest, snapshot
from cloudrec_recorder.uploader.state import State
from cloudrec_recorder.uploader.uploadlog import (
    BackedUp,
    BackupOnly,
    GivenUp,
    Listed,
    LogRecord,
    Published,
    Recovered,
    Said,
    Switched,
    Trouble,
    Uploaded,
)
from tests.unit.uploader.helpers import TASK


def track(name: str = "a.m3u8", begin: int = 1000, **more: Any) -> TrackRecord:
    values: dict[str, Any] = {"user_id": "alice", "media": "main", "kind": "video", "codec": "h264", **more}
    return TrackRecord(ts=1, track=name, begin_time_stamp=begin, **values)


def segment(file: str, name: str = "a.m3u8", **more: Any) -> SegmentRecord:
    return SegmentRecord(ts=2, track=name, file=file, start=1000.0, duration=10.0, bytes=7, **more)


def uploaded(file: str) -> Uploaded:
    return Uploaded(ts=3, file=file, bytes=7, sha256="00")


def started() -> Said:
    return Said(ts=0, seq=1, event=EventType.UPLOAD_START, args={"Status": 0})


def fold(journal: Iterable[JournalRecord], own: Iterable[LogRecord] = ()) -> State:
    state = State()
    for entry in journal:
        state.take(entry)
    for record in own:
        state.take_own(record)
    return state


def publish(state: State, name: str = "a.m3u8", ts: int = 4) -> Published:
    what = state.publication(state.tracks[name])
    record = Published(ts=ts, track=name, segments=what.segments, bytes=len(what.text), ended=what.ended)
    state.take_own(record)
    return record


def enlist(state: State, *, backup: bool = False) -> Listed:
    what = snapshot(state)
    record = Listed(ts=4, changes=what.changes, bytes=9, complete=what.complete, backup=backup)
    state.take_own(record)
    return record


def backed(file: str) -> BackedUp:
    return BackedUp(ts=3, file=file, bytes=7, sha256="00")


def say(state: State, now: int = 50) -> list[tuple[int, dict[str, Any]]]:
    said = []
    for fact in list(state.due(now)):
        state.take_own(Said(ts=fact.ts, seq=state.next_seq, event=fact.type, args=fact.args))
        said.append((int(fact.type), fact.args))
    return said


def named(state: State, name: str = "a.m3u8") -> list[str]:
    return [s.name for s in parse(state.publication(state.tracks[name]).text.decode()).segments]


def test_a_playlist_names_confirmed_segments_in_order_only() -> None:
    state = fold([track(), segment("1.ts"), segment("2.ts"), segment("3.ts")], [started(), uploaded("2.ts")])
    assert list(state.unpublished()) == []
    assert list(state.pending) == ["1.ts", "3.ts"]
    state.take_own(uploaded("1.ts"))
    assert named(state) == ["1.ts", "2.ts"]
    publish(state)
    assert list(state.unpublished()) == []
    state.take_own(uploaded("3.ts"))
    assert named(state) == ["1.ts", "2.ts", "3.ts"]


def test_a_segment_that_is_given_up_leaves_a_discontinuity() -> None:
    state = fold(
        [track(), segment("1.ts"), segment("2.ts"), segment("3.ts")],
        [started(), uploaded("1.ts"), GivenUp(ts=1, file="2.ts", message="x"), uploaded("3.ts")],
    )
    playlist = parse(state.publication(state.tracks["a.m3u8"]).text.decode())
    assert [(s.name, s.discontinuity) for s in playlist.segments] == [("1.ts", False), ("3.ts", True)]
    assert state.missing == 1


def test_the_playlist_ends_when_the_recording_has_and_all_is_settled() -> None:
    state = fold([track(), segment("1.ts"), segment("2.ts")], [started(), uploaded("1.ts")])
    assert not publish(state).ended
    state.take(EndRecord(ts=9))
    assert list(state.unpublished()) == []
    assert not state.drained
    state.take_own(uploaded("2.ts"))
    assert publish(state).ended
    assert not state.drained
    enlist(state)
    assert state.drained


def test_one_more_publication_ends_a_playlist_that_has_all_its_segments() -> None:
    state = fold([track(), segment("1.ts")], [started(), uploaded("1.ts")])
    publish(state)
    state.take(EndRecord(ts=9))
    assert [t.name for t in state.unpublished()] == ["a.m3u8"]
    assert publish(state).ended


def test_metadata_and_begin_come_from_the_track() -> None:
    state = fold([track(begin=1622186279144, width=640, height=360), segment("1.ts")], [uploaded("1.ts")])
    playlist = parse(state.publication(state.tracks["a.m3u8"]).text.decode())
    assert (playlist.begin_ms, playlist.width, playlist.height) == (1622186279144, 640, 360)


def test_a_large_playlist_is_published_once_a_minute() -> None:
    state = fold([track(), segment("1.ts"), segment("2.ts")], [uploaded("1.ts")])
    large = Published(ts=1_000_000, track="a.m3u8", segments=1, bytes=LARGE_PLAYLIST + 1)
    state.take_own(large)
    state.take_own(uploaded("2.ts"))
    [waiting] = state.unpublished()
    assert not state.may_publish(waiting, large.ts + LARGE_PLAYLIST_MS - 1)
    assert state.may_publish(waiting, large.ts + LARGE_PLAYLIST_MS)
    state.take(EndRecord(ts=9))
    assert state.may_publish(waiting, large.ts + 1)


def test_the_events_of_a_plain_recording_in_their_order() -> None:
    state = fold([JoinedRecord(ts=5), track(), segment("1.ts")], [started()])
    assert say(state) == [(301, {"Status": 0})]
    state.take_own(uploaded("1.ts"))
    slice_args = {"FileName": "a.m3u8", "UserId": "alice", "TrackType": "video", "BeginTimeStamp": 1000}
    assert say(state) == [(307, slice_args)]
    publish(state)
    assert say(state) == [(304, {"FileList": "a.m3u8"})]
    state.take(LeftRecord(ts=8, leave_code=99))
    assert say(state) == [(302, {"LeaveCode": 99})]
    state.take(EndRecord(ts=9))
    assert say(state) == []
    assert not state.finished
    publish(state)
    enlist(state)
    assert say(state) == []  # 305 is the operator's: it knows all attempts
    assert state.finished
    assert [event.seq for event in state.events] == [1, 2, 3, 4, 5]
    # 301 and 302 happened when the recorder says, the rest when the uploader did it.
    assert [(event.type, event.ts) for event in state.events if event.type in (301, 302)] == [(301, 5), (302, 8)]


def test_the_report_tells_what_is_missing() -> None:
    lost = GivenUp(ts=1, file="1.ts", message="x")
    state = fold([track(), segment("1.ts"), EndRecord(ts=9)], [started(), lost])
    enlist(state)
    report = state.report(0)
    assert (report.uploaded, report.missing) == (True, 1)


def test_a_playlist_that_is_given_up_does_not_hold_up_the_end() -> None:
    state = fold([track(), segment("1.ts"), EndRecord(ts=9)], [started(), uploaded("1.ts")])
    assert not state.drained
    state.take_own(GivenUp(ts=1, file="a.m3u8", message="x"))
    assert not state.finished
    enlist(state)
    assert state.finished
    assert state.report(0).files == []


def test_the_report_tells_which_files_are_transcoded() -> None:
    records = [track(transcoded=True), segment("1.ts"), track("b.m3u8", media="aux"), segment("2.ts", "b.m3u8")]
    names = ("a.m3u8", "b.m3u8")
    published = [Published(ts=4, track=name, segments=1, bytes=9, ended=False) for name in names]
    report = fold(records, [started(), uploaded("1.ts"), uploaded("2.ts"), *published]).report(0)
    assert [(file.media, file.transcoded) for file in report.files] == [("main", True), ("aux", False)]


def test_308_once_an_episode() -> None:
    state = fold([], [started()])
    trouble = Trouble(ts=5, reason=Reason.BUCKET_UNREACHABLE, code="SlowDown", message="m")
    state.take_own(trouble)
    state.take_own(Trouble(ts=6, reason=Reason.BUCKET_REFUSED, code="AccessDenied", message="n"))
    assert say(state) == [(308, {"Code": "SlowDown", "Message": "m"})]
    assert [(c.reason, c.message) for c in state.report(0).conditions] == [("BucketRefused", "AccessDenied: n")]
    state.take_own(Recovered(ts=7))
    assert say(state) == []
    assert state.report(0).conditions == []
    state.take_own(trouble)
    assert say(state) == [(308, {"Code": "SlowDown", "Message": "m"})]


def test_a_308_that_a_killed_predecessor_owed_is_said() -> None:
    trouble = Trouble(ts=5, reason=Reason.BUCKET_UNREACHABLE, code="SlowDown", message="m")
    assert [f for f, _ in say(fold([], [started(), trouble, Recovered(ts=6)]))] == [308]


def test_309_once_a_url_whatever_is_restarted() -> None:
    failed = [
        ImageRecord(ts=4 + n, url=url, message="404") for n, url in enumerate(["http://x/a.png", "http://x/b.png"])
    ]
    state = State()
    for record in [*failed, failed[0]]:
        state.take(record)
    due = list(state.due(9))
    assert [(fact.type, fact.ts, fact.args) for fact in due] == [
        (EventType.DOWNLOAD_IMAGE_ERROR, 4, {"Url": "http://x/a.png"}),
        (EventType.DOWNLOAD_IMAGE_ERROR, 5, {"Url": "http://x/b.png"}),
    ]
    successor = State()
    successor.take_own(Said(ts=9, seq=1, event=due[0].type, args=due[0].args))
    for record in failed:
        successor.take(record)
    assert [fact.args["Url"] for fact in successor.due(9)] == ["http://x/b.png"]


def test_what_never_began_is_finished_at_its_end() -> None:
    state = fold([EndRecord(ts=9)], [])
    assert say(state) == []
    assert state.finished
    assert state.report(0).uploaded


def test_refusal_and_start() -> None:
    assert not fold([]).started
    state = fold([], [Said(ts=0, seq=1, event=EventType.UPLOAD_START, args={"Status": 1})])
    assert state.refused
    assert not state.started
    assert fold([], [started()]).started


def test_report_of_a_recording() -> None:
    state = fold(
        [
            StateRecord(ts=1, state=ReportState.IDLE),
            JoinedRecord(ts=2),
            ConditionRecord(ts=3, reason="SlowDisk", message="behind"),
            ConditionRecord(ts=3, reason="LiveKitUnreachable", message="no route"),
            ConditionRecord(ts=4, reason="LiveKitUnreachable", status=False),
            StateRecord(ts=5, state=ReportState.RECORDING),
            track(),
            track("b.m3u8", user_id="bob", kind="audio"),
            segment("1.ts"),
        ],
        [started(), uploaded("1.ts")],
    )
    publish(state)
    report = state.report(0)
    assert report.state is ReportState.RECORDING
    assert report.ready
    assert report.leave_code is None
    assert [c.reason for c in report.conditions] == ["SlowDisk"]
    # Of a playlist that is there; bob's is not yet.
    assert [(f.user_id, f.kind, f.begin_time_stamp) for f in report.files] == [("alice", "video", 1000)]
    assert not report.uploaded
    state.take(LeftRecord(ts=8, leave_code=0))
    state.take(EndRecord(ts=9, failed=True, reason="MediaUnreachable", message="no media"))
    report = state.report(0)
    assert (report.state, report.leave_code) == (ReportState.ENDED, 0)
    assert report.conditions[-1].reason == "MediaUnreachable"


def test_no_more_than_64_events_are_in_the_report_and_acked_ones_go() -> None:
    own = [Said(ts=n, seq=n, event=EventType.FILE_INFO, args={"FileList": f"{n}.m3u8"}) for n in range(1, 101)]
    state = fold([], own)
    assert [e.seq for e in state.report(0).events] == list(range(1, 65))
    assert state.crowded(0)
    assert [e.seq for e in state.report(50).events] == list(range(51, 101))
    assert not state.crowded(50)
    assert state.report(100).events == []


def test_what_there_is_one_of_is_always_in_the_report_and_nothing_is_lost() -> None:
    files = [(EventType.FILE_SLICE, EventType.FILE_INFO)[n % 2] for n in range(120)]
    kinds = [EventType.UPLOAD_START, EventType.RECORDER_START, *files]
    kinds[50:50] = [EventType.UPLOAD_ERROR]
    kinds += [EventType.RECORDER_STOP, EventType.UPLOAD_STOP]
    own = [Said(ts=n, seq=n, event=kind, args={"Status": 0, "FileList": str(n)}) for n, kind in enumerate(kinds, 1)]
    state = fold([], own)
    told = state.report(0).events
    assert [e.type for e in told if e.type not in (304, 307)] == [303, 301, 308, 302, 305]
    assert [e.seq for e in told] == sorted(e.seq for e in told)
    assert len(told) == 64
    # Whoever acknowledges as far as there is no gap gets every one.
    got: set[int] = set()
    acked = 0
    for _ in range(10):
        told = state.report(acked).events
        got |= {e.seq for e in told}
        while acked + 1 in got:
            acked += 1
    assert (acked, told) == (125, [])


@pytest.mark.parametrize("name", ["../x.ts", "/etc/x.ts", "", ".", "..", "a/b.ts", "a\0.ts", "key", "../a.m3u8"])
def test_names_that_lead_out_of_the_spool_are_refused(name: str) -> None:
    state = fold([track(), segment(name), segment("1.ts", name=name), track(name)])
    assert state.pending == {}
    assert list(state.tracks) == ["a.m3u8"]


def test_segments_of_an_unheard_track_are_uploaded_but_not_listed() -> None:
    state = fold([segment("1.ts")], [uploaded("1.ts")])
    assert list(state.unpublished()) == []
    assert fold([segment("1.ts")]).pending == {"1.ts": "a.m3u8"}


# --- the backup store ---


def switched() -> Switched:
    return Switched(ts=5, code="BackupInUse", message="m")


def test_a_switch_is_said_and_holds_until_the_bucket_is_back() -> None:
    trouble = Trouble(ts=4, reason=Reason.BUCKET_UNREACHABLE, code="SlowDown", message="m")
    state = fold([], [started(), trouble, switched()])
    assert [args["Code"] for _, args in say(state)] == ["SlowDown", "BackupInUse"]
    assert {c.reason for c in state.report(0).conditions} == {"BucketUnreachable", "BackupInUse"}
    state.take_own(Recovered(ts=7))
    assert state.report(0).conditions == []


def test_the_backup_has_playlists_of_its_own() -> None:
    """They name what is in either store; the bucket's name what is there."""
    journal = [track(), segment("1.ts"), segment("2.ts"), segment("3.ts")]
    state = fold(journal, [started(), uploaded("1.ts"), switched(), backed("2.ts")])
    assert list(state.pending) == ["2.ts", "3.ts"]
    assert named(state) == ["1.ts"]
    [unpublished] = state.unpublished(backup=True)
    what = state.publication(unpublished, backup=True)
    assert [s.name for s in parse(what.text.decode()).segments] == ["1.ts", "2.ts"]
    state.take_own(Recovered(ts=8))
    assert list(state.unpublished(backup=True)) == []
    state.take_own(uploaded("2.ts"))
    assert named(state) == ["1.ts", "2.ts"]
    assert state.report(0).backup == 0


def test_what_stays_in_the_backup_is_a_gap_in_the_bucket_and_counted() -> None:
    journal = [track(), segment("1.ts"), segment("2.ts"), segment("3.ts"), EndRecord(ts=9)]
    own = [uploaded("1.ts"), switched(), backed("2.ts"), BackupOnly(ts=6, file="2.ts"), Recovered(ts=7)]
    state = fold(journal, [started(), *own, uploaded("3.ts")])
    playlist = parse(state.publication(state.tracks["a.m3u8"]).text.decode())
    assert [(s.name, s.discontinuity) for s in playlist.segments] == [("1.ts", False), ("3.ts", True)]
    publish(state)
    assert not state.stored
    [whole] = state.unpublished(backup=True)
    what = state.publication(whole, backup=True)
    assert [s.name for s in parse(what.text.decode()).segments] == ["1.ts", "2.ts", "3.ts"]
    assert what.ended
    state.take_own(Published(ts=8, track="a.m3u8", segments=3, bytes=9, ended=True, backup=True))
    enlist(state, backup=True)
    enlist(state)
    assert state.finished
    report = state.report(0)
    assert (report.uploaded, report.missing, report.backup) == (True, 0, 1)
    listed = parse_manifest(manifest(snapshot(state), TASK, 10))
    assert [(s.file, s.store) for s in listed.tracks[0].segments] == [
        ("1.ts", "bucket"),
        ("2.ts", "backup"),
        ("3.ts", "bucket"),
    ]
    assert (listed.complete, listed.backup, listed.missing) == (True, 1, 0)


# --- the manifest ---


def test_the_manifest_tells_gaps_and_why() -> None:
    journal = [
        track(),
        ClockRecord(ts=1, user_id="alice", offset=12.5),
        SegmentRecord(ts=2, track="a.m3u8", file="1.ts", start=1000.0, duration=10.0, bytes=7),
        SegmentRecord(ts=2, track="a.m3u8", file="2.ts", start=11_000.5, duration=10.0, bytes=7),
        SegmentRecord(ts=2, track="a.m3u8", file="3.ts", start=31_000.5, duration=5.0, bytes=7, discontinuity=True),
        SegmentRecord(ts=2, track="a.m3u8", file="4.ts", start=36_000.5, duration=5.0, bytes=7),
        EndRecord(ts=9, failed=True, reason="RecorderDied"),
    ]
    own = [uploaded("1.ts"), GivenUp(ts=3, file="2.ts", message="SpoolFull"), uploaded("3.ts")]
    listed = parse_manifest(manifest(snapshot(fold(journal, [started(), *own])), TASK, 77))
    assert (listed.complete, listed.failed, listed.reason, listed.missing) == (False, True, "RecorderDied", 1)
    assert (listed.task_id, listed.attempt, listed.epoch, listed.updated) == ("7b1c", 0, TASK.epoch, 77)
    assert listed.clock_offsets == {"alice": 12.5}
    [found] = listed.tracks
    assert [s.file for s in found.segments] == ["1.ts", "3.ts"]
    assert [(g.start, g.duration, g.reason, g.file) for g in found.gaps] == [
        (11_000.5, 10.0, "SpoolFull", "2.ts"),
        (21_000.5, 10.0, "NotRecorded", None),
    ]


def test_the_manifest_is_put_seldom_and_at_the_end() -> None:
    state = fold([track(), segment("1.ts")], [started()])
    assert state.unlisted()
    assert not state.may_list(0)  # nothing is stored yet
    state.take_own(uploaded("1.ts"))
    assert state.may_list(0)
    put = enlist(state)
    assert not state.unlisted()
    state.take(segment("2.ts"))
    assert state.unlisted()
    assert not state.may_list(put.ts + MANIFEST_MS - 1)
    assert state.may_list(put.ts + MANIFEST_MS)
    large = put.model_copy(update={"bytes": 10 * LARGE_PLAYLIST})
    state.take_own(large)
    assert not state.may_list(put.ts + 10 * MANIFEST_MS - 1)
    publish(state)
    state.take(EndRecord(ts=9))
    assert not state.may_list(put.ts)  # not before all is stored
    state.take_own(uploaded("2.ts"))
    publish(state)
    assert state.may_list(put.ts)
    assert enlist(state).complete
    assert state.finished


# --- restarts ---

NAMES = ["a.m3u8", "b.m3u8"]


@st.composite
def recordings(draw: st.DrawFn) -> list[JournalRecord]:
    """A journal as a recorder writes it."""
    journal: list[JournalRecord] = [JoinedRecord(ts=1)]
    heard: set[str] = set()
    for number, (name, gap) in enumerate(draw(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=8))):
        if name not in heard:
            heard.add(name)
            journal.append(track(name))
        journal.append(segment(f"{number}.ts", name, discontinuity=gap))
        if draw(st.integers(0, 5)) == 0:
            journal.append(ConditionRecord(ts=2, reason="SlowDisk", message="m", status=draw(st.booleans())))
    if draw(st.booleans()):
        journal += [LeftRecord(ts=8, leave_code=0), EndRecord(ts=9)]
    return journal


def live(journal: list[JournalRecord], choose: st.DataObject) -> tuple[State, list[LogRecord], list[list[str]]]:
    """A sidecar at work: it takes journal records and does what is wanted, in an order of hypothesis' choice, and is
    thrown away and rebuilt from the two files whenever hypothesis likes. Returns its playlists as they were put."""
    own: list[LogRecord] = []
    put: list[list[str]] = []
    state, read = State(), 0

    def note(record: LogRecord) -> None:
        own.append(record)
        state.take_own(record)

    note(started())
    for _ in range(200):
        for fact in list(state.due(50)):
            note(Said(ts=fact.ts, seq=state.next_seq, event=fact.type, args=fact.args))
        todo = ["read"] if read < len(journal) else []
        todo += [f"segment {name}" for name in state.pending] + [f"playlist {t.name}" for t in state.unpublished()]
        todo += [f"backup {name}" for name in state.pending if state.in_use and name not in state.backed]
        todo += [f"only {name}" for name in state.backed]
        todo += [f"copy {t.name}" for t in state.unpublished(backup=True)]
        todo += [f"list {'b' * backup}" for backup in (False, True) if state.unlisted(backup=backup) and state.stored]
        if not todo:
            break
        action, _, name = choose.draw(st.sampled_from([*todo, "restart", "trouble"])).partition(" ")
        if action == "read":
            state.take(journal[read])
            read += 1
        elif action == "segment":
            lost = name not in state.backed and choose.draw(st.integers(0, 4)) == 0
            note(GivenUp(ts=3, file=name, message="x") if lost else uploaded(name))
        elif action == "playlist":
            what = state.publication(state.tracks[name])
            put.append([s.name for s in parse(what.text.decode()).segments])
            note(Published(ts=4, track=name, segments=what.segments, bytes=len(what.text), ended=what.ended))
        elif action == "backup":
            note(backed(name))
        elif action == "only":
            note(BackupOnly(ts=6, file=name))
        elif action == "copy":
            what = state.publication(state.tracks[name], backup=True)
            there = {r.file for r in own if isinstance(r, Uploaded | BackedUp)}
            assert {s.name for s in parse(what.text.decode()).segments} <= there
            note(
                Published(ts=4, track=name, segments=what.segments, bytes=len(what.text), ended=what.ended, backup=True)
            )
        elif action == "list":
            own.append(enlist(state, backup=bool(name)))
        elif action == "trouble" and len(own) < 60:
            episode: list[LogRecord] = [Trouble(ts=5, reason=Reason.BUCKET_UNREACHABLE, code="c", message="m")]
            if choose.draw(st.booleans()):
                episode.append(switched())
            for record in [Recovered(ts=6)] if state.trouble else episode:
                note(record)
        elif action == "restart":
            state = fold(journal[:read], own)
    return state, own, put


@settings(max_examples=150, deadline=None)
@given(recordings(), st.data())
def test_restarts_lose_and_repeat_nothing(journal: list[JournalRecord], choose: st.DataObject) -> None:
    state, own, put = live(journal, choose)
    again = fold(journal, own)
    assert again.report(0) == state.report(0)
    assert list(again.due(60)) == list(state.due(60)) == []
    assert [again.publication(t).text for t in again.unpublished()] == []
    assert [again.publication(t, backup=True).text for t in again.unpublished(backup=True)] == []
    assert again.finished == state.finished == (state.end is not None)
    assert manifest(snapshot(again), TASK, 1) == manifest(snapshot(state), TASK, 1)
    assert again.changes == state.changes

    seqs = [event.seq for event in state.events]
    assert seqs == list(range(1, len(seqs) + 1))
    once = [(e.type, str(e.args.get("FileName") or e.args.get("FileList"))) for e in state.events if e.type != 308]
    assert len(once) == len(set(once))
    assert sum(e.type == 308 for e in state.events) <= sum(isinstance(r, Trouble | Switched) for r in own)

    # Only confirmed segments are named, none before its confirmation, each once and in the recorder's order.
    good = {record.file for record in own if isinstance(record, Uploaded)}
    for name in NAMES:
        expected = [r.file for r in journal if isinstance(r, SegmentRecord) and r.track == name and r.file in good]
        if expected:
            assert named(state, name) == expected
    for names in put:
        assert set(names) <= good


@settings(max_examples=100, deadline=None)
@given(recordings(), st.data())
def test_the_interleaving_of_the_two_files_does_not_matter(journal: list[JournalRecord], choose: st.DataObject) -> None:
    _, own, _ = live(journal, choose)
    mixed, left, right = State(), list(journal), list(own)
    while left or right:
        if left and (not right or choose.draw(st.booleans())):
            mixed.take(left.pop(0))
        else:
            mixed.take_own(right.pop(0))
    straight = fold(journal, own)
    assert mixed.report(0) == straight.report(0)
    assert list(mixed.pending) == list(straight.pending)
    assert [t.name for t in mixed.unpublished()] == [t.name for t in straight.unpublished()]


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1e30, float("inf"), float("nan"), 4_102_444_800_000, 2**63, 86_400 * 31]),
)
TEXTS = st.one_of(st.sampled_from(["a.m3u8", "b.m3u8", "1.ts", "2.ts", "../x.ts", "alice", "", "\ud800"]), st.text())
VALUES = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())


def hostile(record: JournalRecord) -> st.SearchStrategy[bytes]:
    """The record's line with some of its values exchanged for others."""
    fields = record.wire()
    changes = {name: VALUES for name in fields if name != "type"}
    return st.fixed_dictionaries({}, optional=changes).map(lambda more: json.dumps({**fields, **more}).encode())


HOSTILE = st.one_of(
    st.binary(max_size=80),
    *map(
        hostile,
        [
            JoinedRecord(ts=1),
            StateRecord(ts=1, state=ReportState.RECORDING),
            ConditionRecord(ts=1, reason="SlowDisk", message="m"),
            track(),
            track("b.m3u8", kind="audio"),
            segment("1.ts"),
            segment("2.ts"),
            ClockRecord(ts=1, user_id="alice", offset=1.0),
            LeftRecord(ts=1, leave_code=0),
            EndRecord(ts=1, reason="Stopped"),
        ],
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(HOSTILE, st.booleans()), max_size=12))
def test_no_journal_makes_it_raise(lines: list[tuple[bytes, bool]]) -> None:
    """The recorder parses strangers' media; whatever it may come to write, everything else is still uploaded."""
    state = fold([], [started()])
    for line, upload in lines:
        try:
            state.take(decode_record(line))
        except ValidationError:
            continue
        if upload:
            for file in list(state.pending):
                state.take_own(uploaded(file))
        for fact in list(state.due(5)):
            state.take_own(Said(ts=fact.ts, seq=state.next_seq, event=fact.type, args=fact.args))
        for waiting in list(state.unpublished()):
            made = state.publication(waiting)
            state.take_own(
                Published(ts=4, track=waiting.name, segments=made.segments, bytes=len(made.text), ended=made.ended)
            )
        assert all(abs(event.ts) < 2**63 for event in state.events)
        json.dumps(state.report(0).wire(), allow_nan=False).encode()


def test_a_journal_of_impossible_times_is_left_out_and_the_rest_is_published() -> None:
    state = fold([track(), segment("1.ts")], [uploaded("1.ts")])
    for start, duration in (("NaN", "1"), ("1e30", "1"), ("1", "1e999")):
        line = segment("2.ts").model_dump_json(by_alias=True)
        line = line.replace('"start":1000.0', f'"start":{start}').replace('"duration":10.0', f'"duration":{duration}')
        with pytest.raises(ValidationError):
            decode_record(line.encode())
    (waiting,) = state.unpublished()
    assert len(parse(state.publication(waiting).text.decode()).segments) == 1


def test_for_vod_nothing_is_said_of_the_bucket() -> None:
    state = State(vod=True)
    state.take_own(started())
    assert state.started
    state.take(JoinedRecord(ts=1))
    state.take(track())
    state.take(segment("a_1.ts"))
    state.take_own(uploaded("a_1.ts"))
    publish(state)
    state.take(LeftRecord(ts=9, leave_code=0))
    say(state)
    assert say(state) == []
    assert [(event.seq, event.type) for event in state.report(0).events] == [(1, 301), (2, 302)]
    again = State(vod=True)
    again.take_own(started())
    for event in state.events:
        again.take_own(Said(ts=event.ts, seq=event.seq, event=event.type, args=event.args))
    assert (again.started, again.next_seq) == (True, 3)
