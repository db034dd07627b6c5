"""Names, and one playlist of several attempts."""

from __future__ import annotations

from cloudrec_contract.finish import Output, StoredFile
from cloudrec_contract.naming import FileNames
from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.resources import RoomType
from cloudrec_recorder.finisher import facts
from cloudrec_recorder.finisher.wanted import Whose, bounded, joined, of_name
from tests.unit.finisher.desk import MP4

WHOSE = Whose("alice", "main")


def playlist(attempt: int, *times: tuple[float, float], width: int = 640) -> tuple[str, bytes, list[str]]:
    """Name, text and segments; `times` are starts and durations in seconds."""
    names = FileNames(1400000001, "12345", RoomType.NUMBER, attempt)
    made = [
        Segment(names.segment("alice", "main", "audio_video", at * 1000), duration, at * 1000) for at, duration in times
    ]
    text = Playlist(round(times[0][0] * 1000), width, 360, segments=tuple(made)).render()
    return names.playlist("alice", "main", "audio_video"), text.encode(), [segment.name for segment in made]


def join(*lists: tuple[str, bytes, list[str]], gone: tuple[str, ...] = ()) -> Playlist | None:
    sizes = {name: 7 for _, _, names in lists for name in names if name not in gone}
    return joined({name: text for name, text, _ in lists}, sizes, WHOSE)


def starts(found: Playlist | None) -> list[tuple[float, bool]]:
    assert found is not None
    return [(segment.start_ms / 1000, segment.discontinuity) for segment in found.segments]


def test_an_older_attempt_goes_first_and_a_newer_one_fills_its_holes() -> None:
    old = playlist(0, (100, 10), (110, 10), (140, 10))
    new = playlist(1, (115, 10), (125, 10), (135, 10), (145, 10), (155, 0.3), width=1280)
    found = join(old, new)
    assert starts(found) == [
        (100, False),
        (110, False),
        (115, True),
        (125, False),
        (135, False),
        (140, True),
        (145, True),
        (155, False),
    ]
    assert found is not None
    assert (found.begin_ms, found.width, found.ended) == (100_000, 640, True)


def test_what_an_older_attempt_has_is_not_repeated() -> None:
    found = join(playlist(0, (100, 10), (110, 10)), playlist(1, (101, 9.1), (110.2, 10)))
    assert starts(found) == [(100, False), (110, False)]


def test_missing_segments_leave_a_jump_that_a_newer_attempt_may_fill() -> None:
    old = playlist(0, (100, 10), (110, 10), (120, 10))
    assert starts(join(old, gone=(old[2][1],))) == [(100, False), (120, True)]
    new = playlist(1, (110, 10))
    assert starts(join(old, new, gone=(old[2][1],))) == [(100, False), (110, True), (120, True)]
    assert join(old, gone=tuple(old[2])) is None


def test_whose_a_file_is() -> None:
    assert of_name("ha1_1400000001_12345__UserId_s_YWxpY2U.__UserId_e_aux_video.m3u8") == Whose("alice", "aux")
    assert of_name("1400000001_12345.m3u8") == Whose(None, "main")
    assert of_name("outputs.json") is None


def test_a_long_list_of_faults_is_cut() -> None:
    assert bounded(["a", "b", "a"]) == ("a", "b")
    assert bounded(map(str, range(150)))[-1] == "and 50 more"


def test_an_event_that_would_be_too_large_is_without_file_messages() -> None:
    file = StoredFile(name="x" * 100, bytes=1, start=1, end=2)
    output = Output(user_id="alice", media="main", format=MP4, kind="video", files=[file] * 300)
    assert "FileMessage" not in facts.mp4_stop([output], 0)
    assert len(facts.mp4_stop([output], 0)["FileList"]) == 300
    output.files = [file] * 100
    assert len(facts.mp4_stop([output], 0)["FileMessage"]) == 100
