"""A finisher's Pod as a pure function of the recording and its app: both stores' keys, the API token, and no media."""

from __future__ import annotations

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
    basics,
    container,
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
MEMORY_LIMIT = "512Mi"
SCRATCH = "2Gi"
"""Limit of what is on its way: four segments."""


def build(
    recording: Recording,
    spec: CloudRecordingSpec,
    app: RecordingAppSpec,
    index: int,
    seconds: float,
    settings: Settings,
) -> dict[str, Any]:
    """The manifest of the finisher number `index`, which may try for so many `seconds`.

    Raises ValueError when there is no backup store, or a store's endpoint is not known.
    """
    backup = acceptance.backup_of(spec, app)
    if backup is None:
        raise ValueError("no backup store is named")
    cpu, memory = SIZE
    mounts = [(name, path) for name, _, path in stores(spec, app)]
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
                            CLOUDREC_STORE=store(spec.storage.bucket, app, recording),
                            CLOUDREC_BUCKET_CREDENTIALS=BUCKET,
                            CLOUDREC_BACKUP_STORE=store(backup, app, recording),
                            CLOUDREC_BACKUP_CREDENTIALS=BACKUP,
                            CLOUDREC_SERVICEACCOUNT=SERVICE_ACCOUNT_FOLDER,
                            CLOUDREC_FINISH_SECONDS=str(int(seconds)),
                            CLOUDREC_TERMINATION_LOG=TERMINATION_LOG,
                            HOME=TMP,
                            TMPDIR=TMP,
                        ),
                    ],
                    "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": MEMORY_LIMIT}},
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": TMP},
                        *({"name": name, "mountPath": path, "readOnly": True} for name, path in mounts),
                        {"name": "serviceaccount", "mountPath": SERVICE_ACCOUNT_FOLDER, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH}},
                *(keys(name, bucket) for name, bucket, _ in stores(spec, app)),
                service_account(),
            ],
        },
    }
