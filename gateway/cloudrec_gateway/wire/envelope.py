"""The answer: HTTP 200 in every case, a RequestId in every case, and exactly `application/json`.

The Python SDK takes any other status for a failure of the network, and passes over an error whose Content-Type has a
charset (it would return an empty result).
"""

from __future__ import annotations

import json
import random
import re
from typing import Final

from cloudrec_gateway.api.models import Response
from cloudrec_gateway.errors import ApiFault

CONTENT_TYPE: Final = (b"content-type", b"application/json")
TRACE_ID: Final = b"x-tc-traceid"

_TRACE: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def new_request_id() -> str:
    """A random UUID (RFC 9562, version 4), at a fraction of what the standard library takes; no secret."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def success(response: Response, request_id: str) -> bytes:
    """`{"Response": {…, "RequestId": …}}`; every response has at least one field (TaskId)."""
    return b'{"Response":%b,"RequestId":"%b"}}' % (response.json_bytes[:-1], request_id.encode())


def failure(fault: ApiFault, request_id: str) -> bytes:
    """`{"Response": {"Error": {"Code", "Message"}, "RequestId": …}}`."""
    error = {"Code": fault.code, "Message": fault.message}
    return json.dumps({"Response": {"Error": error, "RequestId": request_id}}, separators=(",", ":")).encode()


def headers(length: int, trace_id: bytes = b"") -> list[tuple[bytes, bytes]]:
    """Of an answer with a body of `length` bytes; X-TC-TraceId is given back (the Node SDK shows it)."""
    result = [CONTENT_TYPE, (b"content-length", b"%d" % length)]
    if trace_id and _TRACE.fullmatch(trace_id):
        result.append((TRACE_ID, trace_id))
    return result
