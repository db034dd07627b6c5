from __future__ import annotations

import asyncio
import logging

import pytest
from livekit.protocol.models import DisconnectReason
from livekit.protocol.rtc import JoinResponse, LeaveRequest, SignalResponse
from websockets.asyncio.server import ServerConnection

from cloudrec_recorder.rooms.livekit_signal import (
    RoomAbsent,
    SignalClient,
    SignalError,
    TokenRefused,
    signal_url,
)
from tests.unit.rooms.fake import FakeSignalServer


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("ws://host:7880", "ws://host:7880/rtc?"),
        ("http://host/", "ws://host/rtc?"),
        ("https://host/behind/", "wss://host/behind/rtc?"),
        ("wss://host", "wss://host/rtc?"),
    ],
)
def test_signal_url(url: str, start: str) -> None:
    assert signal_url(url).startswith(start)
    assert "auto_subscribe=0" in signal_url(url)


@pytest.mark.parametrize("url", ["", "host:7880", "ftp://host", "ws://"])
def test_no_url(url: str) -> None:
    with pytest.raises(ValueError):
        signal_url(url)


async def test_joins_with_the_token_in_a_header_and_in_no_log(
    fake: FakeSignalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client, join = await SignalClient.open(fake.url, "the-token")
    assert join.server_version == "x"
    assert client.on_loopback
    await client.close()
    assert fake.requests[0].headers["Authorization"] == "Bearer the-token"
    assert "the-token" not in fake.requests[0].path
    client_records = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert "the-token" not in "".join(record.getMessage() for record in client_records)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, "because", TokenRefused),
        (403, "because", TokenRefused),
        (404, "requested room does not exist", RoomAbsent),
        (404, "404 page not found", SignalError),
        (503, "because", SignalError),
    ],
)
async def test_refusals(fake: FakeSignalServer, status: int, body: str, error: type[Exception]) -> None:
    fake.status, fake.body = status, body
    with pytest.raises(error, match=f"HTTP {status}: {body}") as caught:
        await SignalClient.open(fake.url, "t")
    assert type(caught.value) is error


async def test_nobody_there() -> None:
    with pytest.raises(SignalError, match="cannot connect"):
        await SignalClient.open("ws://127.0.0.1:1", "t")
    with pytest.raises(SignalError, match="begins with"):
        await SignalClient.open("nonsense", "t")


async def test_answers_that_are_none(fake: FakeSignalServer) -> None:
    leave = SignalResponse(leave=LeaveRequest(reason=DisconnectReason.JOIN_FAILURE))
    for answer in (b"\xff\xff\xff", "text", leave.SerializeToString(), b""):

        async def handler(socket: ServerConnection, answer: bytes | str = answer) -> None:
            await socket.send(answer)
            await socket.wait_closed()

        fake.handler = handler
        with pytest.raises(SignalError):
            await SignalClient.open(fake.url, "t")


async def test_a_lost_connection_is_an_error_for_both_directions(fake: FakeSignalServer) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send(SignalResponse(join=JoinResponse()).SerializeToString())

    fake.handler = handler
    client, _ = await SignalClient.open(fake.url, "t")
    with pytest.raises(SignalError, match="lost"):
        await client.receive()
    with pytest.raises(SignalError, match="lost"):
        await client.leave()
    await client.close()


async def test_pings_and_notices_silence(fake: FakeSignalServer) -> None:
    client, _ = await SignalClient.open(fake.url, "t")
    pinging = asyncio.create_task(client.keep_alive(0.02, 0.1))
    for _ in range(10):
        assert (await client.receive()).WhichOneof("message") == "pong_resp"
    assert not pinging.done()
    with pytest.raises(SignalError, match="silent"):
        await asyncio.wait_for(pinging, 2)  # nobody reads the pongs any more
    await client.close()
