"""Readiness checks: plain requests with a short deadline, False for every failure to answer."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 1.0


def http_ok(port: int, path: str) -> Callable[[], bool]:
    """Whether `GET path` on loopback answers 2xx."""

    def check() -> bool:
        return _status(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT), path)

    return check


def https_ok(port: int, path: str, ca: Path, certificate: Path, key: Path) -> Callable[[], bool]:
    """Whether `GET path` with a client certificate answers 2xx."""

    def check() -> bool:
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
        return _status(http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context), path)

    return check


def accepts(port: int) -> Callable[[], bool]:
    """Whether something accepts TCP connections on the port."""

    def check() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), TIMEOUT):
                return True
        except OSError:
            return False

    return check


def _status(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
