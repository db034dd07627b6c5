"""File names against the guide's patterns and examples, and the decisions on what it leaves open."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.naming import (
    NAME_BYTES,
    FileKind,
    FileMedia,
    FileNames,
    decode_id,
    encode_id,
    key_prefix,
    parse_single,
    parse_utc_stamp,
    pod_name,
    robot_identity,
    room_fault,
    room_token,
    utc_stamp,
)
from cloudrec_contract.resources import Mode, RoomType

# The M3U8 sample of the guide: SdkAppId 1400123456, number room 12345, user 1686119.
GUIDE = FileNames(1400123456, "12345", RoomType.NUMBER)
GUIDE_START = parse_utc_stamp("20330531094551825")


def test_the_guides_sample_names() -> None:
    assert GUIDE.playlist("1686119", "main", "video") == (
        "1400123456_12345__UserId_s_MTY4NjExOQ..__UserId_e_main_video.m3u8"
    )
    for stamp in ("20330531094551825", "20330531094603825", "20330531094615764"):
        assert GUIDE.segment("1686119", "main", "video", parse_utc_stamp(stamp)) == (
            f"1400123456_12345__UserId_s_MTY4NjExOQ..__UserId_e_main_video_{stamp}.ts"
        )


# (pattern of the guide, how the name is made); <userid>, <roomid> … stand for what follows.
PATTERNS: list[tuple[str, str]] = [
    (
        "<prefix>/<taskid>/<sdkappid>_<roomid>__UserId_s_<userid>__UserId_e_<mediaid>_<type>.m3u8",
        GUIDE.playlist("1686119", "aux", "video"),
    ),
    (
        "<prefix>/<taskid>/<sdkappid>_<roomid>__UserId_s_<userid>__UserId_e_<mediaid>_<type>_<utc>.ts",
        GUIDE.segment("1686119", "aux", "video", GUIDE_START),
    ),
    (
        "<prefix>/<taskid>/<sdkappid>_<roomid>__UserId_s_<userid>__UserId_e_<mediaid>_<index>.mp4",
        GUIDE.file("1686119", "aux", 2),
    ),
    ("<prefix>/<taskid>/<sdkappid>_<roomid>.m3u8", GUIDE.mixed_playlist()),
    ("<prefix>/<taskid>/<sdkappid>_<roomid>_<utc>.ts", GUIDE.mixed_segment(GUIDE_START)),
    ("<prefix>/<taskid>/<sdkappid>_<roomid>_<index>.mp4", GUIDE.file(None, "mix", 2)),
    (
        "<prefix>/<taskid>/ha<1/2/3>_<sdkappid>_<roomid>__UserId_s_<userid>__UserId_e_<mediaid>_<type>.m3u8",
        FileNames(1400123456, "12345", RoomType.NUMBER, 1).playlist("1686119", "aux", "video"),
    ),
    (
        "<prefix>/<taskid>/ha<1/2/3>_<sdkappid>_<roomid>__UserId_s_<userid>__UserId_e_<mediaid>_<type>_<utc>.ts",
        FileNames(1400123456, "12345", RoomType.NUMBER, 1).segment("1686119", "aux", "video", GUIDE_START),
    ),
    (
        "<prefix>/<taskid>/ha<1/2/3>_<sdkappid>_<roomid>.m3u8",
        FileNames(1400123456, "12345", RoomType.NUMBER, 1).mixed_playlist(),
    ),
    (
        "<prefix>/<taskid>/ha<1/2/3>_<sdkappid>_<roomid>_<utc>.ts",
        FileNames(1400123456, "12345", RoomType.NUMBER, 1).mixed_segment(GUIDE_START),
    ),
]


@pytest.mark.parametrize(("pattern", "name"), PATTERNS, ids=[name for _, name in PATTERNS])
def test_every_pattern_of_the_guide(pattern: str, name: str) -> None:
    values = {
        "<prefix>": "a/b",
        "<taskid>": "7b1c",
        "<sdkappid>": "1400123456",
        "<roomid>": "12345",
        "<userid>": "MTY4NjExOQ..",
        "<mediaid>": "aux",
        "<type>": "video",
        "<utc>": "20330531094551825",
        "<index>": "2",
        "<1/2/3>": "1",
    }
    assert key_prefix(["a", "b"], "7b1c") + name == re.sub(r"<[^>]+>", lambda found: values[found[0]], pattern)


def test_prefix_may_be_left_out() -> None:
    assert key_prefix([], "7b1c") == "7b1c/"


@pytest.mark.parametrize("index", [1, 2, 3])
def test_recovered_files(index: int) -> None:
    names = FileNames(1400123456, "12345", RoomType.NUMBER, index)
    assert names.mixed_playlist() == f"ha{index}_1400123456_12345.m3u8"
    # A merged MP4 covers all attempts: never with ha. Its index is there only when it is split.
    assert names.file(None, "mix") == "1400123456_12345.mp4"
    assert names.file("1686119", "main") == "1400123456_12345__UserId_s_MTY4NjExOQ..__UserId_e_main.mp4"


def test_string_rooms_are_encoded_and_number_rooms_are_not() -> None:
    assert room_token("12345", RoomType.NUMBER) == "12345"
    assert room_token("12345", RoomType.STRING) == "MTIzNDU."
    assert FileNames(1, "room/1", RoomType.STRING).mixed_playlist() == "1_cm9vbS8x.m3u8"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("1686119", "MTY4NjExOQ.."),  # "=" as "."
        ("a?>", "YT8+"),  # "+" stays
        ("a??", "YT8-"),  # "/" as "-"
        ("", ""),
        ("用户", "55So5oi3"),
    ],
)
def test_encoding_of_ids(text: str, encoded: str) -> None:
    assert encode_id(text) == encoded
    assert decode_id(encoded) == text


@given(st.text())
def test_encoding_is_reversible_and_safe_in_a_key(text: str) -> None:
    encoded = encode_id(text)
    assert decode_id(encoded) == text
    assert re.fullmatch(r"[A-Za-z0-9+.\-]*", encoded)


def test_a_plus_is_percent_encoded_in_a_url() -> None:
    name = GUIDE.playlist("a?>", "main", "audio")
    assert "+" in name
    assert "YT8%2B" in quote(name, safe="")


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_utc_stamps(ms: int) -> None:
    assert re.fullmatch(r"\d{17}", utc_stamp(ms))
    assert parse_utc_stamp(utc_stamp(ms)) == ms


def test_utc_stamp_of_a_known_time() -> None:
    assert utc_stamp(1622425551884) == "20210531014551884"


@pytest.mark.parametrize("text", ["2033053109455182", "20331331094551825", "2033053109455182x", ""])
def test_wrong_stamps_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_utc_stamp(text)


@given(
    index=st.integers(0, 15),
    app=st.integers(1, 4294967295),
    room=st.text(min_size=1, max_size=60),
    user=st.text(min_size=1, max_size=60),
    media=st.sampled_from(["main", "aux"]),
    kind=st.sampled_from(["audio", "video", "audio_video"]),
    ms=st.integers(0, 4_102_444_800_000),
)
def test_names_can_be_taken_apart(
    index: int, app: int, room: str, user: str, media: FileMedia, kind: FileKind, ms: int
) -> None:
    names = FileNames(app, room, RoomType.STRING, index)
    parsed = parse_single(names.segment(user, media, kind, ms))
    assert (parsed.index, parsed.sdk_app_id, parsed.room) == (index, app, encode_id(room))
    assert (parsed.user_id, parsed.media, parsed.kind, parsed.start_ms) == (user, media, kind, ms)
    assert parse_single(names.playlist(user, media, kind)).start_ms is None


@pytest.mark.parametrize("name", ["1400123456_12345.m3u8", "x.ts", "", "1_2__UserId_s_!__UserId_e_main_video.m3u8"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse_single(name)


@given(
    room=st.text(min_size=1, max_size=40),
    index=st.integers(0, 15),
    media=st.sampled_from(["main", "aux"]),
    kind=st.sampled_from(["audio", "audio_video"]),
)
def test_the_longest_user_id_has_a_name_and_a_longer_one_has_none(
    room: str, index: int, media: FileMedia, kind: FileKind
) -> None:
    names = FileNames(1400123456, room, RoomType.STRING, index)
    longest = names.longest_user_id(media, kind)
    if longest > 0:
        assert len(names.segment("x" * longest, media, kind, 0)) <= NAME_BYTES
        assert len(names.playlist("x" * longest, media, kind)) <= NAME_BYTES
    assert len(names.segment("x" * (max(longest, 0) + 1), media, kind, 0)) > NAME_BYTES


def test_a_room_in_which_nothing_can_be_named() -> None:
    assert not room_fault(4294967295, "4294967295", RoomType.NUMBER)
    assert not room_fault(1400123456, "0b9d2c4e-0000-4000-8000-000000000001", RoomType.STRING)
    assert not room_fault(1400123456, "r" * 127, RoomType.STRING)
    assert "255 bytes" in room_fault(1400123456, "房" * 50, RoomType.STRING)


def test_a_mixed_files_name_has_room_for_longer_rooms() -> None:
    for letters in (54, 55):
        names = FileNames(1400123456, "房" * letters, RoomType.STRING, 15)
        fits = len(names.mixed_segment(GUIDE_START)) <= NAME_BYTES
        assert fits is not bool(room_fault(1400123456, "房" * letters, RoomType.STRING, Mode.MIXED))
        assert fits is (letters == 54)


def test_a_recorded_files_name_follows_from_the_mode() -> None:
    assert GUIDE.recorded(Mode.SINGLE, "anna", "main", "video") == GUIDE.playlist("anna", "main", "video")
    assert GUIDE.recorded(Mode.MIXED, "", "main", "audio_video") == GUIDE.mixed_playlist()


def test_kubernetes_names() -> None:
    assert pod_name("lesson-7", "0a1b2c3d-4e5f", 3) == "lesson-7-0a1b2-3"
    assert robot_identity("cloudrec", 0) == "cloudrec~0"
