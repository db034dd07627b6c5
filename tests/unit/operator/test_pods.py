from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudrec_contract.finish import ConvertTask
from cloudrec_contract.mix import Mix
from cloudrec_contract.resources import Mode, OutputFormat, RecordingAppSpec, StreamKind, Streams
from cloudrec_contract.spool import ObjectStore, Task
from cloudrec_operator.policy import pods
from tests.unit.operator.samples import APP_SPEC, BUCKET_VOD, SETTINGS, SPEC, UID, VOD_SPEC, recording

GOLDEN = Path(__file__).parent / "pod.yaml"


def build(spec: dict[str, Any] | None = None, app: dict[str, Any] = APP_SPEC) -> dict[str, Any]:
    rec = recording(spec)
    assert rec.spec is not None
    return pods.build(rec, rec.spec, RecordingAppSpec.model_validate(app), 0, 1_700_000_000_000, SETTINGS)


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    every = pod["spec"]["initContainers"] + pod["spec"]["containers"]
    return next(c for c in every if c["name"] == name)


def env(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(pod, name)["env"]}


def test_golden() -> None:
    """To renew it after an intended change: write `yaml.safe_dump(build(), sort_keys=False)` into pod.yaml."""
    assert build() == yaml.safe_load(GOLDEN.read_text())


def test_the_recorder_has_no_api_token_and_no_bucket_keys() -> None:
    pod = build()
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    mounted = {m["name"] for m in container(pod, "recorder")["volumeMounts"]}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert mounted == {"spool", "recorder-tmp", "room"}
    assert volumes["room"]["secret"]["secretName"] == "lesson-0b9d2-0-room"
    assert "room" not in {m["name"] for m in container(pod, "uploader")["volumeMounts"]}
    assert not any("KEY" in name or "SERVICEACCOUNT" in name for name in env(pod, "recorder"))
    assert "envFrom" not in container(pod, "recorder")
    shared = mounted & {m["name"] for m in container(pod, "uploader")["volumeMounts"]}
    assert shared == {"spool"}


@pytest.mark.parametrize("merge", [False, True])
def test_the_task_says_whether_to_merge(merge: bool) -> None:
    pod = build({**SPEC, "output": {"mergeAudioVideo": merge}})
    assert Task.model_validate_json(env(pod, "uploader")["CLOUDREC_TASK"]).merge_audio_video is merge


@pytest.mark.parametrize("name", ["recorder", "uploader"])
def test_every_container_is_confined(name: str) -> None:
    pod = build()
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(pod, name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_task_is_told_whole() -> None:
    spec = {**SPEC, "room": {"id": "math 1", "type": "String"}, "maxIdleSeconds": 60, "robot": {"userId": "bot"}}
    task = Task.model_validate_json(env(build(spec), "uploader")["CLOUDREC_TASK"])
    assert (task.task_id, task.sdk_app_id, task.epoch) == (UID, 1400123456, 1_700_000_000_000)
    assert task.livekit.room_name == "s-math 1"
    assert task.max_idle_seconds == 60
    assert task.identity == "bot~0"
    store = ObjectStore.model_validate_json(env(build(spec), "uploader")["CLOUDREC_STORE"])
    assert store.key_prefix == f"school/2026/{UID}/"
    assert store.path_style
    assert "secret" not in json.dumps(env(build(spec), "uploader")["CLOUDREC_STORE"]).lower()


def test_a_recording_for_vod_goes_to_the_spool_and_its_pod_has_no_keys_of_vod() -> None:
    pod = build(VOD_SPEC, BUCKET_VOD)
    store = ObjectStore.model_validate_json(env(pod, "uploader")["CLOUDREC_STORE"])
    assert (store.bucket, store.key_prefix) == ("spool", f"{UID}/")
    secrets = {v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v}
    assert secrets == {"lesson-0b9d2-0-room", "spool-keys"}
    task = ConvertTask.model_validate_json(env(pod, "uploader")["CLOUDREC_CONVERT"])
    assert task.vod is not None
    assert "CLOUDREC_CONVERT" not in env(pod, "recorder")


def test_the_uploader_is_told_what_its_keys_will_be_needed_for() -> None:
    told = env(build({**SPEC, "output": {"formats": ["AAC"]}}), "uploader")["CLOUDREC_CONVERT"]
    assert ConvertTask.model_validate_json(told).formats == [OutputFormat.AAC]
    assert "CLOUDREC_CONVERT" not in env(build(), "uploader")


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        ({}, 25),
        ({"kind": "Audio", "subscribe": {"audio": {"include": ["a", "b"]}}}, 4),
        ({"kind": "Audio", "media": "Main", "subscribe": {"audio": {"include": ["a", "b"]}}}, 2),
        ({"subscribe": {"audio": {"include": ["a"]}}}, 25),
        ({"subscribe": {"audio": {"include": ["a"]}, "video": {"include": ["a", "b"]}}}, 4),
        ({"kind": "Video", "subscribe": {"video": {"include": ["class_.*$"]}}}, 25),
        ({"kind": "Video", "subscribe": {"video": {"include": [f"u{n}" for n in range(32)]}}}, 25),
    ],
)
def test_streams_expected(streams: dict[str, Any], expected: int) -> None:
    assert pods.streams_expected(Streams.model_validate(streams)) == expected


