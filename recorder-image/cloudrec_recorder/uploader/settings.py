"""The sidecar's settings: all from its environment, checked once, with the variable's name in every complaint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from cloudrec_contract.finish import ConvertTask
from cloudrec_contract.spool import ObjectStore, Task
from cloudrec_recorder.uploader.kube import server_url
from cloudrec_recorder.uploader.spoolgauge import parse_quantity

HELP = """\
Uploads what a recorder writes, and reports it to Kubernetes.

It runs beside the recorder in its Pod, as a native sidecar, and is set up by the operator through its environment:

  CLOUDREC_NAMESPACE, CLOUDREC_RECORDING   the CloudRecording that this Pod belongs to
  CLOUDREC_POD, CLOUDREC_POD_UID           this Pod, whose attempt in the status it reports to
  CLOUDREC_TASK                            the recorder's task, as JSON (what of it does not change)
  CLOUDREC_STORE                           endpoint, region, bucket and keyPrefix, as JSON
  CLOUDREC_SPOOL                           folder shared with the recorder: task.json, journal.jsonl, media/
  CLOUDREC_BUCKET_CREDENTIALS              folder with the files accessKey and secretKey
  CLOUDREC_SERVICEACCOUNT                  folder with the files token and ca.crt
  KUBERNETES_SERVICE_HOST, _PORT           the API server, as in every Pod

when there is a backup store:

  CLOUDREC_BACKUP_STORE                    as CLOUDREC_STORE
  CLOUDREC_BACKUP_CREDENTIALS              as CLOUDREC_BUCKET_CREDENTIALS

when files are made after the end, or brought to VOD:

  CLOUDREC_CONVERT                         what there is to be, as JSON: the bucket's keys have to be allowed to list
                                           and to read then (and to delete, when no HLS is asked for)

and, seldom needed:

  CLOUDREC_BACKUP_SECONDS    how long the bucket has to fail until files go to the backup store (default 30: a store
                             that restarts is back by then), and how long after the recording's end it is waited for
                             the bucket with what the backup store has
  CLOUDREC_SPOOL_SIZE        size limit of the spool's emptyDir, such as 10Gi (default: none is known, and nothing is
                             dropped)
  CLOUDREC_SPOOL_HIGH_WATER  how much of that may be used, from 0 to 1; above it the oldest segments give way, those in
                             the backup store first (default 0.75: a kubelet measures each minute or so, and evicts)
  CLOUDREC_SALVAGE_SECONDS   how long the salvage of a dead recorder's open segments may take (default 60)
  CLOUDREC_GIVE_UP_SECONDS   how long after the recording's end an upload is retried (default 3000; the Pod's grace
                             period has to be longer)
  CLOUDREC_REPORT_SECONDS    how long the last report may take before the recorder is let go all the same (default 30)
  CLOUDREC_LOG_LEVEL         DEBUG, INFO, WARNING or ERROR (default INFO)

Exit status: 0 after SIGTERM, when all is uploaded or given up; 1 after an error of its own, to be restarted; 2 when a
setting is missing or wrong.
"""


class SettingsError(Exception):
    """A variable of the environment is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`give_up_seconds` counts from the recording's end; `high_water` is in bytes. No secret is held here, only folders
    that hold them."""

    namespace: str
    recording: str
    pod: str
    pod_uid: str
    task: Task
    store: ObjectStore
    spool: Path
    credentials: Path
    service_account: Path
    api_server: str
    backup: ObjectStore | None = None
    backup_credentials: Path | None = None
    convert: ConvertTask | None = None
    backup_seconds: float = 30.0
    high_water: int | None = None
    salvage_seconds: float = 60.0
    give_up_seconds: float = 3000.0
    report_seconds: float = 30.0
    log_level: str = "INFO"

    @property
    def task_id(self) -> str:
        return self.task.task_id


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""

    def text(name: str) -> str:
        value = environ.get(name, "")
        if not value:
            raise SettingsError(f"{name} is not set (see --help)")
        return value

    def number(name: str, default: float) -> float:
        try:
            value = float(environ.get(name) or default)
        except ValueError:
            raise SettingsError(f"{name} is not a number") from None
        if not 0 < value < 1e9:
            raise SettingsError(f"{name} is not a number above zero")
        return value

    def high_water() -> int | None:
        size = environ.get("CLOUDREC_SPOOL_SIZE")
        if not size:
            return None
        try:
            limit = parse_quantity(size)
        except ValueError as error:
            raise SettingsError(f"CLOUDREC_SPOOL_SIZE: {error}") from None
        part = number("CLOUDREC_SPOOL_HIGH_WATER", 0.75)
        if part > 1:
            raise SettingsError("CLOUDREC_SPOOL_HIGH_WATER is not a number from 0 to 1")
        return int(limit * part)

    backup = environ.get("CLOUDREC_BACKUP_STORE")
    convert = environ.get("CLOUDREC_CONVERT")
    level = environ.get("CLOUDREC_LOG_LEVEL") or "INFO"
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError("CLOUDREC_LOG_LEVEL is not one of DEBUG, INFO, WARNING, ERROR")
    api_server = server_url(text("KUBERNETES_SERVICE_HOST"), text("KUBERNETES_SERVICE_PORT"))
    return Settings(
        namespace=text("CLOUDREC_NAMESPACE"),
        recording=text("CLOUDREC_RECORDING"),
        pod=text("CLOUDREC_POD"),
        pod_uid=text("CLOUDREC_POD_UID"),
        task=_model(Task, "CLOUDREC_TASK", text("CLOUDREC_TASK")),
        store=_model(ObjectStore, "CLOUDREC_STORE", text("CLOUDREC_STORE")),
        spool=Path(text("CLOUDREC_SPOOL")),
        credentials=Path(text("CLOUDREC_BUCKET_CREDENTIALS")),
        service_account=Path(text("CLOUDREC_SERVICEACCOUNT")),
        api_server=api_server,
        backup=_model(ObjectStore, "CLOUDREC_BACKUP_STORE", backup) if backup else None,
        backup_credentials=Path(text("CLOUDREC_BACKUP_CREDENTIALS")) if backup else None,
        convert=_model(ConvertTask, "CLOUDREC_CONVERT", convert) if convert else None,
        backup_seconds=number("CLOUDREC_BACKUP_SECONDS", 30.0),
        high_water=high_water(),
        salvage_seconds=number("CLOUDREC_SALVAGE_SECONDS", 60.0),
        give_up_seconds=number("CLOUDREC_GIVE_UP_SECONDS", 3000.0),
        report_seconds=number("CLOUDREC_REPORT_SECONDS", 30.0),
        log_level=level,
    )


M = TypeVar("M", bound=BaseModel)


def _model(model: type[M], name: str, text: str) -> M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        what = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in wrong)
        raise SettingsError(f"{name} is wrong: {what}") from None
