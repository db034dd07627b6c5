"""The room token (`cloudrec_contract.roomtoken`), kept in a Secret that only the recorder container mounts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cloudrec_contract import naming
from cloudrec_contract.resources import API_VERSION, Room, RoomNames, RoomType
from cloudrec_contract.secret import Secret
from cloudrec_operator import times
from cloudrec_operator.observed import Recording

EXPIRES = "cloudrec.dev/expires-at"
KEY = "token"


def room_name(names: RoomNames, room: Room) -> str:
    """The media server's name of the room."""
    pattern = names.number if room.type is RoomType.NUMBER else names.string
    return pattern.replace("{id}", room.id)


def due(expires: datetime | None, now: datetime, life: timedelta) -> bool:
    """Whether the token is to be made (again): at half of its life, or when there is none."""
    return expires is None or now >= expires - life / 2


def secret_name(pod: str) -> str:
    return f"{pod}-room"


def secret(recording: Recording, index: int, token: Secret, expires: datetime) -> dict[str, Any]:
    """The Secret's manifest, owned by the recording; for server-side apply."""
    pod = naming.pod_name(recording.name, recording.uid, index)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(pod),
            "namespace": recording.namespace,
            "labels": {
                "app.kubernetes.io/name": "cloudrec",
                "app.kubernetes.io/managed-by": "cloudrec",
                "cloudrec.dev/recording": recording.name,
            },
            "annotations": {EXPIRES: times.render(expires)},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": "CloudRecording", "name": recording.name, "uid": recording.uid}
            ],
        },
        "type": "Opaque",
        "stringData": {KEY: token.reveal()},
    }


def expiry(raw: dict[str, Any], recording: Recording) -> datetime | None:
    """When the token in a Secret that was read ends; None when it is not this recording's or does not say."""
    meta = raw["metadata"]
    if not any(owner.get("uid") == recording.uid for owner in meta.get("ownerReferences", ())):
        return None
    try:
        return times.parse((meta.get("annotations") or {})[EXPIRES])
    except (KeyError, ValueError):
        return None
