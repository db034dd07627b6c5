"""Mount paths become folders of the host: the stand-in for a mount namespace. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
DEFAULT_TERMINATION_LOG = "/dev/termination-log"

Rewrite = Callable[[str], str]


def mounts(container: Mapping[str, Any], volumes: Mapping[str, str], termination_log: str) -> dict[str, str]:
    """Container path to host path, for each volume mount and the termination log.

    `volumes` maps volume names to folders of the host.
    """
    table = {container.get("terminationMessagePath") or DEFAULT_TERMINATION_LOG: termination_log}
    for mount in container.get("volumeMounts", []):
        folder = volumes[mount["name"]]
        if below := mount.get("subPath"):
            folder = f"{folder}/{below}"
        table[mount["mountPath"].rstrip("/") or "/"] = folder
    return table


def rewriter(table: Mapping[str, str]) -> Rewrite:
    """A function that rewrites one value: a mounted path, or `name=` followed by one.

    A value is rewritten when it equals a mount path or lies below it; the longest mount path wins.
    """
    ordered = sorted(table.items(), key=lambda entry: len(entry[0]), reverse=True)

    def path(value: str) -> str:
        for mounted, folder in ordered:
            if value == mounted or value.startswith(mounted.rstrip("/") + "/"):
                return folder + value[len(mounted.rstrip("/")) :]
        return value

    def rewrite(value: str) -> str:
        if value.startswith("/"):
            return path(value)
        name, equals, rest = value.partition("=")
        return f"{name}={path(rest)}" if equals and rest.startswith("/") else value

    return rewrite


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Kubernetes' `$(NAME)`: replaced when known, left alone when not; `$$` is a `$`."""

    def one(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(one, text)


def command(
    container: Mapping[str, Any], entrypoint: Iterable[str], env: Mapping[str, str], rewrite: Rewrite
) -> list[str]:
    """The process's argument vector: `command` (else the image's entry point), then `args`."""
    words = [*(container.get("command") or entrypoint), *container.get("args", [])]
    return [rewrite(expand(word, env)) for word in words]
