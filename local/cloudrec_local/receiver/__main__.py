"""The receiver's program: `python -m cloudrec_local.receiver --help`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from aiohttp import web

from cloudrec_contract.secret import Secret

from .server import Receiver


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    receiver = Receiver(Secret(options.key_file.read_text()), options.sdk_app_id, options.file)
    runner = web.AppRunner(receiver.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, options.address, options.port).start()
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cloudrec_local.receiver", description=__doc__)
    parser.add_argument("--address", required=True, help="where it listens")
    parser.add_argument("--port", required=True, type=int, help="HTTP port")
    parser.add_argument("--key-file", required=True, type=Path, help="file with the key that callbacks are signed with")
    parser.add_argument("--sdk-app-id", required=True, type=int, help="whose callbacks these are")
    parser.add_argument("--file", required=True, type=Path, help="where arrivals are kept, a JSON object a line")
    options = parser.parse_args()
    options.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
