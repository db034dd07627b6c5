"""What the operator has decided of a recording that a client waits for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Condition, ConditionType
from cloudrec_gateway.errors import (
    FAILED_OPERATION,
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    RESTRICTED_CONCURRENCY,
    ApiFault,
)
from cloudrec_gateway.kube.cache import Task

_CODES: Final = {
    Reason.TOO_MANY_TASKS: RESTRICTED_CONCURRENCY,
    Reason.INVALID_SPEC: INVALID_PARAMETER,
    Reason.ENDPOINT_UNKNOWN: INVALID_PARAMETER,
}
"""The rest is FailedOperation: something is wrong with the app, not with the request. So it is when the endpoint is not
known of a recording to VOD: its stores are the app's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`fault` None: accepted."""

    fault: ApiFault | None = None


def decision(task: Task) -> Decision | None:
    """None while it is open. The Secret of a request is made after its recording: until then none is missing."""
    if task.status.task_id is not None:
        return Decision()
    refused = _refused(task)
    if refused is not None and refused.reason != Reason.SECRET_NOT_FOUND:
        return Decision(_fault(refused, vod="vod" in task.raw["spec"]["storage"]))
    if task.status.phase is not None and task.status.phase.terminal:
        return Decision(ApiFault(FAILED_OPERATION, "the task was stopped before it began"))
    return None


def undecided(task: Task) -> ApiFault:
    """The answer when there is no decision in time."""
    refused = _refused(task)
    why = f" ({refused.reason}: {refused.message})" if refused is not None else ""
    return ApiFault(INTERNAL_ERROR, f"it was not decided in time whether the task can begin; ask again{why}")


def _refused(task: Task) -> Condition | None:
    conditions = task.status.conditions
    return next((c for c in conditions if c.type == ConditionType.ACCEPTED and c.status == "False"), None)


def _fault(refused: Condition, *, vod: bool) -> ApiFault:
    try:
        code = _CODES.get(Reason(refused.reason), FAILED_OPERATION)
    except ValueError:
        code = FAILED_OPERATION
    if vod and refused.reason == Reason.ENDPOINT_UNKNOWN:
        code = FAILED_OPERATION
    return ApiFault(code, f"{refused.reason}: {refused.message}")
