"""The child process of `process.SyntheticUsers`: it runs a plan by the SDK and does what it is told on standard input.

`python -m cloudrec_local.synthetic.child URL KEY ROOM`; see `messages` for the rest.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from pydantic import ValidationError

from cloudrec_contract.model import Model
from cloudrec_contract.secret import Secret
from cloudrec_local.synthetic.messages import SECRET_VARIABLE, ErrorMessage, EventMessage, TruthMessage, encode
from cloudrec_local.synthetic.plan import Command, Plan
from cloudrec_local.synthetic.server import PublishError, Server, without_tokens
from cloudrec_local.synthetic.session import Session
from cloudrec_local.synthetic.truth import Truth


async def serve(server: Server, room: str) -> int:
    """Run one plan; returns the exit code."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        plan = Plan.model_validate_json(await reader.readline())
        session = Session(server, room, plan, lambda event: _say(EventMessage(event=event)))
        loop.add_signal_handler(signal.SIGTERM, session.stop)
        _say(TruthMessage(truth=await _run(session, reader)))
    except (PublishError, ValidationError) as error:
        _say(ErrorMessage(message=str(error)))
        return 1
    finally:
        pipe.close()
    return 0


async def _run(session: Session, reader: asyncio.StreamReader) -> Truth:
    """Run a session and the commands that come in beside it, until either ends."""

    async def obey() -> None:
        async for line in reader:
            session.command(Command.model_validate_json(line))

    running, listening = asyncio.create_task(session.run()), asyncio.create_task(obey())
    await asyncio.wait([running, listening], return_when=asyncio.FIRST_COMPLETED)
    session.stop()
    truth = await running
    listening.cancel()
    await asyncio.wait([listening])
    if not listening.cancelled():
        listening.result()
    return truth


def _say(message: Model) -> None:
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()


def _tame_sdk_logs() -> None:
    """Only errors, and no tokens in them."""

    def strike(record: logging.LogRecord) -> bool:
        record.msg, record.args = without_tokens(record.getMessage()), ()
        return True

    os.environ.setdefault("RUST_LOG", "off")  # its native log, past Python's, to which all of it comes too
    sdk = logging.getLogger("livekit")
    sdk.setLevel(logging.ERROR)
    sdk.addFilter(strike)


def main() -> None:
    """Run, and end without taking the interpreter down in order: native threads of the SDK that still log then would
    call into it, and abort the process."""
    url, key, room = sys.argv[1:]
    _tame_sdk_logs()
    code = asyncio.run(serve(Server(url, key, Secret(os.environ[SECRET_VARIABLE])), room))
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
