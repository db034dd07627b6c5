"""Readiness checks: plain requests with a short deadline, False for every failure to answer."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

LOOPBACK = "127.0.0.1"
TIMEOUT = 1.0


def http_ok(port: int, path: str, address: str = LOOPBACK) -> Callable[[], bool]:
    """Whether `GET path` answers 2xx."""

    def check() -> bool:
        return _status(http.client.HTTPConnection(address, port, timeout=TIMEOUT), path)

    return check


def https_ok(
    port: int, path: str, ca: Path, certificate: Path, key: Path, address: str = LOOPBACK
) -> Callable[[], bool]:
    """Whether `GET path` with a client certificate answers 2xx."""

    def check() -> bool:
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
        return _status(http.client.HTTPSConnection(address, port, timeout=TIMEOUT, context=context), path)

    return check


def accepts(port: int, address: str = LOOPBACK) -> Callable[[], bool]:
    """Whether something accepts TCP connections on the port."""

    def check() -> bool:
        try:
            with socket.create_connection((address, port), TIMEOUT):
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
