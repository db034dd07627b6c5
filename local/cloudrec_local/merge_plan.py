"""Which files `cloudrec merge` makes of which streams. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from cloudrec_contract.manifest import MANIFEST
from cloudrec_contract.naming import encode_id, utc_stamp
from cloudrec_recorder.convert.plan import Fault, Planned, Stream, closed_up, sections, within
from cloudrec_recorder.convert.recode import Encoding

FPS: Final = 15
FPS_LEAST, FPS_MOST = 5, 120
PLAYERS: Final = "play_"
"""How the playlists begin that `cloudrec fetch` writes (`fetch.PLAYER_PREFIX`, whose imports take two seconds)."""
_OURS = re.compile(r"_(av|aux|main)\.mp4$")


class Mode(IntEnum):
    """A file for each section, or one for each user."""

    SECTION = 0
    USER = 1


class Audio(IntEnum):
    """Which pictures a user's sound is merged with."""

    MAIN = 0
    AUTOMATIC = 1
    AUX = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    mode: Mode = Mode.SECTION
    drop_blanks: bool = False
    audio: Audio = Audio.MAIN
    fps: int | None = None
    size: tuple[int, int] | None = None

    @property
    def encoding(self) -> Encoding | None:
        """None when neither a rate nor a size is asked for: nothing is encoded anew then that need not be."""
        if self.fps is None and self.size is None:
            return None
        return Encoding(self.size, min(max(self.fps or FPS, FPS_LEAST), FPS_MOST))


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be made."""

    name: str
    stream: Stream


def jobs(streams: Iterable[Stream], wanted: Wanted) -> list[Job]:
    """The files of all users, in the order of their ids. Mixed streams have nothing to be merged."""
    users: dict[tuple[int, str, str], dict[str, Stream]] = defaultdict(dict)
    for stream in streams:
        if stream.user_id is not None:
            users[(stream.sdk_app_id, stream.room, stream.user_id)][stream.media] = stream
    rooms = {(app, room) for app, room, _ in users}
    made: list[Job] = []
    for (app, room, user), medias in sorted(users.items(), key=lambda item: (item[0][2], item[0])):
        head = f"{app}_{room}_" if len(rooms) > 1 else ""
        for stamp, files in _in_time(_files(Stream(app, room, user, "main"), medias, wanted.audio), wanted):
            made += [Job(f"{head}{encode_id(user)}{stamp}_{kind}.mp4", stream) for kind, stream in files.items()]
    return made


def _files(nothing: Stream, medias: dict[str, Stream], audio: Audio) -> dict[str, Stream]:
    """`av`, and the stream that the sound is not merged with, by their names' ends."""
    main, aux = medias.get("main", nothing), medias.get("aux", replace(nothing, media="aux"))
    with_aux = audio is Audio.AUX or (audio is Audio.AUTOMATIC and not main.video)
    pictures, other = (aux, main) if with_aux else (main, aux)
    # A screen's own sound stays with the screen, unless there is no other.
    sound = main.audio or (aux.audio if with_aux else ())
    files = {
        "av": replace(pictures, video=pictures.video, audio=sound),
        other.media: replace(other, audio=() if other is main else aux.audio),
    }
    return {kind: stream for kind, stream in files.items() if stream.video or stream.audio}


def _in_time(files: dict[str, Stream], wanted: Wanted) -> Iterable[tuple[str, dict[str, Stream]]]:
    """Cut into sections, or with the blanks closed up."""
    every = [use for stream in files.values() for use in (*stream.video, *stream.audio)]
    stretches = sections(every)
    if wanted.mode is Mode.USER:
        if wanted.drop_blanks:
            files = {
                kind: replace(s, video=closed_up(s.video, stretches), audio=closed_up(s.audio, stretches))
                for kind, s in files.items()
            }
        yield "", files
        return
    for stretch in stretches:
        cut = {
            kind: replace(s, video=within(s.video, stretch), audio=within(s.audio, stretch))
            for kind, s in files.items()
        }
        yield f"_{utc_stamp(stretch[0])}", {kind: s for kind, s in cut.items() if s.video or s.audio}


def left_out(names: Collection[str], named: Collection[str], planned: Planned) -> list[Fault]:
    """What of a folder is not merged, and why. `named`: segments that a playlist names.

    What was made here before, manifests and players' playlists are passed over.
    """
    found = list(planned.faults)
    told = {fault.file for fault in found}
    for name in sorted(names):
        if name in told or name in named or name.startswith((".", PLAYERS)):
            continue
        if name.endswith(MANIFEST) or _OURS.search(name) or name.endswith(".m3u8"):
            continue
        found.append(Fault(name, "no playlist names it" if name.endswith(".ts") else "not a recorded file"))
    found += [
        Fault(f"{stream.sdk_app_id}_{stream.room}.m3u8", "mixed already: there is nothing to be merged")
        for stream in planned.streams
        if stream.user_id is None
    ]
    return found
