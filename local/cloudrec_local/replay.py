"""Sending dead letters again: what a recording's status says of it (pure), and the wait for its end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from cloudrec_contract.resources import (
    GROUP,
    RECORDINGS,
    REPLAY_ANNOTATION,
    VERSION,
    CloudRecordingStatus,
    DeadLetter,
)

from .errors import StackError

OBEY_SECONDS = 30.0
"""In which an operator takes an annotation up, one that has just taken over too."""
PERIOD = 0.3
_REQUEST_SECONDS = 10


class Recordings(Protocol):
    """The recordings of one namespace."""

    def get(self, name: str) -> dict[str, Any] | None:
        """The resource, or None when there is none. Raises StackError."""
        ...

    def all(self) -> list[dict[str, Any]]:
        """Raises StackError."""
        ...

    def annotate(self, name: str, key: str, value: str) -> None:
        """Raises StackError."""
        ...


class KubeRecordings:
    """`Recordings` of a cluster, with a kubeconfig's rights. Raises StackError when that cannot be used."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        try:
            config.load_kube_config(str(kubeconfig))
        except (ConfigException, OSError) as error:
            raise StackError(f"{kubeconfig} cannot be used: {error}") from error
        self._api = client.CustomObjectsApi()
        self._namespace = namespace

    def get(self, name: str) -> dict[str, Any] | None:
        return self._call(lambda: self._api.get_namespaced_custom_object(*self._where, name, **_LIMIT))

    def all(self) -> list[dict[str, Any]]:
        found = self._call(lambda: self._api.list_namespaced_custom_object(*self._where, **_LIMIT))
        items: list[dict[str, Any]] = (found or {}).get("items", [])
        return items

    def annotate(self, name: str, key: str, value: str) -> None:
        body = {"metadata": {"annotations": {key: value}}}
        merge = {"_content_type": "application/merge-patch+json", **_LIMIT}
        if self._call(lambda: self._api.patch_namespaced_custom_object(*self._where, name, body, **merge)) is None:
            raise StackError(f"recording {self._namespace}/{name} is gone")

    @property
    def _where(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self._namespace, RECORDINGS

    def _call(self, call: Callable[[], object]) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", call())
        except ApiException as error:
            if error.status == 404:
                return None
            raise StackError(f"the Kubernetes API refused: {error.status} {error.reason}") from error
        except HTTPError as error:
            raise StackError(f"the Kubernetes API cannot be reached: {error}") from error


_LIMIT: dict[str, Any] = {"_request_timeout": _REQUEST_SECONDS}


@dataclass(frozen=True, slots=True)
class Standing:
    """A recording's dead letters as its status has them. `lost`: how many are not kept any more."""

    told: bool
    dead: tuple[DeadLetter, ...] = ()
    lost: int = 0
    replayed: str = ""
    error: str = ""

    @classmethod
    def of(cls, resource: dict[str, Any]) -> Standing:
        """`told` False: the recording's app names no callback."""
        found = CloudRecordingStatus.model_validate(resource.get("status", {})).callbacks
        if found is None:
            return cls(False)
        lost = max(0, found.dead_letters - len(found.dead))
        return cls(True, tuple(found.dead), lost, found.replayed or "", found.last_error or "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a replay is: of `total` letters these are `delivered`; `trying` are under way, `dead` are given up again.

    `obeyed`: the operator has seen the order. `error`: why the last try failed.
    """

    total: int
    obeyed: bool
    delivered: int = 0
    trying: int = 0
    dead: int = 0
    error: str = ""

    @property
    def over(self) -> bool:
        return self.obeyed and not self.trying


def outcome(before: Standing, now: Standing, order: str) -> Outcome:
    """Where the letters of `before` are `now`, after the annotation was set to `order`."""
    if now.replayed != order:
        return Outcome(len(before.dead), False, error=now.error)
    left = {letter.key: letter for letter in now.dead}
    mine = [left[letter.key] for letter in before.dead if letter.key in left]
    trying = sum(letter.again_since is not None for letter in mine)
    errors = [letter.error for letter in mine if letter.again_since is None]
    return Outcome(
        total=len(before.dead),
        obeyed=True,
        delivered=len(before.dead) - len(mine),
        trying=trying,
        dead=len(mine) - trying,
        error=now.error or (errors[-1] if errors else ""),
    )


def fresh_order() -> str:
    """A value for the annotation that was never there."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(4)}"


def chosen(recordings: Recordings, name: str | None, namespace: str) -> dict[str, Standing]:
    """The recording, or (None) all that have dead letters.

    Raises:
        StackError: there is no such recording, or it has none.
    """
    if name is None:
        every = {item["metadata"]["name"]: Standing.of(item) for item in recordings.all()}
        found = {one: standing for one, standing in every.items() if standing.dead}
        if not found:
            raise StackError(f"none of the {len(every)} recordings in namespace {namespace} has dead letters")
        return found
    resource = recordings.get(name)
    if resource is None:
        raise StackError(
            f"there is no recording {name!r} in namespace {namespace}", "cloudrec kubectl get crec --all-namespaces"
        )
    standing = Standing.of(resource)
    if not standing.told:
        raise StackError(f"recording {name!r} has no callbacks: its RecordingApp names none", "docs/callbacks.md")
    if not standing.dead:
        raise StackError(f"recording {name!r} has no dead letters: nothing is to be sent again")
    return {name: standing}


def replay(
    recordings: Recordings,
    before: dict[str, Standing],
    seconds: float,
    show: Callable[[dict[str, Outcome]], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Outcome]:
    """Order it of each recording and wait until all letters are settled, at most `seconds`; how far each one is then.

    A recording that goes away meanwhile keeps the outcome that was seen last.

    Raises:
        StackError: no operator has taken an order up within OBEY_SECONDS.
    """
    order = fresh_order()
    began = clock()
    for name in before:
        recordings.annotate(name, REPLAY_ANNOTATION, order)
    found = {name: Outcome(len(standing.dead), False) for name, standing in before.items()}
    while True:
        for name in [one for one, known in found.items() if not known.over]:
            resource = recordings.get(name)
            if resource is None:
                raise StackError(f"recording {name!r} was deleted meanwhile")
            found[name] = outcome(before[name], Standing.of(resource), order)
        show(found)
        waited = clock() - began
        if deaf := [name for name, known in found.items() if not known.obeyed and waited > OBEY_SECONDS]:
            raise StackError(
                f"no operator took it up within {OBEY_SECONDS:.0f} s ({', '.join(deaf)})",
                "see whether it runs: cloudrec kubectl -n cloudrec-system get pods",
            )
        if all(known.over for known in found.values()) or (
            waited > seconds and all(known.obeyed for known in found.values())
        ):
            return found
        sleep(PERIOD)


def kinds(letters: Sequence[DeadLetter]) -> str:
    """Which events: `301, 304 (2), 305`."""
    counts: dict[int, int] = {}
    for letter in letters:
        counts[letter.type] = counts.get(letter.type, 0) + 1
    return ", ".join(f"{kind} ({count})" if count > 1 else str(kind) for kind, count in sorted(counts.items()))
