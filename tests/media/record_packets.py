"""Make tests/unit/capture/packets anew: what one user's camera and microphone send by way of a LiveKit server.

Run as `python -m tests.media.record_packets`. The packets are as they come out of SRTP, with their arrival times.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from unittest import mock

from cloudrec_local.stack import Stack
from cloudrec_recorder.capture.peer import MediaPeer
from cloudrec_recorder.capture.receiver import MediaReceiver
from cloudrec_recorder.capture.rtp import Buffer
from cloudrec_recorder.rooms import livekit
from tests.media.room import Robot, Server, User
from tests.unit.capture.recorded import FOLDER, Packet, write

SECONDS = 3.0
TAKEN: list[Packet] = []
OFFERS: list[str] = []


class Tap(MediaReceiver):
    """A receiver that keeps what it is given."""

    def rtp(self, buffer: Buffer, start: int, end: int, arrival: float) -> None:
        TAKEN.append(Packet(arrival, rtcp=False, data=bytes(buffer[start:end])))
        super().rtp(buffer, start, end, arrival)

    def rtcp(self, data: Buffer, arrival: float) -> None:
        TAKEN.append(Packet(arrival, rtcp=True, data=bytes(data)))
        super().rtcp(data, arrival)


async def answer(peer: MediaPeer, sdp: str, receiver: MediaReceiver) -> str:
    OFFERS.append(sdp)
    return await real_answer(peer, sdp, receiver)


real_answer = MediaPeer.answer


async def record(stack: Stack) -> None:
    server = Server(stack)
    with mock.patch.object(livekit, "MediaReceiver", Tap), mock.patch.object(MediaPeer, "answer", answer):
        async with Robot(server, "recorded") as robot, User(server, "anna", "recorded"):
            await robot.until(lambda: bool(robot.units("anna") and robot.units("anna", "audio")))
            await asyncio.sleep(SECONDS)
            offer = OFFERS[-1]
    kept = [line for line in offer.splitlines() if not line.startswith("a=candidate")]
    text = re.sub("(a=ice-pwd:).*", r"\1an-ice-password-made-up", "\n".join(kept) + "\n")
    (FOLDER / "anna.sdp").write_text(text)
    first = TAKEN[0].arrival
    write(FOLDER / "anna.bin", [packet for packet in TAKEN if packet.arrival < first + SECONDS])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack("packets", home=Path(folder) / "home", components=("livekit",))
        stack.up()
        try:
            asyncio.run(record(stack))
        finally:
            stack.down()


if __name__ == "__main__":
    main()
