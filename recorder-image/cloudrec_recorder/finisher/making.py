"""One output: made in the scratch folder, put on the shelf part by part. What goes wrong with it ends it alone."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cloudrec_contract.finish import ConvertTask, Output, StoredFile
from cloudrec_contract.resources import OutputFormat
from cloudrec_recorder.convert.engine import Limits, Made, NoSpace, Orders, to_aac, to_mp4
from cloudrec_recorder.convert.source import Source
from cloudrec_recorder.finisher.drain import Stopped
from cloudrec_recorder.finisher.patience import GivenUp
from cloudrec_recorder.finisher.shelving import Shelf
from cloudrec_recorder.finisher.wanted import SUFFIXES, Wanted, bounded, file_name, joined
from cloudrec_recorder.uploader.store import StoreError

logger = logging.getLogger(__name__)

_STEM: Final = "output"


class _Nothing(Exception):
    """Nothing of what was recorded can be used: why."""


def _empty(folder: Path) -> None:
    """What a backend of VOD left there, too."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class Maker:
    """`scratch` is this one's alone."""

    def __init__(self, task: ConvertTask, source: Source, scratch: Path, limits: Limits, shelf: Shelf) -> None:
        self._task = task
        self._source = source
        self._scratch = scratch
        self._limits = limits
        self._shelf = shelf

    def make(
        self,
        wanted: Wanted,
        output: Output,
        playlists: Mapping[str, bytes],
        progress: Callable[[int, int], None],
    ) -> None:
        """Add to `output`, which may hold parts that a predecessor stored: those are not stored again.

        Raises Stopped; all else is told in the output.
        """
        try:
            if wanted.stream is None:
                raise _Nothing(wanted.faults[0] if wanted.faults else "nothing of it is there")
            if wanted.format is OutputFormat.HLS:
                self._playlist(wanted, output, playlists)
            else:
                self._file(wanted, output, progress)
        except Stopped:
            raise
        except (_Nothing, GivenUp, StoreError) as error:
            self._failed(wanted, output, str(error))
        except NoSpace as error:
            self._failed(wanted, output, f"no room on the disk: {error}")
        except OSError as error:
            self._failed(wanted, output, f"{type(error).__name__}: {error}")
        except Exception as error:  # the root of one output's work: another user's are not to suffer
            logger.exception("%s cannot be made", wanted)
            self._failed(wanted, output, f"it cannot be converted: {type(error).__name__}: {error}")
        finally:
            _empty(self._scratch)

    def _failed(self, wanted: Wanted, output: Output, why: str) -> None:
        logger.error("%s failed: %s", wanted, why)
        output.failed = True
        output.faults.insert(0, why)
        part = len(output.files) + 1 if output.files else None
        self._shelf.failed(output, file_name(self._task, wanted, part), why)

    def _file(self, wanted: Wanted, output: Output, progress: Callable[[int, int], None]) -> None:
        assert wanted.stream is not None
        known = {file.name for file in output.files}

        def deliver(made: Made) -> None:
            name = file_name(self._task, wanted, made.part)
            if name not in known:
                file = StoredFile(name=name, bytes=made.bytes, start=round(made.start), end=round(made.end))
                self._shelf.take(output, file, made.path)
            made.path.unlink(missing_ok=True)

        suffix = SUFFIXES[wanted.format]
        orders = Orders(
            lambda part: f"{_STEM}{'' if part is None else f'_{part}'}.{suffix}",
            self._limits,
            progress=progress,
            deliver=deliver,
            taken=True,
        )
        convert = to_mp4 if wanted.format is OutputFormat.MP4 else to_aac
        converted = convert(wanted.stream, self._source, self._scratch, orders)
        faults = [f"{fault.file}: {fault.reason}" for fault in converted.faults]
        output.faults = list(bounded((*output.faults, *wanted.faults, *faults)))
        output.reencoded = list(converted.reencoded)
        if not converted.files:
            uses = wanted.stream.audio if wanted.format is OutputFormat.AAC else None
            names = {use.piece.name for use in uses or (*wanted.stream.video, *wanted.stream.audio)}
            if faults and names <= {fault.file for fault in converted.faults}:
                raise _Nothing(f"none of its {len(names)} segments can be used: {faults[0]}")

    def _playlist(self, wanted: Wanted, output: Output, playlists: Mapping[str, bytes]) -> None:
        sizes = self._source.sizes()
        playlist = joined(playlists, sizes, wanted.whose)
        if playlist is None:
            raise _Nothing("none of its segments is there")
        output.faults = list(bounded((*output.faults, *wanted.faults)))
        if output.files:
            return
        path = self._scratch / f"{_STEM}.m3u8"
        path.write_text(playlist.render())
        first, last = playlist.segments[0], playlist.segments[-1]
        file = StoredFile(
            name=file_name(self._task, wanted, None),
            bytes=sum(sizes[segment.name] for segment in playlist.segments),
            start=round(first.start_ms),
            end=round(last.start_ms + last.duration * 1000),
        )
        self._shelf.take(output, file, path, tuple(segment.name for segment in playlist.segments))
