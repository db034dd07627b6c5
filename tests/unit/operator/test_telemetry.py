"""What is counted of conversions."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator.policy import conditions
from cloudrec_operator.policy.conditions import Fact
from cloudrec_operator.telemetry import Conversions
from tests.unit.operator.samples import NOW


def status(phase: Phase, *reasons: Reason) -> CloudRecordingStatus:
    told = [Fact(ConditionType.CONVERTED, "Unknown", reason) for reason in reasons]
    return CloudRecordingStatus(phase=phase, conditions=conditions.merge([], told, 1, NOW))


def test_each_conversion_is_counted_once_by_what_became_of_it() -> None:
    counted = Conversions()
    registry = CollectorRegistry()
    registry.register(counted)
    busy = status(Phase.FINALIZING, Reason.CONVERTING)
    for _ in range(2):
        done = status(Phase.COMPLETED, Reason.REMUXED)
        counted.noted(busy, done)
        counted.noted(done, done)
    counted.noted(busy, busy)
    counted.noted(busy, status(Phase.FAILED, Reason.CONVERT_FAILED))
    counted.noted(CloudRecordingStatus(), status(Phase.COMPLETED))

    def value(reason: str) -> float | None:
        return registry.get_sample_value("cloudrec_conversions_total", {"reason": reason})

    assert [value(reason) for reason in ("Remuxed", "ConvertFailed", "Converting")] == [2, 1, None]
