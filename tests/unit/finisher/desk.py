"""A bucket that is a folder, a VOD that is a list, and a converter between them."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudrec_contract.finish import LEDGER, ConvertTask, Ledger, VodAccount, VodTask
from cloudrec_contract.resources import Mode, OutputFormat, Report, Room, Vod
from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.convert.engine import Limits
from cloudrec_recorder.finisher.board import Board
from cloudrec_recorder.finisher.book import Book
from cloudrec_recorder.finisher.converting import Converter, Done
from cloudrec_recorder.finisher.depot import Depot, Entry
from cloudrec_recorder.finisher.patience import Patience
from cloudrec_recorder.uploader.store import FileGone, StoreError
from cloudrec_recorder.vod import Committed, Media
from tests.unit.convert.recordings import EPOCH_MS

NOW = EPOCH_MS + 100_000
HLS, MP4, AAC = OutputFormat.HLS, OutputFormat.MP4, OutputFormat.AAC


def task(*formats: OutputFormat, vod: dict[str, Any] | None = None, mode: Mode = Mode.SINGLE) -> ConvertTask:
    """Of the room that `recordings.Recorded` names; with `vod`, those are its options."""
    account = VodAccount(region="r", endpoint="http://vod")
    return ConvertTask(
        sdk_app_id=1400000001,
        room=Room(id="12345"),
        mode=mode,
        formats=list(formats),
        vod=VodTask(options=Vod(**vod), account=account) if vod is not None else None,
    )


class FolderDepot(Depot):
    """`fault(call, name)` returns an error to raise, or None. `calls` are those that were answered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ObjectStore(endpoint="", region="", bucket="b", key_prefix="t/"), folder)
        self.folder = folder
        self.calls: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], Exception | None] = lambda call, name: None
        self.types: dict[str, str] = {}

    def _begin(self, call: str, name: str = "") -> Path:
        if error := self.fault(call, name):
            raise error
        self.calls.append((call, name))
        return self.folder / name

    def count(self, call: str) -> int:
        return sum(done == call for done, _ in self.calls)

    def entries(self) -> dict[str, Entry]:
        self._begin("entries")
        return {path.name: Entry(path.stat().st_size, "") for path in self.folder.iterdir()}

    def read(self, name: str) -> bytes:
        path = self._begin("read", name)
        if not path.exists():
            raise FileGone("NoSuchKey", name)
        return path.read_bytes()

    def fetch(self, name: str, to: Path) -> str:
        data = self.read(name)
        to.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def put_file(self, name: str, path: Path, kind: str, heed: Callable[[], None]) -> None:
        heed()
        shutil.copyfile(path, self._begin("put_file", name))
        self.types[name] = kind

    def put_playlist(self, name: str, text: bytes) -> None:
        self._begin("put_playlist", name).write_bytes(text)

    def remove(self, name: str) -> None:
        self._begin("remove", name).unlink(missing_ok=True)


class ListVod:
    """`fault(name)` returns an error to raise at the last step, or None."""

    def __init__(self) -> None:
        self.committed: dict[str, tuple[Media, bytes]] = {}
        self.resumed: list[str] = []
        self.tries = 0
        self.note = ""
        self.fault: Callable[[str], Exception | None] = lambda name: None

    def commit(self, media: Media, resume: str, begun: Callable[[str], None]) -> Committed:
        self.tries += 1
        self.resumed.append(resume)
        if media.fetch is not None:
            for name in media.segments:
                media.fetch(name, media.path.with_name("segment"))
        begun(f"token-{self.tries}")
        if error := self.fault(media.name):
            raise error
        assert media.name not in self.committed, "committed twice"
        self.committed[media.name] = (media, media.path.read_bytes())
        return Committed(f"id-{len(self.committed)}", f"https://vod/{media.name}", self.note)


@dataclass
class Desk:
    """One recording's end. Each `run` is another finisher. Time passes only where it is waited."""

    bucket: FolderDepot
    scratch: Path
    vod: ListVod = field(default_factory=ListVod)
    stop: threading.Event = field(default_factory=threading.Event)
    said: list[Report] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    now: float = 0.0

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def converter(self, task: ConvertTask, limits: Limits | None = None, seconds: float = 600) -> Converter:
        self.board = Board(self.said.append, lambda: self.now)
        ask = Patience(seconds, self.stop, self.board.trouble, monotonic=lambda: self.now, pause=self.pause)
        book = Book(self.bucket, "7b1c", ask, lambda: NOW)
        self.scratch.mkdir(exist_ok=True)
        return Converter(task, self.bucket, lambda: self.vod, book, self.board, ask, self.scratch, limits)

    def run(self, task: ConvertTask, limits: Limits | None = None, seconds: float = 600) -> Done:
        done = self.converter(task, limits, seconds).run()
        assert list(self.scratch.iterdir()) == []
        return done

    @property
    def ledger(self) -> Ledger:
        return Ledger.model_validate_json((self.bucket.folder / LEDGER).read_bytes())

    def names(self, suffix: str) -> list[str]:
        return sorted(path.name for path in self.bucket.folder.glob(f"*{suffix}"))


def always(call: str, error: StoreError) -> Callable[[str, str], Exception | None]:
    """A fault of one call."""
    return lambda done, name: error if done == call else None
