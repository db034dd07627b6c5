"""How the operator finds the API server: a service account's folder, or a kubeconfig; for kopf and for us."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from cloudrec_operator.errors import ConnectionMissing

FALLBACK_NAMESPACE = "cloudrec-system"


@dataclass(frozen=True)
class Connection:
    """`configuration` is the client library's; it reads a rotated token again by itself."""

    configuration: Any
    namespace: str
    token_file: Path | None = None

    def for_kopf(self) -> kopf.ConnectionInfo:
        """Credentials as kopf wants them; asked for again after a 401, so a rotated token is read anew."""
        known = self.configuration
        if self.token_file is not None:
            token: str | None = self.token_file.read_text().strip()
        else:
            token = str(known.api_key.get("BearerToken", "")).removeprefix("Bearer ").strip() or None
        return kopf.ConnectionInfo(
            server=known.host,
            ca_path=known.ssl_ca_cert,
            insecure=None if known.verify_ssl else True,
            token=token,
            certificate_path=known.cert_file,
            private_key_path=known.key_file,
        )


async def connect(serviceaccount: str = "", env: Mapping[str, str] = os.environ) -> Connection:
    """The service account in that folder if one is named, else KUBECONFIG's context. Raises ConnectionMissing."""
    configuration = Configuration()
    try:
        if serviceaccount:
            folder = Path(serviceaccount)
            loader = InClusterConfigLoader(str(folder / "token"), str(folder / "ca.crt"), environ=env)
            loader.load_and_set(configuration)
            namespace = folder / "namespace"
            name = namespace.read_text().strip() if namespace.is_file() else FALLBACK_NAMESPACE
            return Connection(configuration, name, folder / "token")
        await load_kube_config(config_file=env.get("KUBECONFIG"), client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise ConnectionMissing(
            f"no way to the Kubernetes API: {error}. Set KUBECONFIG, or CLOUDREC_SERVICEACCOUNT with "
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"
        ) from error
    return Connection(configuration, FALLBACK_NAMESPACE)
