"""The downward API and the environment of a container. Pure but for the lookup that is handed in."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..kubeapi import Object
from .rewrite import Rewrite, expand

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
HOST_IP = "127.0.0.1"

Lookup = Callable[[str, str], Awaitable[dict[str, bytes] | None]]


class ConfigError(Exception):
    """The container cannot be made yet (kubelet's CreateContainerConfigError); the message is kubelet's."""


def field(pod: Object, path: str, ip: str) -> str:
    """The value of a `fieldRef`."""
    known = {"status.podIP": ip, "status.podIPs": ip, "status.hostIP": HOST_IP, "status.hostIPs": HOST_IP}
    if path in known:
        return known[path]
    if match := _KEYED.fullmatch(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = pod["metadata"].get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return str(value)


async def environment(
    pod: Object, container: Object, base: Mapping[str, str], ip: str, lookup: Lookup, rewrite: Rewrite
) -> dict[str, str]:
    """A container's whole environment: `base`, `envFrom`, `env`, in that order, with mount paths rewritten.

    `lookup(kind, name)` gives the data of a Secret or ConfigMap of the Pod's namespace, or None.

    Raises:
        ConfigError: something that is not optional is missing.
    """
    env = dict(base)
    for source in container.get("envFrom", []):
        for word, kind in (("secretRef", "secrets"), ("configMapRef", "configmaps")):
            if reference := source.get(word):
                data = await lookup(kind, reference["name"])
                if data is None and not reference.get("optional"):
                    raise ConfigError(f'{kind.removesuffix("s")} "{reference["name"]}" not found')
                for key, content in (data or {}).items():
                    env[source.get("prefix", "") + key] = rewrite(content.decode(errors="replace"))
    for entry in container.get("env", []):
        if (source := entry.get("valueFrom")) is None:
            env[entry["name"]] = rewrite(expand(entry.get("value", ""), env))
        elif reference := source.get("fieldRef"):
            env[entry["name"]] = field(pod, reference["fieldPath"], ip)
        else:
            value = await _keyed(pod, source, lookup)
            if value is not None:
                env[entry["name"]] = rewrite(value)
    return env


async def _keyed(pod: Object, source: Object, lookup: Lookup) -> str | None:
    for word, kind in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
        if reference := source.get(word):
            data = await lookup(kind, reference["name"])
            if data is not None and reference["key"] in data:
                return data[reference["key"]].decode(errors="replace")
            if reference.get("optional"):
                return None
            if data is None:
                raise ConfigError(f'{kind.removesuffix("s")} "{reference["name"]}" not found')
            label = "Secret" if kind == "secrets" else "ConfigMap"
            namespace = pod["metadata"]["namespace"]
            raise ConfigError(f"couldn't find key {reference['key']} in {label} {namespace}/{reference['name']}")
    raise ConfigError(f"this node offers no {', '.join(source)}")
