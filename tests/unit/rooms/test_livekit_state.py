from __future__ import annotations

import pytest
from livekit.protocol.models import (
    DisconnectReason,
    Encryption,
    ParticipantInfo,
    ParticipantPermission,
    TrackInfo,
    TrackSource,
    TrackType,
)
from livekit.protocol.rtc import LeaveRequest

from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.rooms import Left
from cloudrec_recorder.rooms.livekit_state import Rejoin, Roster, outcome_of_leave

Kind = ParticipantInfo.Kind


def person(
    identity: str,
    *tracks: TrackInfo,
    sid: str = "",
    joined: int = 1,
    version: int = 0,
    kind: int = Kind.STANDARD,
    state: int = ParticipantInfo.State.ACTIVE,
    **permission: bool,
) -> ParticipantInfo:
    return ParticipantInfo(
        sid=sid or f"PA_{identity}",
        identity=identity,
        state=state,
        tracks=tracks,
        joined_at_ms=joined,
        version=version,
        kind=kind,
        permission=ParticipantPermission(**{"can_publish": True, **permission}),
    )


def track(sid: str, source: int, *, video: bool = True, **more: object) -> TrackInfo:
    kind = TrackType.VIDEO if video else TrackType.AUDIO
    return TrackInfo(sid=sid, source=source, type=kind, **more)  # type: ignore[arg-type]


def roster(*people: ParticipantInfo, own: str = "robot~1") -> Roster:
    made = Roster()
    made.reset(own, people)
    return made


@pytest.mark.parametrize(
    ("reason", "anchors", "code", "name"),
    [
        (DisconnectReason.PARTICIPANT_REMOVED, True, 1, "RemovedByApi"),
        (DisconnectReason.ROOM_DELETED, True, 2, "RoomDeleted"),
        (DisconnectReason.ROOM_DELETED, False, 2, "RoomDeleted"),
        (DisconnectReason.DUPLICATE_IDENTITY, True, 101, "RepeatedEntry"),
        (DisconnectReason.USER_REJECTED, True, 3, "RemovedByServer"),
        (DisconnectReason.ROOM_CLOSED, True, 4, "RoomClosed"),
    ],
)
def test_reasons_that_end_it(reason: int, anchors: bool, code: int, name: str) -> None:
    outcome = outcome_of_leave(LeaveRequest(reason=reason), anchors=anchors)  # type: ignore[arg-type]
    assert isinstance(outcome, Left)
    assert (outcome.code, outcome.reason) == (code, name)


@pytest.mark.parametrize(
    ("reason", "condition", "emptied"),
    [
        (DisconnectReason.ROOM_CLOSED, "LiveKitUnreachable", True),
        (DisconnectReason.SERVER_SHUTDOWN, "LiveKitUnreachable", False),
        (DisconnectReason.STATE_MISMATCH, "LiveKitUnreachable", False),
        (DisconnectReason.MIGRATION, "LiveKitUnreachable", False),
        (DisconnectReason.SIGNAL_CLOSE, "LiveKitUnreachable", False),
        (DisconnectReason.UNKNOWN_REASON, "LiveKitUnreachable", False),
        (DisconnectReason.JOIN_FAILURE, "MediaUnreachable", False),
        (DisconnectReason.CONNECTION_TIMEOUT, "MediaUnreachable", False),
        (DisconnectReason.MEDIA_FAILURE, "MediaUnreachable", False),
        (99, "LiveKitUnreachable", False),
    ],
)
def test_reasons_to_come_back(reason: int, condition: str, emptied: bool) -> None:
    outcome = outcome_of_leave(LeaveRequest(reason=reason), anchors=False)  # type: ignore[arg-type]
    assert isinstance(outcome, Rejoin)
    assert (outcome.reason, outcome.emptied) == (condition, emptied)


def test_every_reason_has_an_outcome() -> None:
    for reason in DisconnectReason.values():
        assert outcome_of_leave(LeaveRequest(reason=reason), anchors=True).message


