"""The node agent's program: `python -m cloudrec_local.node --help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path

from aiohttp import web

from ..kubeapi import KubeApi
from ..state import Image
from .agent import Agent
from .server import application, tls


async def run(options: argparse.Namespace) -> None:
    """Run the node until SIGTERM or SIGINT. Its containers go on; the next agent adopts them."""
    images = {name: Image.model_validate(image) for name, image in json.loads(options.images.read_text()).items()}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with KubeApi.from_kubeconfig(options.kubeconfig) as api:
        agent = Agent(
            name=options.name,
            api=api,
            folder=options.home,
            images=images,
            port=options.port,
            mark=options.mark,
        )
        runner = web.AppRunner(application(agent.pod), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", options.port, ssl_context=tls(options.pki)).start()
        work = asyncio.create_task(agent.run())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await runner.cleanup()
        if work.done():
            work.result()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cloudrec_local.node", description=__doc__)
    parser.add_argument("--name", required=True, help="the Node's name")
    parser.add_argument("--home", required=True, type=Path, help="folder for Pods")
    parser.add_argument("--kubeconfig", required=True, type=Path, help="credentials of system:node:NAME")
    parser.add_argument("--images", required=True, type=Path, help="JSON: image reference to path, env, entrypoint")
    parser.add_argument("--port", required=True, type=int, help="HTTPS port for the API server (logs)")
    parser.add_argument("--pki", required=True, type=Path, help="folder with ca.crt, kubelet.crt and kubelet.key")
    parser.add_argument("--mark", required=True, help="what its processes carry in their environment")
    options = parser.parse_args()
    options.home.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
