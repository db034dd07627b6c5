"""The ledger in the bucket: what is stored, and what was said. What it holds is certain before anybody is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from cloudrec_contract.events import EventType
from cloudrec_contract.finish import LEDGER, Ledger
from cloudrec_contract.resources import EventFact
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.patience import Patience
from cloudrec_recorder.uploader.store import FileGone

logger = logging.getLogger(__name__)


class Book:
    """`clock`: ms since the Unix epoch. `acked`: events up to this were delivered, said by whomever."""

    def __init__(self, depot: Depot, task_id: str, ask: Patience, clock: Callable[[], int], acked: int = 0) -> None:
        self._depot = depot
        self._ask = ask
        self._clock = clock
        self._acked = acked
        self.ledger = Ledger(task_id=task_id)
        self.stored = True
        """Whether the bucket has all of it, as far as it was put."""

    def open(self) -> None:
        """Go on with what a predecessor wrote. Raises what `Patience` raises."""
        try:
            found = Ledger.model_validate_json(self._ask(lambda: self._depot.read(LEDGER)))
        except FileGone:
            return
        except ValidationError as error:
            logger.warning("%s is no ledger, and a new one is begun: %d faults", LEDGER, error.error_count())
            return
        if found.task_id != self.ledger.task_id:
            logger.warning("%s is of another task, and a new one is begun", LEDGER)
            return
        self.ledger = found
        logger.info("a predecessor's ledger: %d outputs, %d events", len(found.outputs), len(found.events))

    def say(self, event: EventType, arguments: dict[str, Any]) -> None:
        events = self.ledger.events
        seq = (events[-1].seq if events else self._acked) + 1
        events.append(EventFact(seq=seq, type=event, ts=self._clock(), args=arguments))

    def put(self) -> None:
        """Have the bucket hold it. Raises what `Patience` raises."""
        text = self.ledger.model_dump_json(by_alias=True, exclude_none=True).encode()
        self.stored = False
        self._ask(lambda: self._depot.put_playlist(LEDGER, text))
        self.stored = True