def test_anchors_are_those_who_may_publish() -> None:
    room = roster(
        person("anna"),
        person("joining", state=ParticipantInfo.State.JOINING),
        person("phone", kind=Kind.SIP),
        person("listener", can_publish=False),
        person("ghost", hidden=True),
        person("other-recorder", recorder=True),
        person("egress", kind=Kind.EGRESS),
        person("agent", kind=Kind.AGENT),
        person("robot~1"),
        person("robot~2"),
        person("robotina"),
    )
    assert room.anchors() == {"anna", "joining", "phone", "robotina"}


def test_a_robot_without_an_attempt_excludes_itself_only() -> None:
    assert roster(person("robot"), person("robot2"), own="robot").anchors() == {"robot2"}


def test_keys_of_tracks() -> None:
    room = roster(
        person(
            "anna",
            track("TR_cam", TrackSource.CAMERA, mime_type="video/H264", width=640, height=360, muted=True),
            track("TR_mic", TrackSource.MICROPHONE, video=False, mime_type="audio/red"),
            track("TR_screen", TrackSource.SCREEN_SHARE, mime_type="video/VP8"),
            track("TR_sound", TrackSource.SCREEN_SHARE_AUDIO, video=False),
            TrackInfo(sid="TR_data", type=TrackType.DATA),
        ),
        person("ben", track("TR_some", TrackSource.UNKNOWN)),
        person("eve", track("TR_secret", TrackSource.CAMERA, encryption=Encryption.Type.GCM)),
        person("agent", track("TR_voice", TrackSource.MICROPHONE, video=False), kind=Kind.AGENT),
    )
    found = {sid: published.key for sid, (published, _) in room.tracks().items()}
    assert found == {
        "TR_cam": TrackKey("anna", "main", "video"),
        "TR_mic": TrackKey("anna", "main", "audio"),
        "TR_screen": TrackKey("anna", "aux", "video"),
        "TR_sound": TrackKey("anna", "aux", "audio"),
        "TR_some": TrackKey("ben", "main", "video"),
        "TR_voice": TrackKey("agent", "main", "audio"),
    }
    camera, owner = room.tracks()["TR_cam"]
    assert (camera.codec, camera.width, camera.height, camera.muted, owner) == ("H264", 640, 360, True, "PA_anna")


def test_one_track_for_each_key_the_newest_sessions_first() -> None:
    old = person("anna", track("TR_old", TrackSource.CAMERA), sid="PA_1", joined=1)
    new = person("anna", track("TR_new", TrackSource.CAMERA), track("TR_2nd", TrackSource.CAMERA), sid="PA_2", joined=2)
    room = roster(old)
    assert set(room.tracks()) == {"TR_old"}
    room.update([new])
    assert set(room.tracks()) == {"TR_new"}
    assert room.anchors() == {"anna"}
    room.update([person("anna", sid="PA_1", state=ParticipantInfo.State.DISCONNECTED)])
    assert set(room.tracks()) == {"TR_new"}
    assert room.anchors() == {"anna"}


def test_tracks_come_in_the_order_of_their_publishers() -> None:
    late = person("zoe", track("TR_a", TrackSource.CAMERA), joined=3)
    first = person("mia", track("TR_z", TrackSource.CAMERA), track("TR_b", TrackSource.MICROPHONE), joined=1)
    second = person("ann", track("TR_m", TrackSource.CAMERA), joined=2)
    room = roster(late, second, first)
    assert [key.user_id for key in (t.key for t, _ in room.tracks().values())] == ["mia", "ann", "zoe"]
    room.update([person("mia", track("TR_c", TrackSource.CAMERA), sid="PA_again", joined=4)])
    assert list(room.tracks()) == ["TR_c", "TR_m", "TR_a"]


def test_updates() -> None:
    room = roster(person("anna", version=3))
    room.update([person("anna", track("TR_1", TrackSource.CAMERA), version=4)])
    room.update([person("anna", version=2)])
    assert set(room.tracks()) == {"TR_1"}
    assert room.identities() == {"PA_anna": "anna"}
    room.update([person("anna", version=5, hidden=True)])
    assert not room.anchors()
    room.update([person("ben"), person("carl", state=ParticipantInfo.State.DISCONNECTED)])
    assert room.anchors() == {"ben"}
    room.reset("robot~2", [])
    assert not room.anchors()
