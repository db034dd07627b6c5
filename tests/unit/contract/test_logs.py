"""One form of line for every process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from cloudrec_contract.logs import JsonFormatter
from cloudrec_contract.secret import Secret

HELLO: dict[str, Any] = {"name": "n", "levelname": "INFO", "created": 0.25, "msg": "hello %s", "args": ("you",)}


def test_a_line() -> None:
    formatter = JsonFormatter(without=["settings"])
    formatter.fields.update(task="t-1", attempt=0)
    record = logging.makeLogRecord({**HELLO, "user": "u", "settings": object()})
    assert json.loads(formatter.format(record)) == {
        "ts": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "n",
        "message": "hello you",
        "task": "t-1",
        "attempt": 0,
        "user": "u",
    }


def test_secrets_stay_secret() -> None:
    secret = Secret("canary")
    line = JsonFormatter().format(logging.makeLogRecord({**HELLO, "args": (secret,), "token": secret}))
    assert "canary" not in line
    assert json.loads(line)["token"] == "***"


@pytest.mark.parametrize("package", ["cloudrec_operator", "cloudrec_recorder"])
def test_each_process_logs_so(package: str) -> None:
    script = (
        f"import logging; from {package} import logs; logs.configure('INFO'); "
        "logging.getLogger('x').warning('low', extra={'recording': 'a/b', 'seconds': 1.5, 'k8s_ref': {'name': 'b'}})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    line = json.loads(done.stderr)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "x",
        "message": "low",
        "recording": "a/b",
        "seconds": 1.5,
        "k8s_ref": {"name": "b"},
    }
