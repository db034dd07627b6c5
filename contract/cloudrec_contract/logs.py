"""Logs of every process: one JSON object a line on standard error, so that one query finds a task in all of them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A line has `ts` (RFC 3339, UTC, ms), `level` (lower case), `logger`, `message`, and `exception` if there is one.

    What a call gives as `extra` becomes a field of its own, but for the names in `without`.
    """

    def __init__(self, without: Iterable[str] = ()) -> None:
        super().__init__()
        self.fields: dict[str, Any] = {}
        """Put into every line."""
        self._without = _PLAIN | frozenset(without)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, tz=UTC)
        line: dict[str, Any] = {
            "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.fields,
        }
        line.update((key, value) for key, value in vars(record).items() if key not in self._without)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, *, without: Iterable[str] = ()) -> JsonFormatter:
    """Log to standard error from now on; the formatter is returned so that fields can be added."""
    formatter = JsonFormatter(without)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    return formatter
