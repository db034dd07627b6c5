"""Two recordings of the same app, room and robot: the one that was accepted later ends the other, with LeaveCode 101.

The later one is told by `status.epoch`, which is when it was accepted: creation times have seconds only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import LeaveCode
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy.attempts import LEAVING, Ending

Object = Mapping[str, Any]


def same(one: Object, other: Object) -> bool:
    """Whether both are of the same app, room and robot. Of the API server's objects, whose defaults are filled in."""
    if one["metadata"]["namespace"] != other["metadata"]["namespace"]:
        return False
    return _place(one) == _place(other)


def _place(recording: Object) -> tuple[Any, ...]:
    spec = recording.get("spec") or {}
    return spec.get("appRef"), spec.get("room"), (spec.get("robot") or {}).get("userId")


def later(own: Object, others: Iterable[Object]) -> str | None:
    """The task that began last of those that began after `own` and of the same app, room and robot, if there is one."""
    began = _began(own)
    if began is None:
        return None
    after = [when for other in others if same(own, other) and (when := _began(other)) is not None and when > began]
    return max(after)[1] if after else None


def ending(end: Ending, recording: Recording) -> Ending:
    """`end`, saying for whom, if the task was told to end for another."""
    if recording.status.replaced_by is None or end.reason is not Reason.STOPPED:
        return end
    reason, message = LEAVING[LeaveCode.REPEATED_ENTRY]
    return replace(end, reason=reason, message=message)


def _began(recording: Object) -> tuple[int, str] | None:
    status = recording.get("status") or {}
    if "taskId" not in status or "epoch" not in status:
        return None
    return status["epoch"], status["taskId"]
