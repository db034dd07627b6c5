"""The gateway's settings, each from an environment variable; `cloudrec-gateway --help` prints this table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "CLOUDREC_"


class Settings(BaseModel):
    """Every setting `x_y` is read from CLOUDREC_X_Y. Times are in seconds unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("0.0.0.0", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any")
    public_hosts: str = Field(
        "",
        description="names that clients know it by, separated by commas, where a proxy changes the header Host",
    )
    namespace: str = Field("", description="serve only the RecordingApps of this namespace (default: all)")
    service: str = Field(
        "cloudrec-gateway",
        description="the Service of all replicas, in the service account's namespace: rates are divided by its ready "
        "endpoints; empty: this replica is the only one",
    )
    secrets_seconds: float = Field(
        5, ge=0.1, description="how often the Secrets with credentials are read; a key that was revoked works so long"
    )
    accept_seconds: float = Field(
        5,
        ge=0.1,
        le=5.5,
        description="how long a Create waits for the operator to decide; its answer takes 6 s at most",
    )
    keep_seconds: int = Field(
        86400, ge=0, description="how long the resource of a recording that was made here is kept after its end"
    )
    drain_seconds: float = Field(
        3, ge=0, description="how long requests are served after SIGTERM: load balancers hear of the end a little later"
    )
    shutdown_seconds: int = Field(10, ge=1, description="how long requests that are being served may go on after that")
    serviceaccount: str = Field(
        "/var/run/secrets/kubernetes.io/serviceaccount",
        description="folder with token, ca.crt and namespace (with KUBERNETES_SERVICE_HOST and _PORT)",
    )
    log_level: str = Field("INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR")

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises pydantic.ValidationError on a bad value. Other variables of the prefix are left alone."""
        values = {name: env[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in env}
        return cls.model_validate(values)

    @property
    def account(self) -> Path:
        return Path(self.serviceaccount)

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host.strip() for host in self.public_hosts.split(",") if host.strip())


def describe() -> str:
    """The settings as text: variable, default, meaning."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        shown = f" [{default}]" if default else ""
        lines.append(f"  {PREFIX}{name.upper()}{shown}\n      {field.description}")
    return "\n".join(lines)
