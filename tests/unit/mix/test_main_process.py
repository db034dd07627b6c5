"""The process itself: `python -m cloudrec_recorder.mix`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cloudrec_recorder.mix import wire
from tests.unit.mix.films import RED, at, decoded, fields, near, setup, window

COMMAND = [sys.executable, "-m", "cloudrec_recorder.mix"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def told(frames: int) -> bytes:
    messages: list[wire.ToComposer] = [
        setup(64, 48),
        wire.Stream(number=0, user_id="alice", media="main", kind="video"),
        wire.Scene(windows=[window(0, 0, 64, 48)]),
    ]
    for number, (data, keyframe) in enumerate(fields([RED] * frames)):
        messages += [wire.Unit(0, 0, number / 30, keyframe, "H264", data), wire.Tick(number / 30)]
    return b"".join(map(wire.encode, messages))


def said(output: bytes) -> list[wire.FromComposer]:
    return [message for message in wire.Splitter().feed(output) if isinstance(message, wire.FromComposer)]


def test_pictures_come_out_and_it_ends_when_told(process: subprocess.Popen[bytes]) -> None:
    output, errors = process.communicate(told(30) + wire.encode(wire.End(1.0)), timeout=60)
    messages = said(output)
    pictures = [message for message in messages if isinstance(message, wire.Picture)]
    assert [picture.time for picture in pictures] == [number / 30 for number in range(30)]
    assert all(near(at(planes, 30, 20), RED) for planes in decoded(picture.data for picture in pictures))
    assert isinstance(messages[-1], wire.Done)
    assert isinstance(messages[-2], wire.Status)
    assert process.returncode == 0, errors


def test_it_ends_with_its_input(process: subprocess.Popen[bytes]) -> None:
    output, errors = process.communicate(told(30), timeout=60)
    assert sum(isinstance(message, wire.Picture) for message in said(output)) > 20
    assert process.returncode == 0, errors


def test_sigterm_is_an_end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(told(30))
    splitter, messages = wire.Splitter(), []
    while not any(isinstance(message, wire.Picture) for message in messages):
        messages += list(splitter.feed(process.stdout.read(1 << 16)))
    process.send_signal(signal.SIGTERM)
    while data := process.stdout.read(1 << 16):
        messages += list(splitter.feed(data))
    assert isinstance(messages[-1], wire.Done)
    assert process.wait(30) == 0


def test_nobody_reads(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(told(30))
    assert process.wait(30) == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 20,
        wire.encode(wire.Tick(0)),
        wire.encode(setup()) + wire.encode(wire.Done()),
        wire.encode(setup()) * 2,
    ],
)
def test_nonsense_ends_it(process: subprocess.Popen[bytes], nonsense: bytes) -> None:
    _, errors = process.communicate(nonsense, timeout=60)
    assert process.returncode == 1
    assert b"no message of this place" in errors
