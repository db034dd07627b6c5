"""The table of what each fault cost: printed, and kept between two marks of a document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEADING = (
    "| fault | media lost (s) | of it before the fault (s) | back after (s) | attempts | files whole |\n"
    "|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Row:
    """Seconds of the user who lost most. `before` and `back` are None where nothing was interrupted."""

    fault: str
    lost: float
    before: float | None
    back: float | None
    attempts: int
    whole: bool

    def line(self) -> str:
        def seconds(value: float | None) -> str:
            return "–" if value is None else f"{max(value, 0.0):.2f}"

        cells = (
            *(self.fault, seconds(self.lost), seconds(self.before), seconds(self.back)),
            *(str(self.attempts), "yes" if self.whole else "**no**"),
        )
        return "| " + " | ".join(cells) + " |"


def rendered(rows: Iterable[Row]) -> str:
    return HEADING + "".join(row.line() + "\n" for row in rows)


def updated(text: str, rows: Iterable[Row]) -> str:
    """The document with these rows in its table; rows of other faults stay. Raises ValueError when it has no table."""
    head, begin, rest = text.partition(BEGIN)
    table, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} … {END}")
    lines = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("|")}
    kept = {fault: line for fault, line in lines.items() if fault not in ("fault", "---")}
    kept |= {row.fault: row.line() for row in rows}
    return f"{head}{BEGIN}\n{HEADING}" + "".join(line + "\n" for line in kept.values()) + f"{END}{tail}"


def keep(path: Path, rows: Iterable[Row]) -> None:
    path.write_text(updated(path.read_text(), rows))
