"""The two calls of Tencent Cloud VOD's API that an upload takes, by Tencent's SDK.

The SDK's common client is used: the module with VOD's own models takes 130 MB of memory.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_pascal
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from cloudrec_contract.finish import VodAccount
from cloudrec_contract.secret import Secret
from cloudrec_recorder.vod.faults import of_api
from cloudrec_recorder.vod.interface import Committed, VodUnreachable

VERSION: Final = "2018-07-17"
SECONDS: Final = 30
"""For a connection, and for each wait for an answer."""

# At level DEBUG it logs answers whole, with the temporary keys in them.
logging.getLogger("tencentcloud_sdk_common").setLevel(logging.INFO)


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore")


class Certificate(_Answer):
    """`expired_time`: seconds since the Unix epoch, 0 when it is not told."""

    secret_id: str
    secret_key: SecretStr
    token: SecretStr | None = None
    expired_time: int = 0

    @property
    def keys(self) -> tuple[Secret, Secret, Secret]:
        token = self.token.get_secret_value() if self.token else ""
        return Secret(self.secret_id), Secret(self.secret_key.get_secret_value()), Secret(token)


class Ticket(_Answer):
    """Where an upload goes. Without a certificate the account's own keys are to be used."""

    storage_bucket: str = Field(min_length=3)
    storage_region: str = Field(pattern=r"^[a-z0-9-]+$")
    vod_session_key: str = Field(min_length=1)
    media_storage_path: str = Field(pattern=r"^/?[^/]")
    temp_certificate: Certificate | None = None


class _Done(_Answer):
    file_id: str = Field(min_length=1)
    media_url: str | None = None


_T = TypeVar("_T", bound=_Answer)


class Api:
    """Raises VodError."""

    def __init__(self, account: VodAccount, keys: tuple[Secret, Secret], sub_app_id: int | None) -> None:
        self._secrets = keys
        self._own = {"SubAppId": sub_app_id} if sub_app_id else {}
        address = urlsplit(account.endpoint)
        http = HttpProfile(protocol=address.scheme, endpoint=address.netloc, reqTimeout=SECONDS)
        profile = ClientProfile(httpProfile=http, language="en-US")
        try:
            credential = Credential(*(key.reveal() for key in keys))
            self._client = CommonClient("vod", VERSION, credential, account.region, profile)
        except TencentCloudSDKException as error:
            raise of_api(str(error.code), str(error.message), keys) from None

    def close(self) -> None:
        """The SDK has no way to end its connections."""
        self._client.request.conn._session.close()

    def apply(self, parameters: dict[str, Any]) -> Ticket:
        return self._call("ApplyUpload", parameters, Ticket)

    def commit(self, session: str) -> Committed:
        done = self._call("CommitUpload", {"VodSessionKey": session}, _Done)
        note = "" if done.media_url else "VOD has given no address: the file is to be had by its id"
        return Committed(done.file_id, done.media_url or "", note)

    def _call(self, action: str, parameters: dict[str, Any], answer: type[_T]) -> _T:
        try:
            said = self._client.call_json(action, parameters | self._own)["Response"]
            if fault := said.get("Error"):  # the SDK looks for it only where the content type is to its liking
                raise TencentCloudSDKException(fault["Code"], fault["Message"])
            return answer.model_validate(said)
        except TencentCloudSDKException as error:
            message = error.message.decode(errors="replace") if isinstance(error.message, bytes) else error.message
            raise of_api(str(error.code), str(message), self._secrets) from None
        except ValidationError as error:  # its own text repeats what was sent
            fields = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False))
            raise VodUnreachable("BadAnswer", f"the answer to {action} is of no use: {fields}") from None
        except OSError as error:  # of requests, when the answer ends in its middle
            raise VodUnreachable("ClientNetworkError", f"{action}: {type(error).__name__}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise VodUnreachable("BadAnswer", f"the answer to {action} is not of VOD's API") from None
