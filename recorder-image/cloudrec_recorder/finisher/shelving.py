"""Where finished files go: the recording's bucket, or VOD. Each is in the ledger before the next is made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.finish import Output, StoredFile
from cloudrec_contract.resources import OutputFormat
from cloudrec_recorder.finisher import facts
from cloudrec_recorder.finisher.board import Board
from cloudrec_recorder.finisher.book import Book
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.patience import GivenUp, Patience
from cloudrec_recorder.uploader.store import StoreError, UploadFailed
from cloudrec_recorder.vod import Backend, Committed, Media, VodError, VodRefused

logger = logging.getLogger(__name__)

TYPES: Final = {OutputFormat.MP4: "video/mp4", OutputFormat.AAC: "audio/aac"}


class Shelf(Protocol):
    """Blocking. Both add to the output, and keep the ledger."""

    def take(self, output: Output, file: StoredFile, path: Path, segments: tuple[str, ...] = ()) -> None:
        """Store a file under its final name. Raises Stopped, and what makes the output fail."""
        ...

    def failed(self, output: Output, name: str, why: str) -> None:
        """It could not be made; `name` is what it, or its next part, would be called."""
        ...


def save(book: Book, board: Board) -> None:
    """The ledger, and then the events that are in it. When the time is up they are said all the same."""
    try:
        book.put()
    except (GivenUp, UploadFailed) as error:
        logger.error("the ledger cannot be stored: %s", error)
    board.said(book.ledger.events)


class BucketShelf:
    def __init__(self, depot: Depot, book: Book, board: Board, ask: Patience) -> None:
        self._depot = depot
        self._book = book
        self._board = board
        self._ask = ask

    def take(self, output: Output, file: StoredFile, path: Path, segments: tuple[str, ...] = ()) -> None:
        del segments
        self._ask(lambda: self._depot.put_file(file.name, path, TYPES[output.format], self._ask.heed))
        output.files.append(file)
        logger.info("%s is stored: %d bytes", file.name, file.bytes)
        save(self._book, self._board)

    def failed(self, output: Output, name: str, why: str) -> None:
        pass  # told at the end, with all others


class VodShelf:
    """What VOD does not take goes into the spool; a playlist's segments are there already."""

    def __init__(self, backend: Callable[[], Backend], depot: Depot, book: Book, board: Board, ask: Patience) -> None:
        self._backend = backend
        self._depot = depot
        self._book = book
        self._board = board
        self._ask = ask

    def take(self, output: Output, file: StoredFile, path: Path, segments: tuple[str, ...] = ()) -> None:
        media = Media(path, file.name, _KINDS[output.format], segments, self._fetch)
        try:
            done = self._ask(lambda: self._commit(media))
        except (VodError, GivenUp, StoreError) as error:
            self._not_taken(output, file, path, error)
        else:
            output.files.append(file.model_copy(update={"file_id": done.file_id, "url": done.url}))
            self._book.say(EventType.VOD_COMMIT, facts.committed(output, output.files[-1]))
            logger.info("%s is in VOD: %s", file.name, done.file_id)
            if done.note:
                output.notes.append(done.note)
                self._board.note(Reason.EXPIRY_REFUSED, done.note)
        self._book.ledger.sessions.pop(file.name, None)
        save(self._book, self._board)

    def failed(self, output: Output, name: str, why: str) -> None:
        self._book.say(EventType.VOD_COMMIT, facts.not_committed(output, name, facts.FAILED, why))

    def _commit(self, media: Media) -> Committed:
        def begun(token: str) -> None:
            self._book.ledger.sessions[media.name] = token
            save(self._book, self._board)

        return self._backend().commit(media, self._book.ledger.sessions.get(media.name, ""), begun)

    def _fetch(self, name: str, to: Path) -> None:
        self._ask(lambda: self._depot.fetch(name, to))

    def _not_taken(self, output: Output, file: StoredFile, path: Path, error: Exception) -> None:
        logger.error("%s is not in VOD: %s", file.name, error)
        output.failed = True
        output.faults.append(f"{file.name}: {error}")
        self._book.say(EventType.VOD_COMMIT, facts.not_committed(output, file.name, facts.NOT_STORED, str(error)))
        reason = Reason.VOD_REFUSED if isinstance(error, VodRefused) else Reason.VOD_UNREACHABLE
        self._board.note(reason, f"{file.name}: {error}")
        if output.format is OutputFormat.HLS:
            output.files.append(file)
            return
        try:
            self._ask(lambda: self._depot.put_file(file.name, path, TYPES[output.format], self._ask.heed))
        except (GivenUp, UploadFailed) as lost:
            output.faults.append(f"{file.name}: neither in VOD nor in the spool: {lost}")
        else:
            output.files.append(file)


_KINDS: Final[dict[OutputFormat, Literal["mp4", "aac", "m3u8"]]] = {
    OutputFormat.MP4: "mp4",
    OutputFormat.AAC: "aac",
    OutputFormat.HLS: "m3u8",
}
