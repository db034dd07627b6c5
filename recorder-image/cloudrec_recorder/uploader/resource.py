"""Watching the Pod's own CloudRecording."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import ValidationError

from cloudrec_contract.mix import Mix
from cloudrec_contract.resources import DesiredState, Subscription
from cloudrec_recorder.uploader.kube import ApiError, Resource
from cloudrec_recorder.uploader.retry import backoff

logger = logging.getLogger(__name__)

BETWEEN_WATCHES_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the resource asks of this Pod. `subscribe` and `mix` are None when they cannot be read; `declared`: the
    operator has this Pod's attempt in the status, so reports are let in; `superseded`: a later attempt records already;
    `replaced`: it is to stop because another task of the same app, room and robot began."""

    desired: DesiredState
    subscribe: Subscription | None
    acked: int = 0
    declared: bool = False
    gone: bool = False
    superseded: bool = False
    replaced: bool = False
    mix: Mix | None = None


GONE = Wishes(DesiredState.STOPPED, None, gone=True)


def wishes(resource: Resource | None, task_id: str, pod: str, pod_uid: str) -> Wishes:
    """Read a resource. One that is gone, being deleted, or another of the same name wants the recording to stop."""
    if resource is None or resource["metadata"].get("uid") != task_id:
        return GONE
    spec = resource.get("spec", {})
    replaced = bool(resource.get("status", {}).get("replacedBy"))
    told = spec.get("desiredState") == DesiredState.STOPPED or "deletionTimestamp" in resource["metadata"]
    try:
        subscribe = Subscription.model_validate(spec.get("streams", {}).get("subscribe", {}))
    except ValidationError:
        logger.warning("streams.subscribe cannot be read and stays as it was")
        subscribe = None
    try:
        mix = Mix.model_validate(spec["mix"]) if "mix" in spec else None
    except ValidationError:
        logger.warning("mix cannot be read and stays as it was")
        mix = None
    attempts = resource.get("status", {}).get("attempts", [])
    own = next((a for a in attempts if a.get("pod") == pod and a.get("podUID") == pod_uid), None)
    return Wishes(
        desired=DesiredState.STOPPED if told or replaced else DesiredState.RUNNING,
        subscribe=subscribe,
        acked=int(own.get("acked", 0)) if own else 0,
        declared=own is not None,
        superseded=own is not None and any(_records_after(own, attempt) for attempt in attempts),
        replaced=replaced and not told,
        mix=mix,
    )


def _records_after(own: Resource, other: Resource) -> bool:
    later = int(other.get("index", 0)) > int(own.get("index", 0)) and other.get("role", "Record") == "Record"
    return later and bool(other.get("report", {}).get("ready"))


class Api(Protocol):
    """The part of `kube.Recordings` that is used here."""

    async def get(self) -> tuple[Resource | None, str]: ...

    def watch(self, resource_version: str) -> AsyncIterator[Resource]: ...


T = TypeVar("T")


async def follow(api: Api, read: Callable[[Resource | None], T], changed: Callable[[T], None]) -> None:
    """Call `changed` with what `read` makes of the resource, now and whenever that changes, until cancelled.

    An API server that is away changes nothing: what was read last holds, and it is asked again with a capped backoff.
    """
    failures = 0
    last: T | None = None

    def see(resource: Resource | None) -> None:
        nonlocal last
        now = read(resource)
        if now != last:
            last = now
            changed(now)

    while True:
        try:
            resource, version = await api.get()
            see(resource)
            while True:
                async for event in api.watch(version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        see(None if event["type"] == "DELETED" else event["object"])
                failures = 0
                await asyncio.sleep(BETWEEN_WATCHES_SECONDS)
        except ApiError as error:
            # 410 is among them, and usual: the version to go on from is too old.
            failures += 1
            noted = logging.WARNING if failures in (2, 3, 4) else logging.DEBUG
            logger.log(noted, "the resource cannot be watched: %s", error)
            await asyncio.sleep(backoff(failures, random.random(), first=BETWEEN_WATCHES_SECONDS))
