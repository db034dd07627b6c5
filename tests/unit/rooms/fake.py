"""A signalling server that does what a test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from livekit.protocol.rtc import JoinResponse, Pong, SignalRequest, SignalResponse
from websockets.asyncio.server import Server, ServerConnection
from websockets.http11 import Request, Response

Handler = Callable[[ServerConnection], Awaitable[None]]


class FakeSignalServer:
    """`handler` speaks with a client that was let in; `status` refuses with `body`; `requests` are all that came."""

    def __init__(self) -> None:
        self.handler: Handler = self.join
        self.status: int | None = None
        self.body = "because"
        self.requests: list[Request] = []
        self.server: Server | None = None

    async def join(self, socket: ServerConnection) -> None:
        await socket.send(SignalResponse(join=JoinResponse(server_version="x")).SerializeToString())
        async for raw in socket:
            assert isinstance(raw, bytes)
            request = SignalRequest.FromString(raw)
            if request.WhichOneof("message") == "ping_req":
                pong = Pong(last_ping_timestamp=request.ping_req.timestamp)
                await socket.send(SignalResponse(pong_resp=pong).SerializeToString())

    def check(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return socket.respond(HTTPStatus(self.status), f"{self.body}\n") if self.status else None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{next(iter(self.server.sockets)).getsockname()[1]}"
