"""Many datagrams by one system call: recvmmsg(2), which Python's socket module does not have.

25 streams are 6,000 datagrams a second. One `recvmsg` for each, with the objects that it makes, cost as much as
decrypting and parsing them.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from errno import EAGAIN
from typing import Final

DATAGRAMS: Final = 64
"""Read at once at most."""
DATAGRAM_BYTES_MAX: Final = 2048
"""One of this size or more is left out."""
SO_TIMESTAMPNS: Final = 35

_NAME_BYTES = 28  # struct sockaddr_in6
_ADDRESSES_MAX = 256

Address = tuple[str, int]
# its start and end in the buffer, who sent it, and when the kernel got it (Unix seconds; 0 when it does not say)
Datagram = tuple[int, int, Address, float]


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr` of Linux."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`: a message and, after it was received, its length."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_control = struct.Struct("@Niiqq")  # struct cmsghdr and the struct timespec of SO_TIMESTAMPNS
_MESSAGE_WORDS = ctypes.sizeof(_Message) // 4
_LENGTH_WORD = _Message.length.offset // 4
_SOL_SOCKET = int(socket.SOL_SOCKET)


class DatagramReader:
    """Reads one socket into one buffer, which each `receive` overwrites.

    The socket does not block, is AF_INET or AF_INET6, and stays its owner's.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.buffer = bytearray(DATAGRAMS * DATAGRAM_BYTES_MAX)
        self._fd = sock.fileno()
        self._names = bytearray(DATAGRAMS * _NAME_BYTES)
        self._controls = bytearray(DATAGRAMS * _control.size)
        self._no_controls = bytes(self._controls)
        self._addresses: dict[bytes, Address] = {}
        self._iovecs = (_Iovec * DATAGRAMS)()
        self._messages = (_Message * DATAGRAMS)()
        places = [_address(part) for part in (self.buffer, self._names, self._controls)]
        for index, (iovec, message) in enumerate(zip(self._iovecs, self._messages, strict=True)):
            iovec.base = places[0] + index * DATAGRAM_BYTES_MAX
            iovec.length = DATAGRAM_BYTES_MAX
            header = message.header
            header.name = places[1] + index * _NAME_BYTES
            header.name_length = _NAME_BYTES
            header.parts = ctypes.addressof(iovec)
            header.part_count = 1
            header.control = places[2] + index * _control.size
            header.control_length = _control.size
        view = memoryview(self._messages).cast("B")
        self._fresh = bytes(view)  # the kernel writes lengths over ours
        self._message_bytes = view
        self._lengths = view.cast("I")[_LENGTH_WORD::_MESSAGE_WORDS]
        self._place = ctypes.addressof(self._messages)

    def receive(self) -> int:
        """Read what is there, at most `DATAGRAMS`, and tell how many. Raises OSError: an earlier send's ICMP error."""
        self._message_bytes[:] = self._fresh
        self._controls[:] = self._no_controls
        count: int = _recvmmsg(self._fd, self._place, DATAGRAMS, 0, None)
        if count < 0:
            error = ctypes.get_errno()
            if error == EAGAIN:
                return 0
            raise OSError(error, "recvmmsg failed")
        return count

    def datagrams(self, count: int) -> Iterator[Datagram]:
        """The datagrams of the last `receive`, which gave this count. Empty and too long ones are left out."""
        start = 0
        names = struct.iter_unpack(f"{_NAME_BYTES}s", self._names)
        controls = _control.iter_unpack(self._controls)
        known = self._addresses
        # the lengths end it all
        for length, (name,), (_, level, kind, seconds, nanoseconds) in zip(
            self._lengths[:count].tolist(), names, controls, strict=False
        ):
            if 0 < length < DATAGRAM_BYTES_MAX:
                stamped = level == _SOL_SOCKET and kind == SO_TIMESTAMPNS
                received = seconds + nanoseconds * 1e-9 if stamped else 0.0
                yield start, start + length, known.get(name) or self._new_address(name), received
            start += DATAGRAM_BYTES_MAX

    def _new_address(self, name: bytes) -> Address:
        if len(self._addresses) >= _ADDRESSES_MAX:
            self._addresses.clear()
        address = self._addresses[name] = _parse_address(name)
        return address


def _address(memory: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _parse_address(name: bytes) -> Address:
    """Host and port of a `struct sockaddr_in` or `sockaddr_in6`."""
    (family,) = struct.unpack_from("=H", name)
    port, host = struct.unpack_from("!H4s", name, 2)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, host), port
    (scope,) = struct.unpack_from("=L", name, 24)
    address = (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope)
    # as the socket module writes it, with a link-local address's link behind
    return socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0], port
