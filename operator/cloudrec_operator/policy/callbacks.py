"""What the status says of callbacks: what is settled, what failed last, what was given up on.

Nothing else is written of a task that has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import (
    Attempt,
    CallbackStatus,
    CloudRecordingStatus,
    ConditionType,
    DeadLetter,
)
from cloudrec_operator import times
from cloudrec_operator.callbacks import order
from cloudrec_operator.callbacks.order import AGAIN, OPERATOR, Progress
from cloudrec_operator.observed import Observed, Recording
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import attempts, conditions
from cloudrec_operator.policy.conditions import Fact
from cloudrec_operator.settings import Settings

DEAD_MAX = 100
DEAD_CHARACTERS = 250_000
"""Of the dead letters' arguments, as JSON: a status that etcd does not take could not be written any more."""
LAST_WORD_SECONDS = 600.0
"""How long after a task's end its Pods may still report events."""
DELETED_SECONDS = 60.0
"""How long a deleted recording is kept for its last callbacks, once all else is done."""


def silent(seen: Observed) -> list[str]:
    """Pods that will report no more."""
    late = _last_word(seen)
    over = late is not None and seen.now >= late
    views = [*attempts.look(seen), *attempts.look(seen, "Finish")]
    return [
        view.attempt.pod
        for view in views
        if over or (view.made and (view.pod is None or view.pod.over or bool(view.node_lost)))
    ]


def noted(plan: Plan, seen: Observed) -> Plan:
    """The plan, with how the callbacks stand in its status."""
    recording = seen.recording
    status = plan.status or recording.status
    if status.task_id is None:
        return plan
    known = status.callbacks
    alone = plan.status is None or plan.status == recording.status
    if alone and not seen.progress.due:
        return plan
    if known is None:
        if seen.callback is None or recording.terminal:
            return plan
        return replace(plan, status=status.model_copy(update={"callbacks": CallbackStatus()}))
    new = _replayed(_with(known, seen.progress), seen)
    acked = [_acked(attempt, seen.progress) for attempt in status.attempts]
    now = status.model_copy(update={"attempts": acked, "callbacks": new})
    now = _told(now, known, seen)
    return plan if now == status else replace(plan, status=now, progress_only=alone)


def unsettled(recording: Recording) -> bool:
    """Whether callbacks of a finished recording are still to be delivered: its finalizer stays on for them."""
    told = recording.status.callbacks
    return told is not None and told.settled_at is None


def unsent(seen: Observed) -> int:
    """How many callbacks would go with the recording if it were let go now."""
    if seen.callback is None or not unsettled(seen.recording):
        return 0
    status = seen.recording.status
    settled = {one.letter.key for one in seen.progress.settled}
    known = order.waiting(status, [attempt.pod for attempt in status.attempts])
    return sum(letter.key not in settled for letter in known)


def let_go_at(recording: Recording, settings: Settings) -> datetime | None:
    """When a finished recording that is deleted is let go all the same; None while it is not deleted."""
    if recording.deleted_at is None or recording.status.ended_at is None:
        return None
    since = max(recording.deleted_at, times.parse(recording.status.ended_at))
    return since + timedelta(seconds=min(DELETED_SECONDS, settings.delete_seconds))


def silent_by(seen: Observed) -> datetime | None:
    """When the Pods of a finished recording are not listened to any more; None when nothing is waited for."""
    return _last_word(seen) if unsettled(seen.recording) else None


def _last_word(seen: Observed) -> datetime | None:
    status = seen.recording.status
    if not seen.recording.terminal or status.ended_at is None:
        return None
    return times.parse(status.ended_at) + timedelta(seconds=LAST_WORD_SECONDS)


def _acked(attempt: Attempt, progress: Progress) -> Attempt:
    seq = progress.beyond.get(order.source(attempt), 0)
    return attempt.model_copy(update={"acked": seq}) if seq > attempt.acked else attempt


