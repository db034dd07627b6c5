"""Conditions as in Kubernetes' API conventions: a list by type, with a time that moves only when the status does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Condition, ConditionType
from cloudrec_operator import times

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Fact:
    """What a condition shall say from now on."""

    type: ConditionType
    status: Truth
    reason: Reason
    message: str = ""


def plain(text: str) -> str:
    """Without control characters and the like: messages come from other people's servers, too, and go to terminals."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def merge(known: Sequence[Condition], facts: Iterable[Fact], generation: int, now: datetime) -> list[Condition]:
    """`known` with `facts` put in, in the order of ConditionType; others stay as they are."""
    by_type = {condition.type: condition for condition in known}
    for fact in facts:
        old = by_type.get(fact.type.value)
        since = old.last_transition_time if old and old.status == fact.status else times.render(now)
        by_type[fact.type.value] = Condition(
            type=fact.type.value,
            status=fact.status,
            reason=fact.reason.value,
            message=plain(fact.message[:MESSAGE_LIMIT]),
            last_transition_time=since,
            observed_generation=generation,
        )
    order = [type_.value for type_ in ConditionType]
    return sorted(by_type.values(), key=lambda c: order.index(c.type) if c.type in order else len(order))
