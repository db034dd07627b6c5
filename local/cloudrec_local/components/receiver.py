"""The callback receiver's process."""

from __future__ import annotations

import sys

from ..home import Home
from ..receiver.server import HEALTH
from ..state import SDK_APP_ID, StackState
from . import Component
from .checks import http_ok


def receiver(state: StackState, home: Home) -> Component:
    key = home.data / "receiver" / "key"
    return Component(
        "receiver",
        "receiver",
        (
            *(sys.executable, "-m", "cloudrec_local.receiver", f"--file={home.arrivals}", f"--key-file={key}"),
            *(f"--address={state.address}", f"--port={state.ports['receiver']}", f"--sdk-app-id={SDK_APP_ID}"),
        ),
        http_ok(state.ports["receiver"], HEALTH, state.address),
        files={key: state.callback_key.get_secret_value()},
        grace=2,
    )
