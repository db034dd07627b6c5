from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.resources import StreamKind, StreamMedia, Streams, Subscription, UserList
from cloudrec_recorder.media import Kind, Media, TrackKey
from cloudrec_recorder.rooms import Published
from cloudrec_recorder.subscription import Choice, allowed, choose


def track(user: str, media: Media = "main", kind: Kind = "video", sid: str = "") -> Published:
    return Published(sid or f"{user}/{media}/{kind}", TrackKey(user, media, kind), "")


def everything(*users: str) -> list[Published]:
    kinds: tuple[Kind, ...] = ("audio", "video")
    media: tuple[Media, ...] = ("main", "aux")
    return [track(user, m, k) for user in users for m in media for k in kinds]


NOTHING = Choice()


def chosen(streams: Streams, tracks: list[Published], before: Choice = NOTHING, limit: int = 25) -> Choice:
    return choose(streams, tracks, {t.key.user_id for t in tracks}, before, limit)


def test_everything_by_default() -> None:
    tracks = everything("alice", "bob")
    assert chosen(Streams(), tracks).sids == {t.sid for t in tracks}


def test_kind_and_media() -> None:
    tracks = everything("alice")
    assert chosen(Streams(kind=StreamKind.AUDIO), tracks).sids == {"alice/main/audio", "alice/aux/audio"}
    assert chosen(Streams(kind=StreamKind.VIDEO), tracks).sids == {"alice/main/video", "alice/aux/video"}
    assert chosen(Streams(media=StreamMedia.MAIN), tracks).sids == {"alice/main/audio", "alice/main/video"}
    assert chosen(Streams(media=StreamMedia.AUX), tracks).sids == {"alice/aux/audio", "alice/aux/video"}


def test_lists_of_audio_and_video_are_apart() -> None:
    streams = Streams(
        subscribe=Subscription(audio=UserList(include=["alice"]), video=UserList(exclude=["alice"])),
        media=StreamMedia.MAIN,
    )
    assert chosen(streams, everything("alice", "bob")).sids == {"alice/main/audio", "bob/main/video"}


def test_an_empty_list_includes_nobody_and_excludes_nobody() -> None:
    assert not allowed(UserList(include=[]), "alice", {"alice"})
    assert allowed(UserList(exclude=[]), "alice", {"alice"})


def test_prefixes() -> None:
    users = UserList(include=["teacher_.*$", "bob"])
    present = {"teacher_1", "teacher_", "bob", "bobby", "my_teacher_1"}
    assert {user for user in present if allowed(users, user, present)} == {"teacher_1", "teacher_", "bob"}


def test_a_user_of_that_literal_name_is_meant_alone() -> None:
    users = UserList(exclude=["teacher_.*$"])
    present = {"teacher_1", "teacher_.*$"}
    assert {user for user in present if allowed(users, user, present)} == {"teacher_1"}


def test_nothing_else_of_a_pattern_is_one() -> None:
    users = UserList(include=["a.c", "a*$", "[ab]"])
    assert not any(allowed(users, user, set()) for user in ("abc", "a", "aa", "b"))


def test_slots_go_to_the_first_and_stay_with_them() -> None:
    tracks = everything("alice", "bob", "carol")
    before = chosen(Streams(), tracks, limit=3)
    assert before.streams == (("alice", "main"), ("alice", "aux"), ("bob", "main"))
    assert before.waiting == (("bob", "aux"), ("carol", "main"), ("carol", "aux"))
    later = chosen(Streams(), everything("aaron") + tracks[2:], before, limit=3)
    assert later.streams == (("alice", "aux"), ("bob", "main"), ("bob", "aux"))
    assert later.waiting == (("carol", "main"), ("carol", "aux"), ("aaron", "main"), ("aaron", "aux"))


def test_a_republished_track_takes_its_predecessors_slot() -> None:
    before = chosen(Streams(), [track("alice", sid="old"), track("bob")], limit=1)
    after = chosen(Streams(), [track("bob"), track("alice", sid="new")], before, limit=1)
    assert after.sids == {"new"}


USERS = st.sampled_from([f"u{n}" for n in range(12)])
TRACKS = st.lists(
    st.builds(track, USERS, st.sampled_from(["main", "aux"]), st.sampled_from(["audio", "video"])),
    max_size=40,
    unique_by=lambda t: t.sid,
)


@given(st.lists(TRACKS, min_size=1, max_size=5), st.integers(1, 6))
def test_never_more_than_the_slots_and_nobody_loses_one(rounds: list[list[Published]], limit: int) -> None:
    choice = Choice()
    for tracks in rounds:
        after = chosen(Streams(), tracks, choice, limit)
        present = {(t.key.user_id, t.key.media) for t in tracks}
        assert len(after.streams) <= limit
        assert set(after.streams) | set(after.waiting) == present
        assert not set(after.streams) & set(after.waiting)
        assert set(choice.streams) & present <= set(after.streams)
        assert not after.waiting or len(after.streams) == limit
        assert after.sids == {t.sid for t in tracks if (t.key.user_id, t.key.media) in after.streams}
        choice = after
