"""What may go wrong between the operator and the API server.

OperatorError
├── ConnectionMissing      no service account, no kubeconfig: main says so and exits
├── CannotListen           the port of /metrics: main says so and exits
├── NotLeader              a write was held back: the reconciler drops the key, the next leader takes it
└── ApiError               an answer of the API server, or none
    ├── NotFound           404
    ├── Conflict           409: newer than what was read, or there already; the reconciler looks again
    ├── Refused            400, 401, 403, 422: the same request will not do better soon; retried with backoff
    └── Unavailable        429, 5xx, network, time-out; retried with backoff
"""

from __future__ import annotations


class OperatorError(Exception):
    """Root of the operator's own errors."""


class ConnectionMissing(OperatorError):
    """There is nothing to connect with."""


class CannotListen(OperatorError):
    """The port of /metrics is taken, or the address is not ours."""


class NotLeader(OperatorError):
    """This replica does not lead, or no longer."""


class ApiError(OperatorError):
    """`status` is the HTTP code, 0 when there was no answer; `reason` as in Kubernetes' Status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class Refused(ApiError):
    pass


class Unavailable(ApiError):
    pass


def api_error(status: int, reason: str, message: str) -> ApiError:
    """The error of an HTTP code."""
    kind: type[ApiError]
    if status == 404:
        kind = NotFound
    elif status == 409:
        kind = Conflict
    elif status == 429 or status >= 500 or status == 0:
        kind = Unavailable
    else:
        kind = Refused
    return kind(status, reason, message)
