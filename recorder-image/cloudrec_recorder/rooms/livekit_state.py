"""LiveKit's participants and reasons in the room's own terms. Pure: protobufs in, values out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiortc import RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri
from livekit.protocol.models import (
    DisconnectReason,
    Encryption,
    ParticipantInfo,
    TrackInfo,
    TrackSource,
    TrackType,
)
from livekit.protocol.rtc import JoinResponse, LeaveRequest

from cloudrec_recorder.media import Kind, Media, TrackKey
from cloudrec_recorder.rooms import Left, Published

log = logging.getLogger(__name__)

_AUX = frozenset({TrackSource.SCREEN_SHARE, TrackSource.SCREEN_SHARE_AUDIO})


@dataclass(frozen=True, slots=True)
class Rejoin:
    """The connection is over, the recording is not. `emptied`: there is no room, and so nobody in it."""

    reason: str  # a condition's reason: LiveKitUnreachable, MediaUnreachable
    message: str
    emptied: bool = False


def outcome_of_leave(leave: LeaveRequest, *, anchors: bool) -> Left | Rejoin:
    """What a LeaveRequest of the server means; `anchors`: somebody who may publish was in the room."""
    reason = leave.reason
    name = DisconnectReason.Name(reason) if reason in DisconnectReason.values() else str(reason)
    message = f"the media server ended the connection: {name}"
    match reason:
        case DisconnectReason.PARTICIPANT_REMOVED:
            return Left(1, "RemovedByApi", "the robot was removed by the room's API")
        case DisconnectReason.ROOM_DELETED:
            return Left(2, "RoomDeleted", "the room was deleted by the room's API")
        case DisconnectReason.DUPLICATE_IDENTITY:
            return Left(101, "RepeatedEntry", "another robot entered the room under the same identity")
        case DisconnectReason.USER_REJECTED:
            return Left(3, "RemovedByServer", message)
        case DisconnectReason.ROOM_CLOSED if anchors:
            return Left(4, "RoomClosed", message)
        case DisconnectReason.ROOM_CLOSED:
            return Rejoin("LiveKitUnreachable", "the media server closed the empty room", emptied=True)
        case DisconnectReason.JOIN_FAILURE | DisconnectReason.MEDIA_FAILURE | DisconnectReason.CONNECTION_TIMEOUT:
            return Rejoin("MediaUnreachable", message)
        case _:
            return Rejoin("LiveKitUnreachable", message)


class Roster:
    """Who is in the room and what they publish, kept from JoinResponse and ParticipantUpdates."""

    def __init__(self) -> None:
        self._own = ""
        self._participants: dict[str, ParticipantInfo] = {}

    def reset(self, own_identity: str, participants: Iterable[ParticipantInfo]) -> None:
        """The robot has joined anew, as `own_identity`."""
        self._own = own_identity
        self._participants = {}
        self.update(participants)

    def update(self, participants: Iterable[ParticipantInfo]) -> None:
        """Take a ParticipantUpdate; older news about a participant than what is known is ignored."""
        for news in participants:
            known = self._participants.get(news.sid)
            if known is not None and news.version < known.version:
                continue
            if news.state == ParticipantInfo.State.DISCONNECTED:
                self._participants.pop(news.sid, None)
            elif not self._is_robot(news):
                self._participants[news.sid] = news
            else:
                self._participants.pop(news.sid, None)

    def _is_robot(self, participant: ParticipantInfo) -> bool:
        """Hidden ones, recorders, and the other attempts of our own task (`<robot>~<attempt>`)."""
        permission = participant.permission
        if permission.hidden or permission.recorder or participant.kind == ParticipantInfo.Kind.EGRESS:
            return True
        robot, attempt, _ = self._own.rpartition("~")
        return participant.identity == self._own or (bool(attempt) and participant.identity.startswith(robot + attempt))

    def anchors(self) -> frozenset[str]:
        """Identities of those who may publish; an agent left alone does not keep a room going."""
        return frozenset(
            participant.identity
            for participant in self._participants.values()
            if participant.permission.can_publish and participant.kind != ParticipantInfo.Kind.AGENT
        )

    def tracks(self) -> dict[str, tuple[Published, str]]:
        """What can be recorded, by track sid, with its participant's sid; one track for each key.

        Of several (a second camera, or the old session of somebody who has just come back) the newest session's
        first one counts. In the order in which their publishers came.
        """
        chosen: dict[TrackKey, tuple[Published, str]] = {}
        for participant in sorted(self._participants.values(), key=_joined):
            first: dict[TrackKey, tuple[Published, str]] = {}
            for track in participant.tracks:
                published = _published(participant.identity, track)
                if published is not None:
                    first.setdefault(published.key, (published, participant.sid))
            chosen |= first
        return {published.sid: (published, sid) for published, sid in chosen.values()}

    def identities(self) -> Mapping[str, str]:
        """Participant sid to identity."""
        return {sid: participant.identity for sid, participant in self._participants.items()}


def _joined(participant: ParticipantInfo) -> tuple[int, str]:
    return participant.joined_at_ms or participant.joined_at * 1000, participant.sid


def _published(identity: str, track: TrackInfo) -> Published | None:
    """None for what cannot be recorded: data, and what only the users have the keys of."""
    if track.type not in (TrackType.AUDIO, TrackType.VIDEO):
        return None
    if track.encryption != Encryption.Type.NONE:
        log.debug("track %s is end-to-end encrypted", track.sid)
        return None
    kind: Kind = "audio" if track.type == TrackType.AUDIO else "video"
    media: Media = "aux" if track.source in _AUX else "main"
    return Published(
        sid=track.sid,
        key=TrackKey(identity, media, kind),
        codec=track.mime_type.rpartition("/")[2].upper(),
        width=track.width,
        height=track.height,
        muted=track.muted,
    )


def turn_servers(join: JoinResponse) -> list[RTCIceServer]:
    """The TURN servers of a join response; STUN is not needed to reach a public server."""
    servers = []
    for server in join.ice_servers:
        urls = []
        for url in server.urls:
            with contextlib.suppress(ValueError):
                if parse_stun_turn_uri(url)["scheme"].startswith("turn"):
                    urls.append(url)
        if urls:
            servers.append(RTCIceServer(urls, server.username, server.credential))
    return servers
