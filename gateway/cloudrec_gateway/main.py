"""`cloudrec-gateway`: the TRTC recording API over CloudRecordings."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import uvloop
from pydantic import ValidationError

from cloudrec_contract import __version__, logs
from cloudrec_gateway.serving import CannotServe, serve
from cloudrec_gateway.settings import Settings, describe

log = logging.getLogger(__name__)

DESCRIPTION = """\
Serves CreateCloudRecording, DescribeCloudRecording, ModifyCloudRecording and DeleteCloudRecording of the TRTC API
(2019-07-22) at /, and /healthz, /readyz, /metrics, /openapi.json beside it. Replicas share nothing but the Kubernetes
API. SIGTERM ends it in good order.

It serves the RecordingApps that have spec.api, and needs the CRDs (crds/), the operator, and its permissions
(manifests/rbac.yaml). It connects by the service account's folder.
"""


def main() -> int:
    """Exit code 0 after a signal, 1 when it could not go on, 2 on a bad setting."""
    parser = argparse.ArgumentParser(
        prog="cloudrec-gateway",
        description=DESCRIPTION,
        epilog=f"settings, each an environment variable [default]:\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cloudrec-gateway {__version__}")
    parser.parse_args()
    try:
        settings = Settings.from_env()
    except ValidationError as invalid:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_input=False))
        sys.stderr.write(f"cloudrec-gateway: {faults}\nsee cloudrec-gateway --help\n")
        return 2
    logs.configure(settings.log_level)
    for noisy in ("uvicorn.error", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except CannotServe as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
