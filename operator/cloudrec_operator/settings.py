"""The operator's settings, each from an environment variable; `cloudrec-operator --help` prints this table."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from cloudrec_contract import __version__

PREFIX = "CLOUDREC_"


class Settings(BaseModel):
    """Every setting `x_y` is read from CLOUDREC_X_Y. Times are in seconds unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorder_image: str = Field(f"cloudrec/recorder:{__version__}", description="image of both containers of a Pod")
    spool_size: str = Field(
        "16Gi",
        pattern=r"^[0-9]+(Ki|Mi|Gi|Ti)$",
        description="limit of a Pod's spool: what can wait while the bucket is away (about 1 GB an hour a camera)",
    )
    start_seconds: float = Field(
        600, ge=1, description="how long a recording may take from its acceptance into the room before it has failed"
    )
    stop_seconds: float = Field(
        120, ge=1, description="how long a recorder that was told to stop may go on before its Pod is deleted"
    )
    finalize_seconds: float = Field(
        3600,
        ge=1,
        description="how long the rest may be uploaded after the recorder's end; also the Pod's grace period",
    )
    finish_seconds: float = Field(
        86400,
        ge=1,
        description="how long it may take after the recording's end to bring files from the backup store into the "
        "bucket, to make MP4 and AAC, and to bring them to VOD",
    )
    delete_seconds: float = Field(
        900, ge=1, description="how long a deleted recording may hold on to be flushed before it is let go"
    )
    token_seconds: float = Field(
        21600, ge=60, description="life of a room token; it is renewed at half, and needed to join and to rejoin"
    )
    refuse_evictions: bool = Field(
        False,
        description="true: a PodDisruptionBudget in each namespace that records, so that a drain waits until the "
        "recordings have ended; false: they are handed over. Once made it stays: kubectl delete pdb cloudrec-recorders",
    )
    retry_seconds: float = Field(30, ge=0.1, description="longest pause between two looks at what is not there yet")
    workers: int = Field(8, ge=1, le=64, description="recordings that are reconciled at the same time")
    namespace: str = Field("", description="watch only this namespace (default: all)")
    lease_namespace: str = Field(
        "", description="where the Lease of the leader is (default: the service account's, else cloudrec-system)"
    )
    lease_seconds: float = Field(15, ge=1, description="a leader that is silent for so long is succeeded by another")
    identity: str = Field("", description="name of this replica in the Lease (default: the host's name)")
    health_port: int = Field(8080, ge=0, le=65535, description="port of /healthz; 0 for none")
    health_host: str = Field("0.0.0.0", description="address of /healthz")
    recorder_metrics_port: int = Field(
        0, ge=0, le=65535, description="port of the recorders' /metrics (Prometheus); 0 for none"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics (Prometheus); 0 for none")
    metrics_host: str = Field("0.0.0.0", description="address of /metrics")
    serviceaccount: str = Field(
        "",
        description="folder with token, ca.crt and namespace (with KUBERNETES_SERVICE_HOST and _PORT); "
        "default: KUBECONFIG or ~/.kube/config",
    )
    log_level: str = Field("INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR")

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises pydantic.ValidationError on a bad value. Other variables of the prefix are left alone."""
        values = {name: env[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in env}
        return cls.model_validate(values)

    @property
    def who(self) -> str:
        return self.identity or socket.gethostname()


def describe() -> str:
    """The settings as text: variable, default, meaning."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default == "" else f" [{field.default:g}]" if isinstance(field.default, float) else ""
        if not default and field.default != "":
            default = f" [{field.default}]"
        lines.append(f"  {PREFIX}{name.upper()}{default}\n      {field.description}")
    return "\n".join(lines)
