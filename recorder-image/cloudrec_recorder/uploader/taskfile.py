"""The recorder's task.json: written once nothing stands against recording, and again at each change."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

from pydantic import ValidationError

from cloudrec_contract.mix import Mix
from cloudrec_contract.resources import DesiredState, Subscription
from cloudrec_contract.spool import Task, parse_task
from cloudrec_recorder.uploader.files import replace_file

logger = logging.getLogger(__name__)


class TaskFile:
    """What the recorder is told. Until `allow` nothing is written, so that nothing is recorded that cannot be stored;
    only a stop is: a recorder that waits for its task has to end, too.

    A stopped task never runs again, for another reason neither, and a superseded one never stands alone again, whatever
    comes after. What a predecessor of this process wrote is gone on with.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self._path = path
        self._allowed = False
        self._written: Task | None = None
        try:
            old = self._written = parse_task(path.read_bytes())
            task = _with(task, old.desired_state, old.superseded, old.replaced, old.streams.subscribe, old.mix)
        except FileNotFoundError:
            pass
        except ValidationError:
            logger.warning("task.json is damaged and will be written anew")
        self.task = task

    @property
    def stopped(self) -> bool:
        return self.task.desired_state is DesiredState.STOPPED

    def change(
        self,
        desired: DesiredState,
        subscribe: Subscription | None,
        mix: Mix | None = None,
        *,
        superseded: bool = False,
        replaced: bool = False,
    ) -> None:
        """The resource's wishes; no `subscribe`, no `mix` leaves it as it is. Raises OSError."""
        if self.stopped:
            desired, replaced = DesiredState.STOPPED, self.task.replaced
        superseded = superseded or self.task.superseded
        subscribe = subscribe or self.task.streams.subscribe
        self.task = _with(self.task, desired, superseded, replaced, subscribe, mix or self.task.mix)
        self._write()

    def allow(self) -> None:
        """Let the recording begin, or write what a full disk did not take. Raises OSError."""
        self._allowed = True
        self._write()

    def _write(self) -> None:
        if self.task == self._written or not (self._allowed or self.stopped):
            return
        try:
            replace_file(self._path, self.task.model_dump_json(by_alias=True, exclude_none=True).encode())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            logger.warning("the spool is full: task.json waits for room")
            return
        self._written = self.task
        told = {"desiredState": self.task.desired_state, "superseded": self.task.superseded}
        logger.info("task.json is written", extra=told)


def _with(
    task: Task, desired: DesiredState, superseded: bool, replaced: bool, subscribe: Subscription, mix: Mix | None
) -> Task:
    streams = task.streams.model_copy(update={"subscribe": subscribe})
    told: dict[str, object] = {"desired_state": desired, "superseded": superseded, "replaced": replaced}
    if task.mix is not None and mix is not None:
        told["mix"] = task.mix.model_copy(update={"layout": mix.layout, "watermarks": mix.watermarks})
    return task.model_copy(update={**told, "streams": streams})
