"""All outputs of a recording: made, stored, said; then HLS removed that nobody wanted.

The ledger is put after each file. So the whole can be begun again at any time: what is in the ledger is not repeated,
and nothing is removed before the ledger has all there is to be.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.finish import LEDGER, ConvertTask
from cloudrec_contract.resources import Conversion, EventFact, OutputFormat
from cloudrec_recorder.convert.bucket import DepotSource
from cloudrec_recorder.convert.engine import Limits
from cloudrec_recorder.convert.plan import plan
from cloudrec_recorder.finisher import facts, removing
from cloudrec_recorder.finisher.board import Board
from cloudrec_recorder.finisher.book import Book
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.drain import PLAYLIST
from cloudrec_recorder.finisher.making import Maker
from cloudrec_recorder.finisher.patience import GivenUp, Patience
from cloudrec_recorder.finisher.shelving import BucketShelf, VodShelf, save
from cloudrec_recorder.finisher.verdict import verdict
from cloudrec_recorder.finisher.wanted import Wanted, key, of_name, wanted
from cloudrec_recorder.uploader.store import FileGone, StoreError
from cloudrec_recorder.vod import Backend

logger = logging.getLogger(__name__)


class Done(NamedTuple):
    conversion: Conversion
    events: list[EventFact]


class Converter:
    """`depot`: the recording's own bucket, or the spool of VOD. `backend` is called for each file, when there is VOD,
    and may raise VodError. `scratch`: an empty folder. `limits`: of one file."""

    def __init__(
        self,
        task: ConvertTask,
        depot: Depot,
        backend: Callable[[], Backend],
        book: Book,
        board: Board,
        ask: Patience,
        scratch: Path,
        limits: Limits | None = None,
    ) -> None:
        self._task = task
        self._depot = depot
        self._book = book
        self._board = board
        self._ask = ask
        self._source = DepotSource(depot, ask)
        self._read: dict[str, bytes] | None = None
        self._shelf = VodShelf(backend, depot, book, board, ask) if task.vod else BucketShelf(depot, book, board, ask)
        limits = limits or Limits(seconds=60.0 * task.max_file_minutes)
        self._maker = Maker(task, self._source, scratch, limits, self._shelf)

    def run(self) -> Done:
        """Blocking. Raises Stopped, and GivenUp or UploadFailed when the ledger cannot be read: then nothing may be
        said either."""
        self._book.open()
        ledger = self._book.ledger
        if not ledger.done:
            self._board.said(ledger.events)
        for output in ledger.outputs:
            for note in output.notes:
                self._board.note(Reason.EXPIRY_REFUSED, note)
        error = kept = ""
        try:
            if not ledger.done:
                self._make_all(self._playlists())
            kept = self._remove() if self._unwanted else ""
        except (GivenUp, StoreError) as given_up:
            logger.error("the recording cannot be read: %s", given_up)
            error, kept = ("", str(given_up)) if ledger.done else (f"what was recorded cannot be read: {given_up}", "")
        if not ledger.done:
            self._conclude(error)
        return Done(verdict(ledger.outputs, kept, error), ledger.events)

    def _playlists(self) -> dict[str, bytes]:
        if self._read is not None:
            return self._read
        found: dict[str, bytes] = {}
        for name in sorted(self._source.sizes()):
            if name.endswith(PLAYLIST) and of_name(name):
                try:
                    found[name] = self._ask(partial(self._depot.read, name))
                except FileGone:
                    continue
        self._read = found
        return found

    # --- outputs ---

    def _make_all(self, playlists: Mapping[str, bytes]) -> None:
        sizes = self._source.sizes()
        planned = plan(playlists, sizes)
        every = wanted(self._task, playlists, planned, sizes)
        total = sum(one.bytes for one in every) or 1
        ledger = self._book.ledger
        there = {key(output) for output in ledger.outputs}
        before = 0
        for one in every:
            if one.key not in there:
                self._make(one, playlists, before / total, one.bytes / total)
            before += one.bytes

    def _make(self, one: Wanted, playlists: Mapping[str, bytes], before: float, share: float) -> None:
        ledger = self._book.ledger
        files = sum(len(output.files) for output in ledger.outputs)
        failed = sum(output.failed for output in ledger.outputs)

        def progress(done: int, total: int) -> None:
            self._ask.heed()
            self._board.progress(before + share * done / (total or 1), files, failed, f"{before:.0%} done, now {one}")

        for fault in one.faults:
            logger.warning("%s is without %s", one, fault)
        if ledger.making is None or key(ledger.making) != one.key:
            ledger.making = one.output()
        output = ledger.making
        self._maker.make(one, output, playlists, progress)
        ledger.outputs.append(output)
        ledger.making = None
        save(self._book, self._board)

    # --- the end ---

    @property
    def _unwanted(self) -> bool:
        """Whether HLS is to go."""
        return self._task.vod is not None or OutputFormat.HLS not in self._task.formats

    def _remove(self) -> str:
        """Why it stays; empty when it is gone, or when that is told otherwise."""
        outputs = self._book.ledger.outputs
        if any(output.failed for output in outputs):
            return ""
        if self._board.in_backup:
            return "files are in the backup store alone"
        if not self._book.stored:
            return f"{LEDGER} cannot be stored"
        sizes, playlists = self._source.sizes(), self._playlists()
        flawed = sorted({name for output in outputs for fault in output.faults if sizes.get(name := _file(fault))})
        if flawed:
            return f"{len(flawed)} could not be used as a whole, the first is {flawed[0]}"
        alone = removing.unlisted(sizes, playlists)
        if alone:
            return f"{len(alone)} segments are in no playlist, the first is {alone[0]}"
        return removing.remove(sizes, playlists, self._depot, self._ask)

    def _conclude(self, error: str) -> None:
        ledger = self._book.ledger
        failed = any(output.failed for output in ledger.outputs) or bool(self._board.in_backup)
        if self._task.vod is None:
            status = facts.FAILED if error else facts.NOT_STORED if failed else facts.STORED
            self._book.say(EventType.MP4_STOP, facts.mp4_stop(ledger.outputs, status))
        else:
            self._book.say(EventType.VOD_STOP, facts.vod_stop(int(bool(error) or failed)))
        ledger.done = True
        try:
            self._book.put()
        except (GivenUp, StoreError) as lost:
            logger.error("the ledger cannot be stored: %s", lost)


def _file(fault: str) -> str:
    return fault.partition(": ")[0]