def _with(known: CallbackStatus, progress: Progress) -> CallbackStatus:
    """What was settled, put in. Replayed letters were counted before."""
    dead = {letter.key: letter for letter in known.dead}
    given_up = known.dead_letters
    fresh = 0
    for one in progress.settled:
        letter = one.letter
        if letter.source != AGAIN:
            fresh += 1
            given_up += bool(one.error)
        elif not one.error:
            given_up -= dead.pop(letter.key, None) is not None
        if one.error:
            dead[letter.key] = DeadLetter(
                sequence=letter.sequence,
                key=letter.key,
                type=letter.type,
                ts=letter.ts,
                args=dict(letter.args),
                error=one.error,
            )
    return known.model_copy(
        update={
            "watermark": known.watermark + fresh,
            "acked": max(known.acked, progress.beyond.get(OPERATOR, 0)),
            "dead_letters": max(given_up, len(dead)),
            "dead": _newest(dead.values()),
        }
    )


def _newest(dead: Iterable[DeadLetter]) -> list[DeadLetter]:
    """As many as may be kept, by their place."""
    kept: list[DeadLetter] = []
    left = DEAD_CHARACTERS
    for letter in sorted(dead, key=lambda letter: letter.sequence, reverse=True)[:DEAD_MAX]:
        left -= len(json.dumps(letter.args))
        if left < 0:
            break
        kept.append(letter)
    return kept[::-1]


def _replayed(known: CallbackStatus, seen: Observed) -> CallbackStatus:
    """The dead letters are sent again when the annotation says so anew."""
    asked = (seen.recording.replay or "")[:256]
    if not asked or asked == known.replayed:
        return known
    now = times.to_ms(seen.now)
    again = [letter.model_copy(update={"again_since": now}) for letter in known.dead]
    settled_at = None if again else known.settled_at
    return known.model_copy(update={"replayed": asked, "dead": again, "settled_at": settled_at})


def _told(status: CloudRecordingStatus, before: CallbackStatus, seen: Observed) -> CloudRecordingStatus:
    """The error, the numbers and the condition that follow. A number alone is not worth a write."""
    new = status.callbacks
    if new is None:
        return status
    gone = silent(seen)
    every = order.waiting(status, [attempt.pod for attempt in status.attempts])
    error = seen.progress.error or None
    if error is None and every and new.watermark == before.watermark:
        error = new.last_error  # an operator that has only begun knows no better
    terminal = status.phase is not None and status.phase.terminal
    over = seen.callback is None or (
        not every and all(attempt.pod in gone or attempt.pod_uid is None for attempt in status.attempts)
    )
    settled_at = new.settled_at
    if terminal and over and settled_at is None:
        settled_at = times.render(seen.now)
    changed = new.model_copy(update={"last_error": error, "settled_at": settled_at})
    if changed != before:
        changed = changed.model_copy(update={"pending": len(every)})
    fact = _fact(changed, seen.callback is None and bool(every))
    told = status.model_copy(update={"callbacks": changed})
    if fact is None:
        return told
    generation = seen.recording.generation
    return told.model_copy(update={"conditions": conditions.merge(status.conditions, (fact,), generation, seen.now)})


def _fact(told: CallbackStatus, no_callback: bool) -> Fact | None:
    kind = ConditionType.CALLBACKS_DELIVERED
    if no_callback:
        return Fact(kind, "False", Reason.NO_CALLBACK, "the RecordingApp names no callback any more")
    if told.last_error is not None:
        return Fact(kind, "False", Reason.CALLBACK_FAILING, f"tried again: {told.last_error}")
    if told.dead_letters:
        text = f"{told.dead_letters} callbacks could not be delivered and were given up on"
        return Fact(kind, "False", Reason.DEAD_LETTERS, text)
    if told.watermark:
        return Fact(kind, "True", Reason.DELIVERED, "what has happened was told")
    return None
