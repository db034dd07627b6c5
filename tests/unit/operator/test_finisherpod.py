from __future__ import annotations

from typing import Any

import pytest

from cloudrec_contract.resources import RecordingAppSpec
from cloudrec_contract.spool import ObjectStore
from cloudrec_operator.policy import finisherpod
from cloudrec_recorder.finisher.settings import from_environment
from tests.unit.operator.samples import APP_SPEC, SETTINGS, SPEC, UID, recording
from tests.unit.operator.test_finish import BACKUP, WITH_BACKUP


def build(spec: dict[str, Any] = WITH_BACKUP, app: dict[str, Any] = APP_SPEC) -> dict[str, Any]:
    rec = recording(spec)
    assert rec.spec is not None
    return finisherpod.build(rec, rec.spec, RecordingAppSpec.model_validate(app), 2, 3600.0, SETTINGS)


def environment(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    assert all("value" in e or "fieldRef" in e["valueFrom"] for e in container["env"])
    return {e["name"]: e.get("value", "lesson-0b9d2-f2") for e in container["env"]}


def test_the_program_understands_what_it_is_given() -> None:
    env = environment(build())
    settings = from_environment({**env, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"})
    assert (settings.namespace, settings.recording, settings.task_id) == ("school", "lesson", UID)
    assert settings.store.bucket == "recordings"
    assert settings.store.key_prefix == f"school/2026/{UID}/"
    assert (settings.backup.bucket, settings.backup.key_prefix) == ("spare", f"{UID}/")
    assert settings.finish_seconds == 3600
    mounts = {m["mountPath"]: m["name"] for m in build()["spec"]["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v for v in build()["spec"]["volumes"]}
    assert volumes[mounts[str(settings.credentials)]]["secret"]["secretName"] == "bucket-keys"
    assert volumes[mounts[str(settings.backup_credentials)]]["secret"]["secretName"] == "backup-keys"
    assert "projected" in volumes[mounts[str(settings.service_account)]]
    assert "emptyDir" in volumes[mounts[env["TMPDIR"]]]


def test_the_apps_backup_does_too() -> None:
    app = {**APP_SPEC, "storage": {"backup": BACKUP}}
    assert ObjectStore.model_validate_json(environment(build(SPEC, app))["CLOUDREC_BACKUP_STORE"]).bucket == "spare"
    with pytest.raises(ValueError, match="no backup store"):
        build(SPEC)


def test_it_is_confined_and_never_restarted() -> None:
    pod = build()
    assert pod["metadata"]["name"] == "lesson-0b9d2-f2"
    assert pod["metadata"]["ownerReferences"][0]["uid"] == UID
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["serviceAccountName"] == "cloudrec-recorder"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "room" not in {volume["name"] for volume in pod["spec"]["volumes"]}
