"""Which files there are to be: a format of a user's main or aux, or of the mixed recording. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from cloudrec_contract.finish import ConvertTask, Output
from cloudrec_contract.naming import parse_name, parse_single
from cloudrec_contract.playlist import Playlist, Segment, parse
from cloudrec_contract.resources import OutputFormat
from cloudrec_recorder.convert.plan import Planned, Stream

SUFFIXES: Final[Mapping[OutputFormat, str]] = {
    OutputFormat.MP4: "mp4",
    OutputFormat.AAC: "aac",
    OutputFormat.HLS: "m3u8",
}
MIX: Final = "mix"
_OVERLAP_MS: Final = 500.0
"""Of a newer attempt's segment that may have nothing new."""
_FAULTS: Final = 100


class Whose(NamedTuple):
    """`user_id` None: the mixed recording."""

    user_id: str | None
    media: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is to be made of `stream`; of nothing when it is None, for the reasons in `faults`."""

    whose: Whose
    format: OutputFormat
    kind: str
    stream: Stream | None
    faults: tuple[str, ...] = ()
    bytes: int = 0

    @property
    def key(self) -> tuple[str, str, OutputFormat]:
        return self.whose.user_id or "", MIX if self.whose.user_id is None else self.whose.media, self.format

    def output(self) -> Output:
        user, media, form = self.key
        return Output(user_id=user, media=media, format=form, kind=self.kind)

    def __str__(self) -> str:
        user, media, form = self.key
        return f"{form} of {'the mixed recording' if media == MIX else f'{user} ({media})'}"


def key(output: Output) -> tuple[str, str, OutputFormat]:
    """As `Wanted.key`."""
    return output.user_id, output.media, output.format


def file_name(task: ConvertTask, wanted: Wanted, part: int | None) -> str:
    """The final name, in the bucket or in VOD."""
    name = task.names.file(wanted.whose.user_id, wanted.whose.media, part, SUFFIXES[wanted.format])
    record = task.vod.options.user_define_record_id if task.vod is not None else None
    return f"{record}__UserDefine_u_{name}" if record else name


def wanted(
    task: ConvertTask, playlists: Mapping[str, bytes], planned: Planned, sizes: Mapping[str, int]
) -> list[Wanted]:
    """In the order of users. HLS is among them only for VOD: a bucket has it already."""
    formats = [OutputFormat.MP4, OutputFormat.AAC, *([OutputFormat.HLS] if task.vod else [])]
    formats = [form for form in formats if form in task.formats]
    faults: dict[Whose, list[str]] = defaultdict(list)
    for fault in planned.faults:
        whose = of_name(fault.file)
        if whose is not None:
            faults[whose].append(f"{fault.file}: {fault.reason}")
    streams = {Whose(stream.user_id, stream.media): stream for stream in planned.streams}
    made: list[Wanted] = []
    for whose, stream in streams.items():
        for form in formats:
            if form is OutputFormat.AAC and not stream.audio:
                continue
            uses = stream.audio if form is OutputFormat.AAC else (*stream.video, *stream.audio)
            size = sum(sizes.get(name, 0) for name in {use.piece.name for use in uses})
            kind = "audio" if form is OutputFormat.AAC else kind_of(stream)
            made.append(Wanted(whose, form, kind, stream, bounded(faults[whose]), size))
    # A playlist of which nothing is to be had is told of, as a file that could not be made.
    lost = sorted({whose for name in playlists if (whose := of_name(name)) and whose not in streams and faults[whose]})
    for whose in lost:
        kinds = {parse_name(name).kind for name in playlists if of_name(name) == whose}
        kind = kinds.pop() if len(kinds) == 1 else "audio_video"
        for form in formats:
            if form is not OutputFormat.AAC or kind != "video":
                told = "audio" if form is OutputFormat.AAC else kind
                made.append(Wanted(whose, form, told, None, bounded(faults[whose])))
    return made


def bounded(faults: Iterable[str]) -> tuple[str, ...]:
    """The first of them, and how many more there are."""
    every = list(dict.fromkeys(faults))
    return (*every[:_FAULTS], *([f"and {len(every) - _FAULTS} more"] if len(every) > _FAULTS else []))


def of_name(name: str) -> Whose | None:
    """Whose a playlist or a segment is; None when it is neither."""
    try:
        parsed = parse_name(name)
    except ValueError:
        return None
    try:
        parse_single(name)
    except ValueError:
        return Whose(None, parsed.media)
    return Whose(parsed.user_id, parsed.media)


def kind_of(stream: Stream) -> str:
    """TRTC's TrackType."""
    if stream.video and stream.audio:
        return "audio_video"
    return "video" if stream.video else "audio"


def joined(playlists: Mapping[str, bytes], sizes: Mapping[str, int], whose: Whose) -> Playlist | None:
    """One playlist of all attempts: the oldest attempt's segments, and of newer ones those that have time that none
    before them has. None when there is nothing."""
    lists: list[tuple[int, str, Playlist]] = []
    for name, text in playlists.items():
        if of_name(name) == whose:
            try:
                parsed = parse_name(name)
                lists.append((parsed.index, parsed.kind, parse(text.decode())))
            except ValueError:
                continue
    if not lists:
        return None
    best = min((kind for _, kind, _ in lists), key=["audio_video", "video", "audio"].index)
    taken: list[tuple[int, Segment]] = []
    for attempt, _, playlist in sorted((x for x in lists if x[1] == best), key=lambda x: x[0]):
        older = sorted((s.start_ms, _end(s)) for _, s in taken)
        there = list(_there(playlist.segments, sizes))
        taken += [(attempt, segment) for segment in there if _alone(segment, older) > _worth(segment)]
    if not taken:
        return None
    taken.sort(key=lambda item: item[1].start_ms)
    segments = [
        replace(segment, discontinuity=bool(at) and (segment.discontinuity or attempt != taken[at - 1][0]))
        for at, (attempt, segment) in enumerate(taken)
    ]
    first = min((x for x in lists if x[1] == best), key=lambda x: (not x[2].segments, x[0]))[2]
    return replace(first, begin_ms=round(segments[0].start_ms), segments=tuple(segments), ended=True)


def _there(segments: Iterable[Segment], sizes: Mapping[str, int]) -> Iterator[Segment]:
    """Those that are not missing or empty; a jump where others are left out."""
    jump = False
    for segment in segments:
        if sizes.get(segment.name):
            yield replace(segment, discontinuity=segment.discontinuity or jump)
            jump = False
        else:
            jump = True


def _worth(segment: Segment) -> float:
    """More ms than this of a segment are worth taking all of it."""
    return min(_OVERLAP_MS, segment.duration * 1000 / 2)


def _end(segment: Segment) -> float:
    return segment.start_ms + segment.duration * 1000


def _alone(segment: Segment, others: Iterable[tuple[float, float]]) -> float:
    """How many ms of the segment none of the others has; these are in order."""
    low, end, alone = segment.start_ms, _end(segment), 0.0
    for begin, until in others:
        if until > low and begin < end:
            alone += max(begin - low, 0.0)
            low = max(low, until)
    return alone + max(end - low, 0.0)
