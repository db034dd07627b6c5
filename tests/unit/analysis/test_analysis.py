"""The analyser itself: it finds nothing in good recordings, and each fault in one that was spoilt on purpose."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cloudrec_local.playback.decode import Recording
from cloudrec_local.playback.playlist import PlaylistError
from cloudrec_local.synthetic.truth import Interval
from tests.analysis.content import (
    av_offset,
    begin_error,
    capture_errors,
    frame_ratio,
    gaps,
    percentile,
    silent,
    start_delays,
    users_offset,
)
from tests.analysis.ffprobe import FFprobeMissing, ffprobe_warnings
from tests.analysis.files import one, read_folder, read_playlist
from tests.analysis.structure import broken_joints, date_errors, duration_errors, epoch_spread, joints
from tests.unit.analysis.made import (
    EPOCH,
    FPS,
    Made,
    audio,
    joined,
    numbers,
    sound_truth,
    track_truth,
    truth,
    video,
    write,
)

ENTRY_TAGS = ("#EXTINF", "#EXT-X-PROGRAM-DATE-TIME")
FRAMES = numbers(1, 6)
TRUTH = truth(track_truth(FRAMES), sound_truth())


def read(folder: Path, segments: list[Made], kind: str = "video", **how: float) -> Recording:
    return read_playlist(write(folder, segments, kind, **how))  # type: ignore[arg-type]


def test_a_good_recording_is_found_good(tmp_path: Path) -> None:
    paths = [write(tmp_path, video(FRAMES), "video"), write(tmp_path, audio(1.1, 6), "audio")]
    recordings = read_folder(tmp_path)
    picture, sound = one(recordings, "user-1", "video"), one(recordings, "user-1", "audio")
    assert (picture.faults, sound.faults) == ([], [])
    assert (picture.kind, picture.codec, sound.kind, sound.codec) == ("video", "h264", "audio", "aac")
    frames = frame_ratio(TRUTH, picture, "user-1")
    assert frames.ratio == 1
    assert frames.expected == len(FRAMES)
    assert (frames.missing, frames.duplicated, frames.unreadable, frames.foreign) == ((), (), (), ())
    offsets = av_offset(TRUTH, picture, sound, "user-1")
    assert len(offsets) == 6
    assert percentile(offsets, 1) < 1
    assert percentile(capture_errors(TRUTH, picture, "user-1"), 1) < 1
    assert abs(begin_error(TRUTH, picture, "user-1")) < 1
    assert abs(begin_error(TRUTH, sound, "user-1")) < 1
    for recording in recordings.values():
        assert len(joints(recording)) == 2
        assert not broken_joints(recording, 0.5)
        assert percentile(date_errors(recording), 1) < 1
        assert percentile(duration_errors(recording), 1) < 1
        assert not gaps(recording, 1.5 / FPS)
    assert not silent(sound)
    assert epoch_spread(recordings.values()) < 1
    assert [ffprobe_warnings(path) for path in paths] == [[], []]


def test_missing_pictures_are_found(tmp_path: Path) -> None:
    lost = {FRAMES[10], FRAMES[11], FRAMES[40]}
    recording = read(tmp_path, video([n for n in FRAMES if n not in lost]))
    frames = frame_ratio(TRUTH, recording, "user-1")
    assert set(frames.missing) == lost
    assert frames.ratio == pytest.approx(1 - 3 / len(FRAMES))
    assert [round(gap.seconds * FPS) for gap in gaps(recording, 1.5 / FPS)] == [3, 2]


def test_what_passes_before_and_after_counts_only_where_asked_for(tmp_path: Path) -> None:
    recording = read(tmp_path, video(FRAMES[15:75]))
    assert frame_ratio(TRUTH, recording, "user-1").ratio == 1
    whole = frame_ratio(TRUTH, recording, "user-1", since=FRAMES[0] / FPS, until=FRAMES[-1] / FPS)
    assert whole.missing == (*FRAMES[:15], *FRAMES[75:])
    assert start_delays(TRUTH, recording, "user-1") == [1.0]


def test_a_publication_that_was_not_recorded_is_found(tmp_path: Path) -> None:
    later = numbers(10, 2)
    recording = read(tmp_path, video(FRAMES))
    both = truth(track_truth(FRAMES), track_truth(later))
    assert frame_ratio(both, recording, "user-1").missing == tuple(later)
    assert start_delays(both, recording, "user-1") == [0, math.inf]


def test_muted_pictures_are_not_expected(tmp_path: Path) -> None:
    recording = read(tmp_path, video(FRAMES[:20] + FRAMES[60:], late={}))
    mute = Interval(start=FRAMES[22] / FPS, end=FRAMES[58] / FPS)
    assert frame_ratio(TRUTH, recording, "user-1").ratio < 0.6
    assert frame_ratio(truth(track_truth(FRAMES, muted=(mute,))), recording, "user-1").ratio == 1


def test_pictures_that_come_twice_or_are_not_ones_own_are_found(tmp_path: Path) -> None:
    (tmp_path / "twice").mkdir()
    twice = read(tmp_path / "twice", joined(video(FRAMES[:30]), video(FRAMES[29:30], shift=1 / FPS)))
    assert frame_ratio(TRUTH, twice, "user-1").duplicated == (FRAMES[29],)
    foreign = read(tmp_path, joined(video(FRAMES[:30]), video(FRAMES[30:60], user=2)))
    assert len(frame_ratio(TRUTH, foreign, "user-1").foreign) == 30
    screen = read(tmp_path, joined(video(FRAMES[:30]), video(FRAMES[30:60], screen=True)))
    assert len(frame_ratio(TRUTH, screen, "user-1").foreign) == 30


@pytest.mark.parametrize("shift", [0.05, -0.05])
def test_sound_that_is_late_or_early_is_found(tmp_path: Path, shift: float) -> None:
    write(tmp_path, video(FRAMES), "video")
    write(tmp_path, audio(1, 6, shift=shift), "audio")
    recordings = read_folder(tmp_path)
    picture, sound = one(recordings, "user-1", "video"), one(recordings, "user-1", "audio")
    assert av_offset(TRUTH, picture, sound, "user-1") == pytest.approx([shift * 1000] * 6, abs=1)
    assert begin_error(TRUTH, sound, "user-1") == pytest.approx(shift * 1000, abs=1)


def test_a_user_whose_picture_is_late_is_found(tmp_path: Path) -> None:
    both = truth(track_truth(FRAMES), track_truth(FRAMES, user="user-2", number=2))
    a = read_playlist(write(tmp_path, video(FRAMES), "video"))
    b = read_playlist(write(tmp_path, video(FRAMES, user=2, shift=0.03), "video", user="user-2"))
    assert users_offset(both, a, "user-1", b, "user-2") == pytest.approx([30.0] * len(FRAMES), abs=1)


def test_a_wrong_begin_is_found(tmp_path: Path) -> None:
    write(tmp_path, video(FRAMES), "video", begin_shift=0.4)
    write(tmp_path, audio(1, 6), "audio")
    recordings = read_folder(tmp_path)
    picture = one(recordings, "user-1", "video")
    assert begin_error(TRUTH, picture, "user-1") == pytest.approx(400, abs=1)
    assert capture_errors(TRUTH, picture, "user-1")[-1] == pytest.approx(400, abs=1)
    assert date_errors(picture) == pytest.approx([-400] * 3, abs=1)
    assert epoch_spread(recordings.values()) == pytest.approx(400, abs=1)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_gap_at_a_joint_is_found(tmp_path: Path, kind: str, announced: bool) -> None:
    if kind == "video":
        parts = video(FRAMES[:30]), video(FRAMES[30:60], shift=0.5)
    else:
        parts = audio(1, 2), audio(3, 2, shift=0.5)
    recording = read(tmp_path, joined(*parts, discontinuity=announced), kind)
    assert [round(joint.gap, -2) for joint in joints(recording)] == [500]
    assert len(broken_joints(recording, 10)) == (not announced)
    assert len(gaps(recording, 0.3)) == 1


def test_an_overlap_at_a_joint_is_found(tmp_path: Path) -> None:
    recording = read(tmp_path, joined(audio(1, 2), audio(3, 2, shift=-0.1)), "audio")
    assert -130 < broken_joints(recording, 10)[0].gap < -90
    assert len(recording.sounds) == 2


def test_silence_that_was_filled_in_is_found(tmp_path: Path) -> None:
    recording = read(tmp_path, audio(1, 6, silent=(3.2, 3.4)), "audio")
    (span,) = silent(recording)
    assert span.start == pytest.approx(EPOCH + 3.2, abs=0.03)
    assert span.seconds == pytest.approx(0.2, abs=0.04)


def test_a_wrong_duration_is_found(tmp_path: Path) -> None:
    segments = [Made(m.data, m.start, m.seconds + 0.2) for m in video(FRAMES)]
    assert duration_errors(read(tmp_path, segments)) == pytest.approx([200] * 3, abs=1)


def test_lost_packets_are_found(tmp_path: Path) -> None:
    first, second, third = video(FRAMES)
    spoilt = second.data[: 188 * 60] + second.data[188 * 63 :]
    path = write(tmp_path, [first, Made(spoilt, second.start, second.seconds), third], "video")
    assert any("continuity counter" in fault for fault in read_playlist(path).faults)
    assert ffprobe_warnings(path)


def test_damaged_pictures_are_found(tmp_path: Path) -> None:
    first, second, third = video(FRAMES)
    data = bytearray(second.data)
    for at in range(188 * 4 + 60, 188 * 12, 188):  # inside the first keyframe
        data[at : at + 60] = bytes(255 - byte for byte in data[at : at + 60])
    path = write(tmp_path, [first, Made(bytes(data), second.start, second.seconds), third], "video")
    assert any("picture" in fault for fault in read_playlist(path).faults)
    assert ffprobe_warnings(path)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "whole number"),
        (b"\x47" * 100, "whole number"),
        (b"\x00" * 188, "without sync byte"),
        (b"\x47" + b"\x00" * 187, "cannot be read"),
    ],
)
def test_what_is_no_transport_stream_is_found(tmp_path: Path, data: bytes, complaint: str) -> None:
    first, second, *_ = video(FRAMES[:60])
    recording = read(tmp_path, [first, Made(data, second.start, second.seconds)])
    assert any(complaint in fault for fault in recording.faults)
    assert len(recording.segments) == 1


def test_a_segment_that_does_not_begin_with_a_keyframe_is_found(tmp_path: Path) -> None:
    early, late = video(FRAMES[:60], cut_every=4)[0], video(FRAMES[:60])
    cut = len(late[0].data)
    assert read(tmp_path, late).faults == []
    spoilt = [Made(early.data[:cut], early.start, 2), Made(early.data[cut:], late[1].start, 2)]
    assert any("does not begin with" in fault for fault in read(tmp_path, spoilt).faults)


def test_a_break_in_counters_between_segments_is_found_unless_announced(tmp_path: Path) -> None:
    first, second = video(FRAMES[:30]), video(FRAMES[30:60])
    recording = read(tmp_path, [*first, *second])
    assert any("continuity counter" in fault for fault in recording.faults)
    announced = [*first, *(Made(m.data, m.start, m.seconds, True) for m in second)]
    assert read(tmp_path, announced).faults == []


def test_time_stamps_wrap(tmp_path: Path) -> None:
    wrap = (1 << 33) / 90_000
    frames = [n + round(wrap * FPS) for n in FRAMES]
    shift = wrap - 3 + round(wrap * FPS) / FPS * -1
    recording = read(tmp_path, video(frames, shift=shift))
    assert recording.faults == []
    assert not broken_joints(recording, 1)
    assert recording.seconds == pytest.approx(6, abs=0.01)


def test_a_playlist_without_segments_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, video(FRAMES[:15]), "video")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if line.startswith("#EXT") and "EXTINF" not in line and "DATE" not in line)
    )
    with pytest.raises(PlaylistError, match="no segments"):
        read_playlist(path)


def test_without_ffprobe_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FFprobeMissing, match="apt-get install"):
        ffprobe_warnings(tmp_path / "x.m3u8")


def test_percentile() -> None:
    values = [*range(1, 100), -100]
    assert [percentile(values, part) for part in (0.5, 0.95, 1)] == [50, 95, 100]
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.95)
