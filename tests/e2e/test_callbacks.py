"""The stack's receiver, down while a recording runs, and what it thinks of a forged callback."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from cloudrec_contract.events import EventType
from cloudrec_contract.resources import Phase
from cloudrec_local.cli import main
from cloudrec_local.receiver.log import read
from cloudrec_local.stack import Stack
from tests.e2e.task import Cluster, recording

pytestmark = [pytest.mark.media, pytest.mark.cluster]

ORDER = [EventType.RECORDER_STOP, EventType.UPLOAD_STOP]


async def test_what_happened_while_the_receiver_was_away_comes_in_order(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    await asyncio.to_thread(stack.stop, "receiver", 0)
    try:
        assert not stack.status().running
        await cluster.apply(tmp_path, recording("untold", "untold"))
        await cluster.phase("untold", Phase.IDLE)
        await cluster.until(
            "untold", lambda status: status.callbacks is not None and status.callbacks.last_error is not None
        )
        ended = await cluster.stop("untold")
        assert ended.callbacks is not None
        assert (ended.callbacks.watermark, ended.callbacks.settled_at) == (0, None)
    finally:
        await asyncio.to_thread(stack.start, "receiver")
    arrived = await cluster.callbacks("untold")
    kinds = [told.type for told in arrived]
    assert sorted(kinds[:2]) == [EventType.RECORDER_START, EventType.UPLOAD_START]
    assert kinds[2:] == ORDER
    assert (arrived[0].attempt or 0) >= 3  # at once, and every ten seconds
    assert [told.attempt for told in arrived[1:]] == [1, 1, 1]


async def test_a_forged_callback_is_refused_and_shown(stack: Stack) -> None:
    receiver = stack.status().receiver
    assert receiver is not None
    body = json.dumps({"EventType": 302, "EventInfo": {"TaskId": "forged", "Payload": {"LeaveCode": 0}}})
    headers = {"Content-Type": "application/json", "SdkAppId": "1400000001", "Sign": "Zm9yZ2Vk"}
    async with aiohttp.ClientSession() as session, session.post(receiver.url, data=body, headers=headers) as answer:
        assert answer.status == 401
        assert "HMAC-SHA256" in await answer.text()
    assert [(told.answer, told.signature) for told in read(receiver.arrivals) if told.task == "forged"] == [
        (401, "bad")
    ]
    options = ["--name", stack.home.root.name, "--task", "forged", "--no-follow"]
    shown = CliRunner(env={"CLOUDREC_HOME": str(stack.home.root.parent)}).invoke(main, ["callbacks", "tail", *options])
    assert "BAD SIGN  302 recorder stop" in shown.output
    assert "answered 401" in shown.output
