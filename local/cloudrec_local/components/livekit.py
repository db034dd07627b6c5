"""The LiveKit server: one node on the stack's address, its own ports and key."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..home import Home
from ..state import LOOPBACK, StackState
from . import Component
from .checks import http_ok


def configuration(state: StackState) -> str:
    """LiveKit's configuration file.

    Loopback candidates must be asked for, and media is pinned to one address, one UDP and one TCP port, so that stacks
    beside each other, and a firewall, are no trouble.
    """
    loopback = state.address == LOOPBACK
    return yaml.safe_dump(
        {
            "port": state.ports["livekit"],
            "bind_addresses": [state.address],
            "keys": {state.livekit_key: state.livekit_secret.get_secret_value()},
            "rtc": {
                "udp_port": state.ports["livekit-udp"],
                "tcp_port": state.ports["livekit-tcp"],
                "node_ip": state.address,
                "use_external_ip": False,
                "enable_loopback_candidate": loopback,
                **(
                    {"interfaces": {"includes": ["lo"]}} if loopback else {"ips": {"includes": [f"{state.address}/32"]}}
                ),
            },
            "room": {"auto_create": True},
            "logging": {"level": "info", "json": False},
        },
        sort_keys=False,
    )


def livekit(state: StackState, home: Home, program: Path) -> Component:
    file = home.data / "livekit" / "livekit.yaml"
    return Component(
        "livekit",
        "livekit",
        (str(program), "--config", str(file)),
        http_ok(state.ports["livekit"], "/", state.address),
        files={file: configuration(state)},
        grace=2,  # it would wait for its participants to leave
    )
