"""The dead recorder's part of the spool protocol: `segment` records of what was open, in their order, and `end`.

What is open is a file that was being written, or frames that were held back; of the same media, what reaches further
counts.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cloudrec_contract.conditions import Reason
from cloudrec_contract.naming import FileKind, parse_name, parse_utc_stamp
from cloudrec_contract.spool import (
    JOURNAL,
    MEDIA,
    TASK,
    EndRecord,
    Record,
    SegmentRecord,
    Task,
    TrackRecord,
    decode_record,
    encode_record,
    parse_task,
)
from cloudrec_recorder.h264 import parameter_sets, video_parameters
from cloudrec_recorder.media import Kind
from cloudrec_recorder.salvage.held import TOLERANCE, Plan, Spans, Written, make, plan
from cloudrec_recorder.salvage.repair import Unsalvageable, repair
from cloudrec_recorder.salvage.sources import Source, read, tried
from cloudrec_recorder.salvage.transport import Whole
from cloudrec_recorder.segments.disk import write_all
from cloudrec_recorder.segments.held import HELD
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET
from cloudrec_recorder.uploader.tail import Tail

logger = logging.getLogger(__name__)

MESSAGE: Final = "the recorder ended without a word"
FILES_MAX: Final = 4096
"""Files in the spool that are looked at; one for each open track is usual."""
HELD_SECONDS: Final = 30.0
"""After so long no more held frames are worked on (pictures may have to be transcoded): the sidecar waits 60 s."""
_NAME: Final = re.compile(r"(?P<stem>.+)_(?P<utc>\d{17})\.ts")
_WRAP: Final = 1 << 33
_NAMED_WITHIN_MS: Final = 1000
"""A start farther from the file's name than this is not believed: the name is taken."""


@dataclass(slots=True)
class _Known:
    """What the journal says."""

    files: set[str] = field(default_factory=set)
    tracks: set[str] = field(default_factory=set)
    ends: dict[str, float] = field(default_factory=dict)
    """By playlist: where its last segment ends, ms since the Unix epoch."""
    ended: bool = False

    def take(self, record: Record) -> None:
        match record:
            case TrackRecord():
                self.tracks.add(record.track)
            case SegmentRecord():
                self.files.add(record.file)
                self.ends[record.track] = record.start + record.duration * 1000
            case EndRecord():
                self.ended = True


@dataclass(slots=True)
class _Held:
    """Frames that were held back, of one playlist, and what is to be made of them."""

    playlist: str
    sources: list[Source]
    plan: Plan | None

    @property
    def instead(self) -> list[Path]:
        """Open segments that it takes the place of."""
        return self.plan.instead if self.plan is not None else []


@dataclass(frozen=True, slots=True)
class _Open:
    """A file in the spool that the journal does not name; `ms` is in its name."""

    path: Path
    playlist: str
    ms: int


