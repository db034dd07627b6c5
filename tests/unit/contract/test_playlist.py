"""Playlists: the guide's sample, RFC 8216, and growth without rewriting."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.playlist import Playlist, Segment, parse

SAMPLE = (Path(__file__).parent / "guide" / "sample.m3u8").read_text()
NAME = "1400123456_12345__UserId_s_MTY4NjExOQ..__UserId_e_main_video_{}.ts"


def test_the_guides_sample_is_read() -> None:
    playlist = parse(SAMPLE)
    assert playlist.begin_ms == 1622425551884
    assert (playlist.width, playlist.height) == (1920, 1080)
    assert playlist.ended
    assert [(s.name, s.duration) for s in playlist.segments] == [
        (NAME.format("20330531094551825"), 12.074),
        (NAME.format("20330531094603825"), 11.901),
        (NAME.format("20330531094615764"), 12.076),
    ]
    # Without dates of their own, segments follow each other from the begin.
    assert playlist.segments[1].start_ms == pytest.approx(1622425551884 + 12074)


def test_what_is_written_has_all_tags_of_the_sample() -> None:
    written = parse(SAMPLE).render().splitlines()
    for line in SAMPLE.splitlines():
        if line.startswith("#EXTINF"):
            line += ","  # RFC 8216 section 4.3.2.1
        if line.startswith("#EXT-X-TARGETDURATION"):
            line = "#EXT-X-TARGETDURATION:13"  # section 4.3.3.1: at least the longest segment, rounded
        assert line in written
    assert written[:2] == ["#EXTM3U", "#EXT-X-VERSION:3"]
    assert written[-1] == "#EXT-X-ENDLIST"


def test_audio_has_its_own_metadata_and_none_of_video() -> None:
    text = Playlist(begin_ms=1, sample_rate=48000, channels=2).render()
    assert "#EXT-X-TRTC-AUDIO-METADATA:SAMPLERATE:48000 CHANNELS:2\n" in text
    assert "VIDEO-METADATA" not in text


def test_discontinuity_and_date_stand_before_their_segment() -> None:
    text = Playlist(1, segments=(Segment("a.ts", 10.0, 0), Segment("b.ts", 3.5, 12_000.4, True))).render()
    assert text.endswith(
        "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z\n#EXTINF:10.000,\na.ts\n"
        "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:12.000Z\n#EXTINF:3.500,\nb.ts\n"
    )


def test_a_plus_in_a_name_is_encoded() -> None:
    text = Playlist(1, segments=(Segment("YT8+.ts", 1.0, 0),)).render()
    assert "YT8%2B.ts\n" in text
    assert parse(text).segments[0].name == "YT8+.ts"


def test_target_duration_is_never_below_a_segment() -> None:
    assert "#EXT-X-TARGETDURATION:10\n" in Playlist(1, segments=(Segment("a.ts", 2.0, 0),)).render()
    assert "#EXT-X-TARGETDURATION:12\n" in Playlist(1, segments=(Segment("a.ts", 11.6, 0),)).render()


def test_nothing_follows_the_end() -> None:
    with pytest.raises(ValueError, match="ended"):
        Playlist(1).end().append(Segment("a.ts", 1.0, 0))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "begins with"),
        ("#EXTM3U\na.ts\n", "line 2: a segment without"),
        ("#EXTM3U\n#EXTINF:x,\na.ts\n", "line 2"),
        ("#EXTM3U\n#EXT-X-TRTC-VIDEO-METADATA:1920x1080\n", "line 2: malformed"),
        ("#EXTM3U\n#EXT-X-ENDLIST\n#EXTINF:1,\n", "line 3: after"),
    ],
)
def test_damaged_playlists_are_refused_with_the_line(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse(text)


segments = st.lists(
    st.builds(
        Segment,
        name=st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="+._-"), min_size=1).filter(
            lambda name: not name.startswith("#")
        ),
        duration=st.integers(0, 60_000).map(lambda ms: ms / 1000),
        start_ms=st.integers(0, 4_102_444_800_000).map(float),
        discontinuity=st.booleans(),
    ),
    max_size=8,
)


@given(segments, st.booleans())
def test_what_is_written_can_be_read(parts: list[Segment], ended: bool) -> None:
    playlist = Playlist(5, 640, 360, 48000, 2, tuple(parts), ended)
    assert parse(playlist.render()) == playlist


@given(segments)
def test_a_playlist_only_grows(parts: list[Segment]) -> None:
    playlist = Playlist(5)
    bodies = [playlist.render().partition("START-REC-TIME:")[2]]
    for segment in parts:
        playlist = playlist.append(segment)
        body = playlist.render().partition("START-REC-TIME:")[2]
        assert body.startswith(bodies[-1])
        bodies.append(body)
    assert playlist.end().render().partition("START-REC-TIME:")[2] == bodies[-1] + "#EXT-X-ENDLIST\n"
