"""The bucket: SeaweedFS with its S3 gateway, one identity, one bucket that a page from anywhere may read (CORS)."""

from __future__ import annotations

import json
from pathlib import Path

from ..home import Home
from ..state import StackState
from . import Component
from .checks import accepts


def identities(state: StackState) -> str:
    """The S3 gateway's identity file: the stack's one key pair may do everything."""
    return json.dumps(
        {
            "identities": [
                {
                    "name": "cloudrec",
                    "credentials": [
                        {
                            "accessKey": state.s3_access_key,
                            "secretKey": state.s3_secret_key.get_secret_value(),
                        }
                    ],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        },
        indent=2,
    )


def leftovers(state: StackState) -> list[Path]:
    """Sockets that weed makes in /tmp, whatever it is told, and leaves there when it is killed."""
    services = ("master", "volume", "filer", "s3")
    ports = (state.ports.get("s3-grpc" if name == "s3" else f"weed-{name}-grpc") for name in services)
    return [
        Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock")  # noqa: S108 - weed's choice
        for name, port in zip(services, ports, strict=True)
        if port
    ]


def bucket(state: StackState, home: Home, weed: Path) -> Component:
    folder = home.data / "bucket"
    file = folder / "s3.json"
    port = state.ports
    argv = (
        *(str(weed), "-logtostderr=true", "server", f"-dir={folder}"),
        *(f"-ip={state.address}", f"-ip.bind={state.address}"),
        *(f"-master.port={port['weed-master']}", f"-master.port.grpc={port['weed-master-grpc']}"),
        *(f"-volume.port={port['weed-volume']}", f"-volume.port.grpc={port['weed-volume-grpc']}"),
        *(f"-filer.port={port['weed-filer']}", f"-filer.port.grpc={port['weed-filer-grpc']}"),
        *("-s3", f"-s3.port={port['s3']}", f"-s3.port.grpc={port['s3-grpc']}", f"-s3.config={file}"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=0"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        # Linux' abstract sockets: the default ones are files in /tmp that stay behind
        *(f"-filer.localSocket=@cloudrec-{port['weed-filer']}", f"-s3.localSocket=@cloudrec-{port['s3']}"),
    )
    return Component(
        "seaweedfs",
        "bucket",
        argv,
        accepts(port["s3"], state.address),
        env={"HOME": str(folder), "TMPDIR": str(folder)},  # it looks for its settings there
        files={file: identities(state)},
        grace=3,
    )
