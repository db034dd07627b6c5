"""When a callback that failed is tried again. Pure; times in ms since the Unix epoch.

The head is TRTC's: the first failure is followed by another try at once, later ones every 10 s until the message is
one minute old, which counts from its first try, for it may have waited behind others. Then the pauses double up to a
quarter of an hour, until a day after the event.
"""

from __future__ import annotations

TIMEOUT_SECONDS = 5.0
STEADY_MS = 10_000
HEAD_MS = 60_000
PAUSE_MAX_MS = 900_000
LIFE_MS = 24 * 3600 * 1000


def again_at(tries: int, first_ms: int, started_ms: int, failed_ms: int, since_ms: int) -> int | None:
    """When to try after the `tries`th failure; None: given up.

    `first_ms`: when the first try began, `started_ms` and `failed_ms` the last; `since_ms`: when the event's day began.
    Each message has two tries, however late they are.
    """
    if tries <= 1:
        return failed_ms
    give_up = since_ms + LIFE_MS
    if failed_ms >= give_up:
        return None
    if started_ms - first_ms < HEAD_MS:
        return max(failed_ms, started_ms + STEADY_MS)
    pause = min(PAUSE_MAX_MS, started_ms - first_ms)  # as long as it has been tried: that doubles
    return max(failed_ms, min(started_ms + pause, give_up))
