"""The one error a client is told, and the codes it may carry.

    ApiFault          the request is answered with {"Response": {"Error": {"Code", "Message"}, "RequestId"}}, HTTP 200

Whoever finds the fault raises it (wire, api, kube); `asgi.App` alone turns it into an answer. Anything else that is
raised there is the gateway's own failure: the client gets `InternalError.CRInternalError` without a detail, the log the
traceback.

A message names the field, what was given and what is allowed. It never repeats a secret: `shown()` is for values that
a client sent, and is not to be used for SecretKey, AccessKey, UserSig, PrivateMapKey or a signature.

Codes: https://cloud.tencent.com/document/api/647/37089 and the generated SDKs' errorcodes.
"""

from __future__ import annotations

from typing import Final

AUTH_FAILURE: Final = "AuthFailure"
INVALID_AUTHORIZATION: Final = "AuthFailure.InvalidAuthorization"
SECRET_ID_NOT_FOUND: Final = "AuthFailure.SecretIdNotFound"
SIGNATURE_EXPIRE: Final = "AuthFailure.SignatureExpire"
SIGNATURE_FAILURE: Final = "AuthFailure.SignatureFailure"
TOKEN_FAILURE: Final = "AuthFailure.TokenFailure"
UNAUTHORIZED_OPERATION: Final = "AuthFailure.UnauthorizedOperation"

FAILED_OPERATION: Final = "FailedOperation"
UNSUPPORTED_METHOD: Final = "FailedOperation.CRUnsupportMethod"
RESTRICTED_CONCURRENCY: Final = "FailedOperation.RestrictedConcurrency"

INTERNAL_ERROR: Final = "InternalError.CRInternalError"

INVALID_ACTION: Final = "InvalidAction"
INVALID_PARAMETER: Final = "InvalidParameter"
INVALID_BODY: Final = "InvalidParameter.BodyParamsError"
INVALID_ROOM_ID: Final = "InvalidParameter.RoomId"
INVALID_SDK_APP_ID: Final = "InvalidParameter.SdkAppId"
INVALID_USER_ID: Final = "InvalidParameter.UserId"
INVALID_USER_SIG: Final = "InvalidParameter.UserSig"
OUT_OF_RANGE: Final = "InvalidParameter.OutOfRange"
INVALID_REQUEST: Final = "InvalidRequest"
MISSING_PARAMETER: Final = "MissingParameter"
NO_SUCH_VERSION: Final = "NoSuchVersion"
UNKNOWN_PARAMETER: Final = "UnknownParameter"

REQUEST_LIMIT_EXCEEDED: Final = "RequestLimitExceeded"
REQUEST_TOO_LARGE: Final = "RequestSizeLimitExceeded"
RESOURCE_NOT_FOUND: Final = "ResourceNotFound"
UNSUPPORTED_OPERATION: Final = "UnsupportedOperation"

# What has a code of its own; of the others `MissingParameter` and the field's name in the message must do.
# MissingParameter.StreamType exists too, but StreamType is optional: it is never due.
FIELDS_WITH_MISSING_CODE: Final = frozenset(
    {
        "AccessKey",
        "Bucket",
        "CloudStorage",
        "RecordMode",
        "RecordParams",
        "Region",
        "RoomId",
        "SdkAppId",
        "SecretKey",
        "StorageParams",
        "TaskId",
        "UserId",
        "UserSig",
        "Vendor",
    }
)

_SHOWN_CHARACTERS: Final = 64


class ApiFault(Exception):
    """A request that is refused: `code` is one of this module's, `message` is for the person who made the request."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def missing_parameter(field: str) -> str:
    """The code for a required field that is absent: `MissingParameter.<field>` where that exists."""
    return f"{MISSING_PARAMETER}.{field}" if field in FIELDS_WITH_MISSING_CODE else MISSING_PARAMETER


def shown(value: object) -> str:
    """A given value as it may stand in a message: printable ASCII, at most 64 characters. Not for secrets."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
