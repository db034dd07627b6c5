"""The stack as a whole: made, joined, mended, interrupted, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from cloudrec_local.components.bucket import leftovers
from cloudrec_local.errors import ComponentError, StackError
from cloudrec_local.processes import MARK, marked, tail, wait_until
from cloudrec_local.stack import Stack
from cloudrec_local.state import PORTS

pytestmark = pytest.mark.cluster


def members(root: Path) -> list[int]:
    return [r.pid for r in marked(lambda env: env.get(MARK, "").partition("#")[0] == str(root))]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the parts that start quickly; not started yet."""
    stack = Stack("small", home=tmp_path / "small", components=["livekit"])
    yield stack
    stack.down()


def test_second_up_joins_and_mends(small: Stack) -> None:
    first = small.up()
    assert first.running
    again = Stack("small", home=small.home.root, components=["livekit"])
    assert again.up() == first
    small.stop("livekit", grace=0)
    assert not small.status().running
    mended = again.up()
    assert mended.running
    assert mended.livekit == first.livekit
    assert mended.components["livekit"].pid != first.components["livekit"].pid


def test_two_stacks_side_by_side(small: Stack, tmp_path: Path) -> None:
    other = Stack("other", home=tmp_path / "other", components=["livekit"])
    try:
        one, two = small.up(), other.up()
        assert one.livekit is not None
        assert two.livekit is not None
        assert one.livekit.url != two.livekit.url
        other.down()
        assert small.status().running
    finally:
        other.down()


def test_down_leaves_nothing_behind(tmp_path: Path) -> None:
    stack = Stack("brief", home=tmp_path / "brief", components=["livekit", "bucket"])
    stack.up()
    state = stack.state()
    assert len(members(stack.home.root)) >= 2
    assert stack.down()
    assert not stack.home.root.exists()
    assert members(stack.home.root) == []
    assert not any(path.exists() for path in leftovers(state))
    for name in PORTS["livekit"]:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", state.ports[name])) != 0
    assert not stack.down()


def test_a_part_that_dies_early_is_told_with_its_log(small: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    small.up()
    small.stop("livekit", grace=0)
    (small.home.data / "livekit" / "livekit.yaml").unlink()
    monkeypatch.setattr("cloudrec_local.components.livekit.configuration", lambda state: "port: none\n")
    with pytest.raises(ComponentError, match=r"(?s)livekit ended early.*cannot unmarshal"):
        small.up()
    assert small.home.root.exists()  # it was there before this call


def test_parts_that_a_running_stack_does_not_have(small: Stack) -> None:
    small.up()
    with pytest.raises(StackError, match="made without bucket") as caught:
        Stack("small", home=small.home.root, components=["livekit", "bucket"]).up()
    assert caught.value.hint == "end it first: cloudrec down --name small"


def heed_interrupts() -> None:
    """Shells have what they start in the background ignore SIGINT, and so would a test's child."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_up_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    env = {**os.environ, "CLOUDREC_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "cloudrec_local.cli", "up", "--name", "cut", "--only", "api"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, preexec_fn=heed_interrupts)
    root = tmp_path / "home" / "cut"
    try:
        assert wait_until(lambda: "etcd is ready" in tail(tmp_path / "out"), 30), tail(tmp_path / "out")
        process.send_signal(number)
        assert process.wait(20) != 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in tail(tmp_path / "out")
    assert members(root) == []
    assert not root.exists()


def test_status_tells_a_script_all_it_needs(small: Stack) -> None:
    small.up()
    env = {**os.environ, "CLOUDREC_HOME": str(small.home.root.parent)}
    command = [sys.executable, "-m", "cloudrec_local.cli", "status", "--name", "small", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
    said = json.loads(done.stdout)
    assert said["running"] is True
    assert set(said["livekit"]) == {"url", "httpUrl", "apiKey", "apiSecret"}
    assert Path(said["components"]["livekit"]["log"]).exists()
    small.stop("livekit", grace=0)
    assert subprocess.run(command, env=env, capture_output=True, timeout=30).returncode == 1


def test_bucket_keeps_what_is_put_and_refuses_the_wrong_key(bucket_stack: Stack) -> None:
    bucket = bucket_stack.status().bucket
    assert bucket is not None

    def client(secret: str) -> object:
        return boto3.client(
            "s3",
            endpoint_url=bucket.endpoint,
            region_name=bucket.region,
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=secret,
        )

    right = client(bucket.secret_key)
    right.put_object(Bucket=bucket.bucket, Key="a+b/c.txt", Body=b"x")  # type: ignore[attr-defined]
    found = right.get_object(Bucket=bucket.bucket, Key="a+b/c.txt")["Body"]  # type: ignore[attr-defined]
    with found:
        assert found.read() == b"x"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client("wrong").put_object(Bucket=bucket.bucket, Key="y", Body=b"")  # type: ignore[attr-defined]
    with pytest.raises(ClientError, match="NoSuchBucket"):
        right.put_object(Bucket="no-such-bucket", Key="y", Body=b"")  # type: ignore[attr-defined]


def test_joining_is_quick(small: Stack) -> None:
    small.up()
    before = time.monotonic()
    small.up()
    assert time.monotonic() - before < 5