def test_resources_grow_with_the_streams() -> None:
    alone = {"include": ["a"]}
    few = pods.recorder_resources(Streams.model_validate({"subscribe": {"audio": alone, "video": alone}}))
    many = pods.recorder_resources(Streams())
    assert few["requests"]["cpu"] == "100m"
    assert many["requests"]["cpu"] == "400m"
    assert few["limits"] == many["limits"] == {"memory": "1Gi"}


def mixed(mix: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**SPEC, "mode": "Mixed", "mix": mix or {}}


def test_a_mixed_tasks_mix_is_told() -> None:
    mix = {"video": {"width": 640, "height": 360}, "layout": {"template": "Floating"}}
    told = Task.model_validate_json(env(build(mixed(mix)), "uploader")["CLOUDREC_TASK"])
    assert (told.mode, told.mix) == (Mode.MIXED, Mix.model_validate(mix))
    assert Task.model_validate_json(env(build(), "uploader")["CLOUDREC_TASK"]).mix is None


def test_a_mix_too_long_for_the_environment_is_told_without_its_watermarks() -> None:
    """The most that the API server lets in: Linux would not start a program with such a variable."""
    place = {"left": 0, "top": 0, "width": 1, "height": 1}
    url = "https://example.com/" + "x" * 2036 + ".png"
    everybody = ["\N{GRINNING FACE}" * 128] * 32
    spec = mixed(
        {
            "layout": {
                "template": "Custom",
                "windows": [{**place, "placeholder": url, "userId": everybody[0]}] * 25,
                "placeholderImage": url,
                "backgroundImage": url,
            },
            "watermarks": [{"text": {**place, "text": "\N{GRINNING FACE}" * 1024}}] * 25,
        }
    )
    spec["streams"] = {"subscribe": {"audio": {"include": everybody}, "video": {"exclude": everybody}}}
    text = env(build(spec), "uploader")["CLOUDREC_TASK"]
    assert len(f"CLOUDREC_TASK={text}\0".encode()) <= 128 * 1024
    told = Task.model_validate_json(text).mix
    assert told is not None
    assert told.watermarks == []
    assert told.layout == Mix.model_validate(spec["mix"]).layout


@pytest.mark.parametrize(
    ("width", "height", "fps", "cpu", "memory"),
    [
        (1280, 720, 15, "450m", "388Mi"),
        (1280, 720, 30, "600m", "388Mi"),
        (1920, 1080, 30, "1000m", "500Mi"),
        (640, 360, 15, "300m", "322Mi"),
    ],
)
def test_a_mixed_recorder_asks_for_what_its_picture_costs(
    width: int, height: int, fps: int, cpu: str, memory: str
) -> None:
    spec = mixed({"video": {"width": width, "height": height, "fps": fps}})
    resources = container(build(spec), "recorder")["resources"]
    assert resources == {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": "2Gi"}}


def test_a_mixed_recorder_of_few_or_of_sound_alone_asks_for_less() -> None:
    alone = {"include": ["anna", "ben"]}
    few = pods.mixed_resources(Streams.model_validate({"subscribe": {"audio": alone, "video": alone}}), Mix())
    assert few["requests"]["cpu"] == "300m"
    assert pods.mixed_resources(Streams(kind=StreamKind.AUDIO), Mix())["requests"] == {"cpu": "200m", "memory": "256Mi"}


def test_a_backup_is_the_sidecars_alone() -> None:
    keys = {"name": "spare-keys"}
    backup = {"endpoint": "http://backup.test:9000", "bucket": "spare", "prefix": ["b"], "credentialsSecretRef": keys}
    pod = build({**SPEC, "storage": {"bucket": {**SPEC["storage"]["bucket"], "backup": backup}}})
    given = env(pod, "uploader")
    store = ObjectStore.model_validate_json(given["CLOUDREC_BACKUP_STORE"])
    assert (store.endpoint, store.bucket, store.key_prefix) == ("http://backup.test:9000", "spare", f"b/{UID}/")
    mounts = {m["name"]: m["mountPath"] for m in container(pod, "uploader")["volumeMounts"]}
    assert mounts["backup"] == given["CLOUDREC_BACKUP_CREDENTIALS"]
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    assert volumes["backup"]["secret"]["secretName"] == "spare-keys"
    assert "backup" not in {m["name"] for m in container(pod, "recorder")["volumeMounts"]}
    assert not any("BACKUP" in name for name in env(pod, "recorder"))
    assert not any("BACKUP" in name for name in env(build(), "uploader"))


def test_a_recorder_that_hangs_is_not_given_the_time_to_upload() -> None:
    pod = build()
    assert pod["spec"]["terminationGracePeriodSeconds"] == SETTINGS.finalize_seconds
    assert container(pod, "recorder")["livenessProbe"]["terminationGracePeriodSeconds"] < 10
