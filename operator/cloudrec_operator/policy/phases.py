"""The phase of a task from how its attempts stand."""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_contract.resources import Phase, ReportState
from cloudrec_operator.policy.attempts import View


def stage(view: View, must_stop: bool) -> Phase:
    """Where an attempt is that has not ended."""
    state = view.report.state
    if not view.made:
        return Phase.PENDING if view.attempt.index == 0 else Phase.STARTING
    if state is ReportState.ENDED:
        return Phase.FINALIZING
    if must_stop or state is ReportState.STOPPING:
        return Phase.STOPPING
    if state is ReportState.RECORDING:
        return Phase.RECORDING
    if state is ReportState.IDLE:
        return Phase.IDLE
    return Phase.STARTING


def leading(views: Sequence[View], must_stop: bool) -> View:
    """The attempt that the task's phase is taken from: the newest, or while that is on its way to the room, an older
    one that is still there."""
    newest = views[-1]
    if stage(newest, must_stop) in (Phase.PENDING, Phase.STARTING):
        there = [view for view in views[:-1] if view.going_on]
        for wanted in (Phase.RECORDING, Phase.IDLE):
            for view in reversed(there):
                if stage(view, must_stop) is wanted:
                    return view
    return newest


def winding_up(unsettled: Sequence[View]) -> Phase:
    """The phase of a task that no attempt goes on with, while something of it is still to come."""
    return Phase.STOPPING if any(view.going_on for view in unsettled) else Phase.FINALIZING
