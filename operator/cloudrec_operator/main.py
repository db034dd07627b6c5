"""`cloudrec-operator`: turns CloudRecordings into recorder Pods."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

from pydantic import ValidationError

from cloudrec_contract import __version__
from cloudrec_operator import logs
from cloudrec_operator.errors import OperatorError
from cloudrec_operator.observed import explain
from cloudrec_operator.running import operate
from cloudrec_operator.settings import Settings, describe

log = logging.getLogger(__name__)

DESCRIPTION = """\
Watches CloudRecordings (cloudrec.dev/v1alpha1) and makes one recorder Pod for each that is accepted.
Several may run at once: one leads, by the Lease cloudrec-operator. SIGTERM ends it and gives the Lease up.

It needs the CRDs (crds/), its permissions (manifests/rbac.yaml) and the recorders' admission policy
(manifests/admission.yaml). It connects by CLOUDREC_SERVICEACCOUNT, else by KUBECONFIG or ~/.kube/config.
"""


async def run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await operate(settings, stop)


def main() -> int:
    """Exit code 0 after a signal, 1 when it could not go on, 2 on a bad setting."""
    parser = argparse.ArgumentParser(
        prog="cloudrec-operator",
        description=DESCRIPTION,
        epilog=f"settings, each an environment variable [default]:\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cloudrec-operator {__version__}")
    parser.parse_args()
    try:
        settings = Settings.from_env()
    except ValidationError as invalid:
        sys.stderr.write(f"cloudrec-operator: {explain(invalid)}\nsee cloudrec-operator --help\n")
        return 2
    logs.configure(settings.log_level)
    try:
        asyncio.run(run(settings))
    except OperatorError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