def salvage(spool: Path, wall_ms: Callable[[], int]) -> int:
    """Repair and journal every open segment, then write `end`; returns how many segments that were.

    Does nothing when the journal has its `end`. Raises OSError when the disk fails: it may be run again.
    """
    fd = os.open(spool / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _end_torn_line(fd)
        known = _read_journal(spool / JOURNAL)
        if known.ended:
            return 0

        work = _Work(spool, _task(spool), known, fd, wall_ms)
        files = list(_open_files(spool / MEDIA, known))
        held = work.held(files)
        instead = {path for part in held for path in part.instead}
        saved = work.save([file for file in files if file.path not in instead])
        begun = time.monotonic()
        for part in held:
            made = 0
            if part.plan is not None and time.monotonic() - begun < HELD_SECONDS:
                made = work.make(part, part.plan)
            saved += made or work.save([file for file in files if file.path in part.instead])
            for source in part.sources:
                source.path.unlink(missing_ok=True)
        work.append(EndRecord(ts=wall_ms(), failed=True, reason=Reason.RECORDER_DIED, message=MESSAGE))
        return saved
    finally:
        os.close(fd)


@dataclass(slots=True)
class _Work:
    """One run of the program."""

    spool: Path
    task: Task | None
    known: _Known
    journal: int
    wall_ms: Callable[[], int]

    def append(self, record: Record) -> None:
        write_all(self.journal, encode_record(record))
        self.known.take(record)

    def save(self, files: Sequence[_Open]) -> int:
        """Close open segments; how many there are of it."""
        epoch = self.task.epoch if self.task is not None else None
        return sum(_save(file, self.known, epoch, self.wall_ms, self.append) for file in files)

    def held(self, files: Sequence[_Open]) -> list[_Held]:
        """Frames that were held back, by playlist."""
        task = self.task
        if task is None:
            return []
        sources = defaultdict[str, list[Source]](list)
        for source in read(self.spool / HELD, task):
            kind = "audio_video" if task.merge_audio_video else source.key.kind
            sources[task.names.playlist(source.key.user_id, source.key.media, kind)].append(source)
        found = []
        for playlist, own in sources.items():
            closed = self.known.ends.get(playlist)
            closed_until = float("-inf") if closed is None else (closed - task.epoch) / 1000
            written = [Written(file.path, _spans(file, task.epoch)) for file in files if file.playlist == playlist]
            found.append(_Held(playlist, own, plan(own, written, closed_until)))
        return found

    def make(self, held: _Held, plan: Plan) -> int:
        """Put segments of held frames into the place of the open ones; how many that are, 0 when they are no better.

        Killed at any moment, it can be run again: files get their names once whole.
        """
        assert self.task is not None
        held.sources = [tried(source) for source in held.sources]
        continues = held.playlist in self.known.ends
        with tempfile.TemporaryDirectory(dir=self.spool, prefix="salvage-") as scratch:
            records = make(plan.units, self.task, Path(scratch), self.wall_ms, continues=continues)
            segments = [record for record in records if isinstance(record, SegmentRecord)]
            ends = [(record.start - self.task.epoch) / 1000 + record.duration for record in segments]
            if not ends or max(ends) < plan.until - TOLERANCE:
                return 0
            for path in plan.instead:
                path.unlink()
            for record in segments:
                os.link(Path(scratch) / MEDIA / record.file, self.spool / MEDIA / record.file)
                logger.info("salvaged from held frames: %s", record.file, extra={"seconds": record.duration})
        for each in records:
            if isinstance(each, SegmentRecord) or each.track not in self.known.tracks:
                self.append(each)
        return len(segments)


def _end_torn_line(fd: int) -> None:
    """A record that was being written gets its newline, so that the next begins a line of its own. Whoever has read
    the part of it already reads on; a part that is no record is left out by every reader."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        write_all(fd, b"\n")


def _read_journal(path: Path) -> _Known:
    known = _Known()
    journal = Tail(path, decode_record)
    for record in journal.read_all():
        known.take(record)
    journal.close()
    return known


def _task(spool: Path) -> Task | None:
    try:
        return parse_task((spool / TASK).read_bytes())
    except (OSError, ValidationError) as error:
        logger.warning("no task to take the epoch from, the files' names must do: %s", type(error).__name__)
        return None


def _spans(file: _Open, epoch: int) -> Spans:
    try:
        whole, _ = repair(file.path)
    except Unsalvageable:
        return {}
    found: Spans = {}
    spans: dict[Kind, tuple[int, int] | None] = {"video": whole.video, "audio": whole.audio}
    for kind, span in spans.items():
        if span is not None:
            begin = (_moment(span[0], epoch, file.ms) - epoch) / 1000
            found[kind] = begin, begin + (span[1] - span[0]) / CLOCK
    return found


def _open_files(media: Path, known: _Known) -> Iterator[_Open]:
    """In the order of their times; what is no segment is left alone."""
    if not media.is_dir():
        return
    found = []
    with os.scandir(media) as entries:
        for number, entry in enumerate(entries):
            if number >= FILES_MAX:
                logger.error("there are more than %d files in the spool: the rest is left out", FILES_MAX)
                break
            name = _NAME.fullmatch(entry.name)
            if entry.name in known.files or name is None:
                continue
            try:
                ms = parse_utc_stamp(name["utc"])
            except ValueError:
                continue
            found.append(_Open(media / entry.name, name["stem"] + ".m3u8", ms))
    yield from sorted(found, key=lambda file: (file.ms, file.path.name))


def _save(
    file: _Open, known: _Known, epoch: int | None, wall_ms: Callable[[], int], append: Callable[[Record], None]
) -> bool:
    try:
        last = known.ends.get(file.playlist)
        if last is not None and file.ms < last - _NAMED_WITHIN_MS:
            raise Unsalvageable("later segments of its playlist are closed already")
        whole, size = repair(file.path)
        if file.playlist not in known.tracks:
            append(_track(file, whole, wall_ms()))
    except Unsalvageable as error:
        logger.warning("%s is dropped: %s", file.path.name, error)
        if not file.path.is_dir() or file.path.is_symlink():
            file.path.unlink()
        return False
    start, duration = _span(whole, epoch, file.ms)
    append(
        SegmentRecord(
            ts=wall_ms(),
            track=file.playlist,
            file=file.path.name,
            start=round(start, 3),
            duration=round(duration, 6),
            bytes=size,
            discontinuity=whole.discontinuity or (last is not None and _narrow(file.playlist, whole)),
        )
    )
    logger.info("salvaged: %s", file.path.name, extra={"seconds": round(duration, 3), "bytes": size})
    return True


def _span(whole: Whole, epoch: int | None, name_ms: int) -> tuple[float, float]:
    """Start (ms since the Unix epoch) and duration (s). The segment begins with the stream that its name tells of."""
    spans = [span for span in (whole.video, whole.audio) if span is not None]

    def at(ticks: int) -> float:
        return float(name_ms) if epoch is None else _moment(ticks, epoch, name_ms)

    first = min((begin for begin, _ in spans), key=lambda begin: abs(at(begin) - name_ms))
    end = max((begin - first + _WRAP // 2) % _WRAP - _WRAP // 2 + end - begin for begin, end in spans)
    start = at(first)
    return (start if abs(start - name_ms) <= _NAMED_WITHIN_MS else float(name_ms)), end / CLOCK


def _moment(ticks: int, epoch: int, near_ms: int) -> float:
    """What a time stamp as written means, in ms since the Unix epoch: the moment nearest to `near_ms`."""
    since = (near_ms - epoch) * CLOCK // 1000 + PTS_OFFSET
    near = since + (ticks - since + _WRAP // 2) % _WRAP - _WRAP // 2
    return epoch + (near - PTS_OFFSET) * 1000 / CLOCK


def _narrow(playlist: str, whole: Whole) -> bool:
    """Whether a merged segment holds one kind alone: its tables may have named both, as the ones before it do."""
    return playlist.endswith("_audio_video.m3u8") and (whole.video is None or whole.audio is None)


def _mixed_kind(whole: Whole) -> FileKind:
    """Mixed names do not tell it."""
    if whole.video is None:
        return "audio"
    return "video" if whole.audio is None else "audio_video"


def _track(file: _Open, whole: Whole, ts: int) -> TrackRecord:
    """The playlist's record, for one whose own was lost. Raises Unsalvageable."""
    try:
        name = parse_name(file.path.name)
        if name.media not in ("main", "aux") or name.kind not in ("audio", "video", "audio_video"):
            raise ValueError("no such stream")
        width = height = 0
        if whole.video is not None:
            sets = parameter_sets(whole.keyframe)
            if sets is None:
                raise ValueError("its pictures have no parameter sets")
            parameters = video_parameters(whole.keyframe, sets)
            width, height = parameters.width, parameters.height
        return TrackRecord(
            ts=ts,
            track=file.playlist,
            user_id=name.user_id,
            media=name.media,
            kind=name.kind if name.user_id else _mixed_kind(whole),
            codec="AAC" if whole.video is None else "H264",
            begin_time_stamp=file.ms,
            width=width,
            height=height,
            sample_rate=whole.sound.rate if whole.sound else 0,
            channels=whole.sound.channels if whole.sound else 0,
        )
    except ValueError as error:
        raise Unsalvageable(f"its playlist is not known, and not to be made out: {error}") from error
