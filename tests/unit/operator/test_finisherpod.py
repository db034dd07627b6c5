from __future__ import annotations

from typing import Any

import pytest

from cloudrec_contract.finish import ConvertTask
from cloudrec_contract.resources import Mode, OutputFormat, RecordingAppSpec
from cloudrec_contract.spool import ObjectStore
from cloudrec_operator.policy import finisherpod
from cloudrec_recorder.finisher.settings import from_environment
from tests.unit.operator.samples import APP_SPEC, BUCKET_VOD, SETTINGS, SPEC, TENCENT_VOD, UID, VOD_SPEC, recording
from tests.unit.operator.test_finish import BACKUP, WITH_BACKUP

MP4 = {**SPEC, "output": {"formats": ["MP4", "HLS"], "maxFileMinutes": 90}}


def build(
    spec: dict[str, Any] = WITH_BACKUP, app: dict[str, Any] = APP_SPEC, converts: bool = False, backup: bool = True
) -> dict[str, Any]:
    rec = recording(spec)
    assert rec.spec is not None
    work = finisherpod.Work(3600.0, backup, converts)
    return finisherpod.build(rec, rec.spec, RecordingAppSpec.model_validate(app), 2, work, SETTINGS)


def environment(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    assert all("value" in e or "fieldRef" in e["valueFrom"] for e in container["env"])
    return {e["name"]: e.get("value", "lesson-0b9d2-f2") for e in container["env"]}


def task(pod: dict[str, Any]) -> ConvertTask:
    return ConvertTask.model_validate_json(environment(pod)["CLOUDREC_CONVERT"])


def secrets(pod: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """By mount path: the Secret, and which of its keys."""
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    mounts = {m["mountPath"]: volumes[m["name"]] for m in pod["spec"]["containers"][0]["volumeMounts"]}
    return {
        path: (volume["secret"]["secretName"], [item["key"] for item in volume["secret"]["items"]])
        for path, volume in mounts.items()
        if "secret" in volume
    }


def test_the_program_understands_what_it_is_given() -> None:
    env = environment(build())
    settings = from_environment({**env, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"})
    assert (settings.namespace, settings.recording, settings.task_id) == ("school", "lesson", UID)
    assert settings.store.bucket == "recordings"
    assert settings.store.key_prefix == f"school/2026/{UID}/"
    assert settings.finish_seconds == 3600
    mounts = {m["mountPath"]: m["name"] for m in build()["spec"]["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v for v in build()["spec"]["volumes"]}
    assert volumes[mounts[str(settings.credentials)]]["secret"]["secretName"] == "bucket-keys"
    assert volumes[mounts[str(settings.backup_credentials)]]["secret"]["secretName"] == "backup-keys"
    assert "projected" in volumes[mounts[str(settings.service_account)]]
    assert "emptyDir" in volumes[mounts[env["TMPDIR"]]]
    backup = ObjectStore.model_validate_json(env["CLOUDREC_BACKUP_STORE"])
    assert (backup.bucket, backup.key_prefix) == ("spare", f"{UID}/")


def test_the_apps_backup_does_too() -> None:
    app = {**APP_SPEC, "storage": {"backup": BACKUP}}
    assert ObjectStore.model_validate_json(environment(build(SPEC, app))["CLOUDREC_BACKUP_STORE"]).bucket == "spare"
    for none in (build(MP4, converts=True), build(MP4, app, converts=True, backup=False)):
        assert not [name for name in environment(none) if "BACKUP" in name]
        assert list(secrets(none)) == ["/run/cloudrec/bucket"]


def test_without_files_to_make_it_only_drains() -> None:
    assert "CLOUDREC_CONVERT" not in environment(build(MP4))
    assert "/run/cloudrec/vod" not in secrets(build(VOD_SPEC, BUCKET_VOD))


def test_what_it_is_to_make() -> None:
    made = task(build(MP4, converts=True))
    assert (made.sdk_app_id, made.room.id, made.mode) == (1400123456, "12345", Mode.SINGLE)
    assert made.formats == [OutputFormat.HLS, OutputFormat.MP4]
    assert (made.max_file_minutes, made.vod) == (90, None)
    assert task(build({**SPEC, "output": {"formats": ["AAC"]}}, converts=True)).max_file_minutes == 1440


def test_it_has_room_to_make_them() -> None:
    for pod, cpu, scratch in ((build(), "50m", "2Gi"), (build(MP4, converts=True), "250m", "6Gi")):
        resources = pod["spec"]["containers"][0]["resources"]
        assert resources["requests"]["cpu"] == cpu
        assert resources["limits"] == {"memory": "512Mi"}
        assert {"name": "tmp", "emptyDir": {"sizeLimit": scratch}} in pod["spec"]["volumes"]


def test_vod_in_a_bucket() -> None:
    pod = build(VOD_SPEC, BUCKET_VOD, converts=True)
    assert ObjectStore.model_validate_json(environment(pod)["CLOUDREC_STORE"]).bucket == "spool"
    made = task(pod)
    assert made.formats == [OutputFormat.MP4]
    assert made.vod is not None
    assert made.vod.account is None
    store = made.vod.store
    assert store is not None
    assert (store.store.key_prefix, store.expiring, store.expire_days) == (f"tv/expire-2d/{UID}/", "tv/expire-2d/", 2)
    assert store.public_url == "https://cdn.test/films"
    assert made.vod.options.procedure == "check"
    assert environment(pod)["CLOUDREC_VOD_CREDENTIALS"] == "/run/cloudrec/vod"
    assert secrets(pod) == {
        "/run/cloudrec/bucket": ("spool-keys", ["accessKey", "secretKey"]),
        "/run/cloudrec/vod": ("vod-keys", ["accessKey", "secretKey"]),
    }


@pytest.mark.parametrize(("own", "expected"), [({}, 7), ({"subAppId": 0}, 0), ({"subAppId": 9}, 9)])
def test_vod_at_tencent(own: dict[str, int], expected: int) -> None:
    pod = build({**VOD_SPEC, "storage": {"vod": own}}, TENCENT_VOD, converts=True)
    made = task(pod)
    assert made.vod is not None
    assert made.vod.store is None
    account = made.vod.account
    assert account is not None
    assert (account.region, account.endpoint) == ("ap-guangzhou", "https://vod.tencentcloudapi.com")
    assert (account.upload_endpoint, account.sub_app_id) == (None, expected)
    assert secrets(pod)["/run/cloudrec/vod"] == ("cam-keys", ["secretId", "secretKey"])


def test_what_is_no_bucket_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"no spec\.vod"):
        build(VOD_SPEC, converts=True)


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
