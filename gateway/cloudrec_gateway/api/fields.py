"""What the parameter models are made of: the base of requests, types that several share, faults that rules raise.

JSON types are strict (`true` is no integer, `"1"` is no number). A member that is `null` is one that is left out, as
all of Tencent's SDKs see it, and so is an empty string or an empty list: SDKs of typed languages send them for what was
never set. Numbers that stand for a choice are ranges, not literals: pydantic takes `true` for the literal 1.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.alias_generators import to_pascal
from pydantic_core import PydanticCustomError

from cloudrec_gateway.errors import INVALID_PARAMETER, MISSING_PARAMETER, UNKNOWN_PARAMETER

INT64_MAX = 2**63 - 1
LIST_MAX = 32
WINDOWS_MAX = 25
MEMBERS_MAX = 64
"""More than any block has: of a larger one only the first unknown member is told, so that it costs little."""
NO_SUCH = "no such parameter (names are case-sensitive)"


class Params(BaseModel):
    """A block of parameters. Names are TRTC's own and case-sensitive; unknown ones are refused."""

    model_config = ConfigDict(
        alias_generator=to_pascal,
        field_title_generator=lambda name, _: to_pascal(name),
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, data: Any) -> Any:
        """Take away what is as good as left out; an empty required text is missing, not merely short."""
        if not isinstance(data, dict):
            return data
        if len(data) > MEMBERS_MAX:
            known = {field.alias for field in cls.model_fields.values()}
            fault(UNKNOWN_PARAMETER, NO_SUCH, next(name for name in data if name not in known))
        return {key: value for key, value in data.items() if value is not None and value != "" and value != []}


def fault(code: str, message: str, *path: str | int) -> NoReturn:
    """Refuse a value with one of `errors.py`'s codes; `path` leads from the model that is validated to the field.

    For validators only: pydantic carries it to `parse`, which makes an ApiFault of it.
    """
    raise PydanticCustomError("trtc", "{message}", {"code": code, "message": message, "path": path})


def missing(message: str, *path: str | int) -> NoReturn:
    """Refuse a block because of what the other parameters make necessary in it."""
    fault(MISSING_PARAMETER, message, *path)


def _key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{1,1024}", value.get_secret_value()):
        fault(INVALID_PARAMETER, "1 to 1024 characters of printable ASCII without blanks are allowed")
    return value


def _signature(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[ -~]+", value.get_secret_value()):
        fault(INVALID_PARAMETER, "printable ASCII is allowed")
    return value


Key = Annotated[SecretStr, AfterValidator(_key)]
"""An access key or its secret."""
UserSig = Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(_signature)]
"""A UserSig or a PrivateMapKey: what is inside is looked at where the application's key is known."""

Flag = Annotated[int, Field(ge=0, le=1)]
UserId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Of a user in the room, or `prefix.*$`."""
Text = Annotated[str, Field(max_length=1024)]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]


def _image_url(value: str) -> str:
    """The guide's characters; the suffix may stand before a query."""
    if not re.fullmatch(r"https?://[a-zA-Z0-9\-._~:/?#\[\]@!&()*+,%=]{1,2048}", value):
        fault(
            INVALID_PARAMETER,
            "a URL with http:// or https:// of at most 2048 characters out of a-z A-Z 0-9 and "
            "- . _ ~ : / ? # [ ] @ ! & ( ) * + , % = is allowed",
        )
    try:
        parts = urlsplit(value)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host:
        fault(INVALID_PARAMETER, "the URL has no valid host")
    if not parts.path.lower().endswith((".jpg", ".jpeg", ".png")):
        fault("InvalidParameter.CheckSuffixFailed", "the URL must end with .jpg, .jpeg or .png (a query may follow)")
    return value


ImageUrl = Annotated[str, AfterValidator(_image_url)]
