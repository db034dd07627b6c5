"""The finisher's settings: all from its environment, checked once, with the variable's name in every complaint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from cloudrec_contract.finish import ConvertTask
from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.uploader.kube import server_url
from cloudrec_recorder.uploader.settings import SettingsError

HELP = """\
Brings the files of a recording that are only in its backup store into its bucket, and removes them from there; and
makes MP4 and AAC of what is in the bucket, or brings it to VOD.

It runs in a Pod of its own after the recording's end, and is set up by the operator through its environment:

  CLOUDREC_NAMESPACE, CLOUDREC_RECORDING   the CloudRecording
  CLOUDREC_TASK_ID                         its uid
  CLOUDREC_POD                             this Pod, whose attempt in the status it reports to
  CLOUDREC_STORE                           endpoint, region, bucket and keyPrefix, as JSON
  CLOUDREC_BUCKET_CREDENTIALS              folder with the files accessKey and secretKey
  CLOUDREC_SERVICEACCOUNT                  folder with the files token and ca.crt
  KUBERNETES_SERVICE_HOST, _PORT           the API server, as in every Pod

when there is a backup store:

  CLOUDREC_BACKUP_STORE                    as CLOUDREC_STORE
  CLOUDREC_BACKUP_CREDENTIALS              as CLOUDREC_BUCKET_CREDENTIALS; its keys have to be allowed to list, to
                                           read, and to delete (without the last the copies stay)

when there are files to be made, or to be brought to VOD (one of the two there has to be):

  CLOUDREC_CONVERT                         what there is to be, as JSON
  CLOUDREC_VOD_CREDENTIALS                 for VOD: folder with its backend's keys

and, seldom needed:

  CLOUDREC_FINISH_SECONDS    how long it is tried (default 86400: the bucket may be away for hours)
  CLOUDREC_REPORT_SECONDS    how long the last report may take (default 300)
  CLOUDREC_ACK_SECONDS       how long it is waited for some acknowledgement when more events are to be told than the
                             report holds (default 300)
  CLOUDREC_TERMINATION_LOG   file for why it failed
  CLOUDREC_LOG_LEVEL         DEBUG, INFO, WARNING or ERROR (default INFO)

Exit status: 0 when all was done that can be done, and after SIGTERM; 1 when it is to be tried again; 2 when a setting
is missing or wrong.
"""

_VARIABLES: Final = {
    "namespace": "CLOUDREC_NAMESPACE",
    "recording": "CLOUDREC_RECORDING",
    "task_id": "CLOUDREC_TASK_ID",
    "pod": "CLOUDREC_POD",
    "store": "CLOUDREC_STORE",
    "backup": "CLOUDREC_BACKUP_STORE",
    "credentials": "CLOUDREC_BUCKET_CREDENTIALS",
    "backup_credentials": "CLOUDREC_BACKUP_CREDENTIALS",
    "convert": "CLOUDREC_CONVERT",
    "vod_credentials": "CLOUDREC_VOD_CREDENTIALS",
    "service_account": "CLOUDREC_SERVICEACCOUNT",
    "host": "KUBERNETES_SERVICE_HOST",
    "port": "KUBERNETES_SERVICE_PORT",
    "finish_seconds": "CLOUDREC_FINISH_SECONDS",
    "report_seconds": "CLOUDREC_REPORT_SECONDS",
    "ack_seconds": "CLOUDREC_ACK_SECONDS",
    "termination_log": "CLOUDREC_TERMINATION_LOG",
    "log_level": "CLOUDREC_LOG_LEVEL",
}


class Settings(BaseModel):
    """Times in seconds. No secret is held here, only folders that hold them. `backup` or `convert` is there, or
    both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    recording: str
    task_id: str
    pod: str
    store: Json[ObjectStore]
    credentials: Path
    backup: Json[ObjectStore] | None = None
    backup_credentials: Path | None = None
    convert: Json[ConvertTask] | None = None
    vod_credentials: Path | None = None
    service_account: Path
    host: str
    port: str
    finish_seconds: float = Field(86400.0, gt=0, lt=1e9)
    report_seconds: float = Field(300.0, gt=0, lt=1e9)
    ack_seconds: float = Field(300.0, gt=0, lt=1e9)
    termination_log: Path | None = None
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @property
    def api_server(self) -> str:
        return server_url(self.host, self.port)


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    try:
        settings = Settings.model_validate(
            {field: environ[name] for field, name in _VARIABLES.items() if environ.get(name)}
        )
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)
        raise SettingsError("; ".join(f"{_VARIABLES[str(e['loc'][0])]}: {e['msg']}" for e in wrong)) from None
    if settings.backup is None and settings.convert is None:
        raise SettingsError("CLOUDREC_BACKUP_STORE and CLOUDREC_CONVERT are both not set: there is nothing to do")
    if settings.backup is not None and settings.backup_credentials is None:
        raise SettingsError("CLOUDREC_BACKUP_CREDENTIALS is not set, and CLOUDREC_BACKUP_STORE is")
    if settings.convert is not None and settings.convert.vod is not None and settings.vod_credentials is None:
        raise SettingsError("CLOUDREC_VOD_CREDENTIALS is not set, and CLOUDREC_CONVERT is for VOD")
    return settings
