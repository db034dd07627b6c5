"""A finisher's Pod as a pure function of the recording and its app: all stores' keys, the API token, no live media."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloudrec_contract import naming
from cloudrec_contract.resources import CloudRecordingSpec, RecordingAppSpec
from cloudrec_operator.observed import FINISHER, Recording
from cloudrec_operator.policy import acceptance, disruption
from cloudrec_operator.policy.podparts import (
    BACKUP,
    BUCKET,
    SERVICE_ACCOUNT_FOLDER,
    TERMINATION_LOG,
    TMP,
    VOD,
    basics,
    container,
    convert_task,
    env,
    keys,
    metadata,
    service_account,
    store,
    stores,
)
from cloudrec_operator.settings import Settings

GRACE_SECONDS = 90
"""What is on its way when it is told to end is done by then."""
SIZE = ("50m", "128Mi")
CONVERTING_SIZE = ("250m", "256Mi")
MEMORY_LIMIT = "512Mi"
SCRATCH = "2Gi"
"""Limit of what is on its way: four segments."""
CONVERTING_SCRATCH = "6Gi"
"""The same, and a file of 2 GB while it is made and stored."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a finisher tries for so many `seconds`: to empty the `backup` store, if there is one, and to make files."""

    seconds: float
    backup: bool
    converts: bool


def build(
    recording: Recording,
    spec: CloudRecordingSpec,
    app: RecordingAppSpec,
    index: int,
    work: Work,
    settings: Settings,
) -> dict[str, Any]:
    """The manifest of the finisher number `index`. Raises ValueError when a store's endpoint is not known, or VOD's."""
    cpu, memory = CONVERTING_SIZE if work.converts else SIZE
    told: dict[str, str] = {}
    volumes: list[tuple[dict[str, Any], str]] = []
    for volume, bucket, path in stores(spec, app):
        if path == BACKUP and not work.backup:
            continue
        volumes.append((keys(volume, bucket.credentials_secret_ref), path))
        told["CLOUDREC_STORE" if path == BUCKET else "CLOUDREC_BACKUP_STORE"] = store(bucket, app, recording)
        told[f"CLOUDREC_{volume.upper()}_CREDENTIALS"] = path
    if work.converts:
        told["CLOUDREC_CONVERT"] = convert_task(recording, spec, app)
        vod, ref = acceptance.vod_of(spec, app), acceptance.vod_keys(spec, app)
        if vod is not None and ref is not None:
            volumes.append((keys("vod", ref, acceptance.vod_key_names(vod)), VOD))
            told["CLOUDREC_VOD_CREDENTIALS"] = VOD
    name = naming.finisher_name(recording.name, recording.uid, index)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(recording, name, "finisher", FINISHER, {}),
        "spec": {
            **basics(GRACE_SECONDS),
            "tolerations": disruption.TOLERATIONS,
            "containers": [
                {
                    **container(FINISHER, ["cloudrec-finisher"], settings),
                    "env": [
                        *env(CLOUDREC_NAMESPACE=recording.namespace, CLOUDREC_RECORDING=recording.name),
                        {"name": "CLOUDREC_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        *env(
                            CLOUDREC_TASK_ID=recording.uid,
                            **told,
                            CLOUDREC_SERVICEACCOUNT=SERVICE_ACCOUNT_FOLDER,
                            CLOUDREC_FINISH_SECONDS=str(int(work.seconds)),
                            CLOUDREC_TERMINATION_LOG=TERMINATION_LOG,
                            HOME=TMP,
                            TMPDIR=TMP,
                        ),
                    ],
                    "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": MEMORY_LIMIT}},
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": TMP},
                        *({"name": volume["name"], "mountPath": path, "readOnly": True} for volume, path in volumes),
                        {"name": "serviceaccount", "mountPath": SERVICE_ACCOUNT_FOLDER, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": CONVERTING_SCRATCH if work.converts else SCRATCH}},
                *(volume for volume, _ in volumes),
                service_account(),
            ],
        },
    }
