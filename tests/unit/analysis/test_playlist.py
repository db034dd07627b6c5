"""The strict reading of playlists: what is right is read, and each thing that can be wrong is refused."""

from __future__ import annotations

import re

import pytest

from cloudrec_local.playback.playlist import PlaylistError, parse

GOOD = """\
#EXTM3U
#EXT-X-VERSION:3
#EXT-X-ALLOW-CACHE:NO
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-TARGETDURATION:11
#EXT-X-TRTC-START-REC-TIME:1622425551884
#EXT-X-TRTC-VIDEO-METADATA:WIDTH:1920 HEIGHT:1080
#EXT-X-PROGRAM-DATE-TIME:2021-05-31T01:45:51.884Z
#EXTINF:10.500,
1400123456_12345__UserId_s_MTY4NjExOQ..__UserId_e_main_video_20210531014551884.ts
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2021-05-31T01:46:03.884Z
#EXTINF:9.000,
1400123456_12345__UserId_s_YSt%2BYg..__UserId_e_main_video_20210531014603884.ts
#EXT-X-ENDLIST
"""


def test_reads_what_is_right() -> None:
    playlist = parse(GOOD)
    assert playlist.start == 1622425551.884
    assert playlist.target_duration == 11
    assert playlist.size == (1920, 1080)
    assert playlist.ended
    assert [entry.duration for entry in playlist.entries] == [10.5, 9.0]
    assert [entry.wall for entry in playlist.entries] == [1622425551.884, 1622425563.884]
    assert [entry.discontinuity for entry in playlist.entries] == [False, True]
    assert "YSt+Yg.." in playlist.entries[1].name


def test_reads_a_playlist_that_still_grows() -> None:
    assert not parse(GOOD.replace("#EXT-X-ENDLIST\n", "")).ended


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("#EXTM3U\n", "", "line 1: not #EXTM3U"),
        ("#EXT-X-VERSION:3", "#EXT-X-VERSION:7", "line 2: not 3"),
        ("#EXT-X-ALLOW-CACHE:NO\n", "", "missing: #EXT-X-ALLOW-CACHE"),
        ("#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-MEDIA-SEQUENCE:1", "line 4: not 0"),
        ("#EXT-X-TARGETDURATION:11", "#EXT-X-TARGETDURATION:10", "longer than the target duration"),
        ("#EXT-X-TARGETDURATION:11", "#EXT-X-TARGETDURATION:eleven", "header"),
        ("#EXT-X-TRTC-START-REC-TIME:1622425551884\n", "", "missing: #EXT-X-TRTC-START-REC-TIME"),
        ("REC-TIME:1622425551884", "REC-TIME:soon", "header"),
        ("WIDTH:1920 HEIGHT:1080", "1920x1080", "header: malformed"),
        ("#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n#EXT-X-VERSION:3\n", "line 3: twice"),
        ("#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n#EXT-X-MAP:x\n", "line 3: unknown tag"),
        ("#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n\n", "line 3: a segment without #EXTINF"),
        ("#EXTINF:10.500,\n", "#EXTINF:10.500\n", "line 9: malformed"),
        ("#EXTINF:10.500,\n", "#EXTINF:0,\n", "line 9: a segment without duration"),
        ("#EXTINF:10.500,\n", "#EXTINF:1.0,\n#EXTINF:10.500,\n", "line 10: two #EXTINF"),
        ("#EXTINF:10.500,\n", "", "line 9: a segment without #EXTINF"),
        ("\n1400123456_12345__UserId_s_MTY", "\n/a/1400123456_12345__UserId_s_MTY", "line 10: not the percent-encoded"),
        ("YSt%2BYg", "YSt+Yg", "line 14: not the percent-encoded"),
        ("2021-05-31T01:45:51.884Z", "2021-05-31 01:45:51", "line 8: malformed"),
        ("T01:46:03.884Z", "T01:45:03.884Z", "begins before"),
        ("\n#EXT-X-ENDLIST\n", "\n#EXT-X-ENDLIST\n#EXTINF:1.0,\n", "line 16: after #EXT-X-ENDLIST"),
        ("#EXT-X-ENDLIST\n", "#EXTINF:1.0,\n#EXT-X-ENDLIST\n", "line 16: the segment before has no name"),
        ("#EXT-X-ENDLIST\n", "#EXTINF:1.0,\n", "the last segment has no name"),
        ("#EXT-X-ENDLIST\n", "#EXT-X-ENDL", "cut off"),
        ("#EXT-X-ENDLIST\n", "#EXT-X-ALLOW-CACHE:NO\n", "line 15: twice"),
        ("#EXT-X-ENDLIST\n", "#EXT-X-PLAYLIST-TYPE:EVENT\n", "line 15: a header after the first segment"),
        ("YSt%2BYg..__UserId_e_main_video_20210531014603", "MTY4NjExOQ..__UserId_e_main_video_20210531014551", "twice"),
    ],
)  # fmt: skip
def test_refuses_what_is_wrong(old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(PlaylistError, match=re.escape(complaint)):
        parse(GOOD.replace(old, new, 1))
