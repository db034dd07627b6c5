"""The CRDs as the API server enforces them: every rule, good and bad, and what kubectl does with a typing error."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudrec_local.home import tool
from cloudrec_local.kubeapi import MERGE, ApiError, Object
from tests.cluster.operating import APPS, RECORDINGS, World, app, recording

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
BUCKET = recording("x")["spec"]["storage"]["bucket"]


async def create(world: World, body: Object) -> Object:
    path = (RECORDINGS if body["kind"] == "CloudRecording" else APPS).format(world.namespace)
    return await world.admin.request("POST", path, body, params={"dryRun": "All", "fieldValidation": "Strict"})


async def refused(work: Any, told: str) -> None:
    with pytest.raises(ApiError) as error:
        await work
    assert error.value.code in (400, 422)
    assert told in str(error.value)


def with_bucket(**changes: Any) -> Object:
    bucket = {**BUCKET, **changes}
    return {"storage": {"bucket": {key: value for key, value in bucket.items() if value is not None}}}


GOOD: list[dict[str, Any]] = [
    {},
    {"room": {"id": "4294967295"}},
    {"room": {"id": "math / 1 é", "type": "String"}},
    {"robot": {"userId": "bot.1@x-y_z"}, "mode": "Single", "maxIdleSeconds": 86400},
    {"streams": {"kind": "Audio", "media": "Main", "subscribe": {"audio": {"include": ["a", "b.*$"]}}}},
    {"streams": {"subscribe": {"audio": {"include": ["a"]}, "video": {"exclude": ["a"]}}}},
    with_bucket(endpoint=None, vendor="AWS", region="eu-west-1", prefix=["a-b", "C_1"]),
    {"ttlSecondsAfterFinished": 0, "desiredState": "Stopped", "output": {"formats": ["HLS"]}},
]

WINDOW = {"left": 0, "top": 0, "width": 640, "height": 360}
LOGO = {"url": "https://example.com/a%20b.PNG?size=2#x", "left": 0, "top": 0, "width": 1280, "height": 720}
TEXT = {"left": 2560, "top": 0, "width": 0, "height": 0, "text": "课"}


def mixed(**mix: Any) -> dict[str, Any]:
    return {"mode": "Mixed", "mix": mix}


def custom(*windows: dict[str, Any], **layout: Any) -> dict[str, Any]:
    return mixed(layout={"template": "Custom", "windows": list(windows), **layout})


GOOD += [
    mixed(),
    mixed(video={"width": 1080, "height": 1920, "fps": 60, "bitRate": 8_192_000, "gopSeconds": 1}),
    mixed(video={"width": 1440, "height": 1440}, audio={"sampleRate": 16000, "channels": 1, "bitRate": 32000}),
    mixed(layout={"template": "Floating", "bigPicture": {"userId": "anna"}, "renderMode": "Smart"}),
    mixed(layout={"template": "ScreenShare", "bigPictureAlign": "Right", "hideAudioOnly": True}, fill="Black"),
    custom(*[{**WINDOW, "left": 640, "top": 360, "userId": "anna", "media": "Aux", "layer": -3}] * 25),
    mixed(watermarks=[{"image": LOGO}, {"text": TEXT}, *[{"timestamp": {"position": "Center"}}] * 23]),
    mixed(layout={"backgroundColor": "#00ff7F", "backgroundImage": "http://[::1]:80/a[1].jpeg"}),
]


def vod(**options: Any) -> dict[str, Any]:
    return {"storage": {"vod": options}}


GOOD += [
    {"output": {"formats": ["MP4"]}},
    {"output": {"formats": ["AAC", "HLS", "MP4"], "maxFileMinutes": 1440}},
    vod(),
    {
        **vod(procedure="p", expireSeconds=0, storageRegion="ap-x", classId=3, subAppId=7),
        "output": {"formats": ["MP4"]},
    },
    {**vod(sessionContext="x" * 1000, sourceContext="y" * 250, userDefineRecordId="a-B_9"), "output": {}},
    {**vod(), "output": {"maxFileMinutes": 1}},
    {**vod(), "output": {"formats": ["HLS", "AAC"], "mergeAudioVideo": True}},
    {**vod(), **mixed(), "output": {"formats": ["HLS"]}},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"room": {"id": "0"}}, "a Number room's id"),
    ({"room": {"id": "012"}}, "a Number room's id"),
    ({"room": {"id": "4294967296"}}, "a Number room's id"),
    ({"room": {"id": "99999999999999999999"}}, "a Number room's id"),
    ({"room": {"id": "math"}}, "use type: String"),
    ({"room": {"id": "a\nb", "type": "String"}}, "spec.room.id"),
    ({"room": {"id": "", "type": "String"}}, "spec.room.id"),
    ({"room": {"id": "x" * 128, "type": "String"}}, "spec.room.id"),
    ({"robot": {"userId": "a~1"}}, "spec.robot.userId"),
    ({"mode": "Hologram"}, "spec.mode"),
    ({"maxIdleSeconds": 4}, "spec.maxIdleSeconds"),
    ({"maxIdleSeconds": 86401}, "spec.maxIdleSeconds"),
    ({"desiredState": "Paused"}, "spec.desiredState"),
    ({"streams": {"subscribe": {"audio": {"include": ["a"], "exclude": ["b"]}}}}, "include or exclude, not both"),
    ({"streams": {"subscribe": {"video": {"include": [f"u{n}" for n in range(33)]}}}}, "at most 32"),
    ({"output": {"formats": ["MKV"]}}, "spec.output.formats"),
    ({"output": {"formats": ["MP4", "MP4"]}}, "spec.output.formats"),
    ({"output": {"maxFileMinutes": 60}}, "output.maxFileMinutes is for MP4 and AAC"),
    ({"output": {"formats": ["HLS"], "maxFileMinutes": 60}}, "output.maxFileMinutes is for MP4 and AAC"),
    ({"output": {"formats": ["MP4"], "maxFileMinutes": 0}}, "spec.output.maxFileMinutes"),
    ({"output": {"formats": ["MP4"], "maxFileMinutes": 1441}}, "spec.output.maxFileMinutes"),
    ({**vod(), "output": {"formats": ["HLS"]}}, "set output.mergeAudioVideo"),
    ({**vod(), "output": {"formats": ["MP4", "HLS"]}}, "set output.mergeAudioVideo"),
    ({"storage": {}}, "give exactly one of bucket and vod"),
    ({"storage": {"bucket": BUCKET, "vod": {}}}, "give exactly one of bucket and vod"),
    (vod(userDefineRecordId="a/b"), "userDefineRecordId"),
    (vod(expireSeconds=-1), "expireSeconds"),
    (vod(sessionContext="x" * 1001), "sessionContext"),
    ({"output": {"formats": []}}, "spec.output.formats"),
    (with_bucket(vendor="AWS"), "exactly one of vendor and endpoint"),
    (with_bucket(endpoint=None), "exactly one of vendor and endpoint"),
    (with_bucket(endpoint="ftp://x"), "endpoint"),
    (with_bucket(endpoint="http://x/path"), "endpoint"),
    (with_bucket(bucket="A"), "spec.storage.bucket.bucket"),
    (with_bucket(prefix=["a/b"]), "spec.storage.bucket.prefix[0]"),
    (with_bucket(prefix=[".."]), "spec.storage.bucket.prefix[0]"),
    (with_bucket(credentialsSecretRef=None), "credentialsSecretRef"),
    (with_bucket(credentialsSecretRef={"name": "Bad_Name"}), "credentialsSecretRef.name"),
    ({"appRef": {"name": "../../victim/recordingapps/demo"}}, "spec.appRef.name"),
    ({"appRef": {"name": ".."}}, "spec.appRef.name"),
    ({"appRef": {"name": "Demo"}}, "spec.appRef.name"),
    ({"ttlSecondsAfterFinished": -1}, "ttlSecondsAfterFinished"),
    ({"romo": {"id": "1"}}, 'unknown field "spec.romo"'),
    ({"mode": "Mixed"}, "mix is for mode: Mixed, which needs it"),
    ({"mix": {}}, "mix is for mode: Mixed"),
    (mixed(video={"width": 1441}), "spec.mix.video.width"),
    (mixed(video={"width": 14}), "spec.mix.video.width"),
    (mixed(video={"width": 1922, "height": 16}), "spec.mix.video.width"),
    (mixed(video={"width": 1442, "height": 1440}), "more than 1920 x 1080 pixels"),
    (mixed(video={"fps": 61}), "spec.mix.video.fps"),
    (mixed(audio={"sampleRate": 8000}), "spec.mix.audio.sampleRate"),
    (mixed(layout={"template": "Custom"}), "windows are for the template Custom, which needs one at least"),
    (mixed(layout={"windows": [WINDOW]}), "windows are for the template Custom"),
    (custom(*[WINDOW] * 26), "at most 25"),
    (custom(WINDOW, {**WINDOW, "left": 642}), "layout.windows reach beyond the canvas"),
    (custom({**WINDOW, "opacity": 256}), "opacity"),
    (mixed(watermarks=[{"image": {**LOGO, "top": 1}}]), "watermarks reach beyond the canvas"),
    (mixed(watermarks=[{}]), "exactly one of image, text and timestamp"),
    (mixed(watermarks=[{"image": LOGO, "text": TEXT}]), "exactly one of image, text and timestamp"),
    (mixed(watermarks=[{"timestamp": {"position": "Center"}}] * 26), "at most 25"),
    (mixed(layout={"backgroundImage": "https://example.com/a.gif"}), "spec.mix.layout.backgroundImage"),
    (mixed(layout={"backgroundImage": "file:///etc/a.png"}), "spec.mix.layout.backgroundImage"),
    (mixed(layout={"backgroundColor": "red"}), "spec.mix.layout.backgroundColor"),
]


async def test_good_specs_are_taken(bare_world: World) -> None:
    for spec in GOOD:
        made = await create(bare_world, recording("good", **spec))
        assert made["spec"]["desiredState"]


async def test_bad_specs_are_refused_with_a_reason(bare_world: World) -> None:
    for spec, told in BAD:
        await refused(create(bare_world, recording("bad", **spec)), told)


async def test_defaults(bare_world: World) -> None:
    made = await create(bare_world, recording("defaults"))
    assert made["spec"] == {
        **recording("defaults")["spec"],
        "room": {"id": "12345", "type": "Number"},
        "robot": {"userId": "cloudrec"},
        "mode": "Single",
        "desiredState": "Running",
        "maxIdleSeconds": 30,
        "streams": {"kind": "AudioVideo", "media": "Both", "subscribe": {}},
        "output": {"mergeAudioVideo": False},
        "storage": {"bucket": {**BUCKET, "region": "us-east-1", "prefix": []}},
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [("a" * 52, ""), ("a" * 53, "at most 52 characters"), ("a.b", "must be a DNS label"), ("7-x", "")],
)
async def test_names_fit_the_pods_named_after_them(bare_world: World, name: str, told: str) -> None:
    if told:
        await refused(create(bare_world, recording(name)), told)
    else:
        await create(bare_world, recording(name))


async def test_what_may_change_and_what_may_not(bare_world: World) -> None:
    world = bare_world
    await world.apply(recording("lesson"))

    async def change(spec: dict[str, Any]) -> Object:
        params = {"dryRun": "All"}
        return await world.admin.request(
            "PATCH", world.path("lesson"), {"spec": spec}, content_type=MERGE, params=params
        )

    mutable: list[dict[str, Any]] = [
        {"desiredState": "Stopped"},
        {"streams": {"subscribe": {"audio": {"exclude": ["bob"]}}}},
        {"ttlSecondsAfterFinished": 60},
    ]
    frozen: list[dict[str, Any]] = [
        {"appRef": {"name": "other"}},
        {"room": {"id": "54321"}},
        {"room": {"type": "String"}},
        {"robot": {"userId": "other"}},
        {"maxIdleSeconds": 31},
        {"storage": {"bucket": {"prefix": ["other"]}}},
        {"storage": {"bucket": {"credentialsSecretRef": {"name": "other"}}}},
        {"streams": {"kind": "Audio"}},
        {"streams": {"media": "Main"}},
        {"output": {"formats": ["MP4"]}},
        {"output": {"mergeAudioVideo": True}},
        {"storage": {"bucket": None, "vod": {}}},
    ]
    for spec in mutable:
        await change(spec)
    for spec in frozen:
        await refused(change(spec), "cannot be changed")
    await world.patch("lesson", {"desiredState": "Stopped"})
    await refused(change({"desiredState": "Running"}), "a stopped recording cannot be started again")


async def test_of_a_mix_layout_and_watermarks_may_change(bare_world: World) -> None:
    world = bare_world
    await world.apply(recording("lesson", **mixed(watermarks=[{"text": TEXT}])))

    async def change(mix: dict[str, Any] | None) -> Object:
        body = {"spec": {"mix": mix}}
        params = {"dryRun": "All"}
        return await world.admin.request("PATCH", world.path("lesson"), body, content_type=MERGE, params=params)

    made = await change({})
    assert made["spec"]["mix"]["video"] == {
        "width": 1280,
        "height": 720,
        "fps": 15,
        "bitRate": 1_500_000,
        "gopSeconds": 10,
    }
    made = await change({"layout": {"template": "Custom", "windows": [WINDOW]}, "watermarks": [{"image": LOGO}]})
    assert made["spec"]["mix"]["layout"]["windows"][0]["renderMode"] == "Crop"
    assert [list(mark) for mark in made["spec"]["mix"]["watermarks"]] == [["image"]]
    for frozen in ({"video": {"fps": 30}}, {"audio": {"channels": 1}}, {"fill": "Black"}):
        await refused(change(frozen), "cannot be changed")
    await refused(
        change({"layout": {"template": "Custom", "windows": [{**WINDOW, "left": 641}]}}), "reach beyond the canvas"
    )
    await refused(change(None), "mix is for mode: Mixed")


async def test_apps(bare_world: World) -> None:
    world = bare_world
    await create(world, app())

    def changed(**livekit: Any) -> Object:
        body = copy.deepcopy(app())
        body["spec"]["room"]["livekit"].update(livekit)
        return body

    await create(world, changed(url="wss://rooms.example.org:7880/path", roomNames={"number": "n-{id}"}))
    await refused(create(world, changed(url="rooms.example.org")), "url")
    await refused(create(world, changed(roomNames={"number": "fixed"})), "roomNames.number")
    await refused(create(world, changed(apiKey="inline")), "unknown field")
    for wrong in (0, 4294967296):
        body = app()
        body["spec"]["sdkAppId"] = wrong
        await refused(create(world, body), "sdkAppId")
    empty = app()
    empty["spec"]["room"] = {}
    await refused(create(world, empty), "livekit")
    await world.apply(app())
    again = app()
    again["spec"]["sdkAppId"] = 7
    await refused(world.apply(again), "sdkAppId cannot be changed")


async def test_the_vod_of_an_app(bare_world: World) -> None:
    keys = {"credentialsSecretRef": {"name": "keys"}}
    spool = {"endpoint": "http://spool:80", "bucket": "spool", **keys}

    def made(**vod: Any) -> Any:
        return create(bare_world, {**app(), "spec": {**app()["spec"], "vod": vod}})

    read = (await made(spool=spool, tencent=keys))["spec"]["vod"]["tencent"]
    assert (read["region"], read["endpoint"]) == ("ap-guangzhou", "https://vod.tencentcloudapi.com")
    bucket = {**spool, "bucket": "films", "publicUrl": "https://cdn.example.org/films"}
    assert (await made(spool=spool, bucket=bucket))["spec"]["vod"]["bucket"]["presignSeconds"] == 604_800
    one = "give exactly one of bucket and tencent"
    await refused(made(spool=spool), one)
    await refused(made(spool=spool, bucket=bucket, tencent=keys), one)
    await refused(made(tencent=keys), "spool")
    await refused(made(spool=spool, tencent={}), "credentialsSecretRef")
    await refused(made(spool={**spool, "vendor": "AWS"}, tencent=keys), "exactly one of vendor and endpoint")
    await refused(made(spool=spool, bucket={**bucket, "publicUrl": "ftp://cdn"}), "publicUrl")
    await refused(made(spool=spool, bucket={**bucket, "publicUrl": "https://u@cdn"}), "publicUrl")
    await refused(made(spool=spool, bucket={**bucket, "presignSeconds": 604_801}), "presignSeconds")


async def test_vod_is_frozen(bare_world: World) -> None:
    world = bare_world
    await world.apply(recording("lesson", **vod(procedure="p")))
    for options in ({"procedure": "q"}, {"classId": 1}, {"procedure": None}):
        with pytest.raises(ApiError, match="cannot be changed"):
            await world.patch("lesson", {"storage": {"vod": options}})


async def test_status_is_a_subresource(bare_world: World) -> None:
    world = bare_world
    made = await world.apply({**recording("lesson"), "status": {"phase": "Completed"}})
    assert "status" not in made
    await refused(
        world.admin.request(
            "PATCH", world.path("lesson") + "/status", {"status": {"phase": "Dancing"}}, content_type=MERGE
        ),
        "status.phase",
    )


def kubectl(world: World, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(tool("kubectl")), "--kubeconfig", str(world.kubeconfig), "-n", world.namespace, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)


async def test_kubectl_refuses_a_typing_error_and_knows_the_short_names(bare_world: World) -> None:
    wrong = recording("lesson", maxIdelSeconds=5)
    told = kubectl(bare_world, "apply", "-f", "-", stdin=yaml.safe_dump(wrong))
    assert told.returncode != 0
    assert 'unknown field "spec.maxIdelSeconds"' in told.stderr
    assert await bare_world.get("lesson") is None
    good = kubectl(bare_world, "apply", "-f", "-", stdin=yaml.safe_dump(recording("lesson")))
    assert good.returncode == 0, good.stderr
    for name in ("crec", "cloudrec"):
        assert "lesson" in kubectl(bare_world, "get", name).stdout
    assert kubectl(bare_world, "get", "rapp").returncode == 0
    explained = kubectl(bare_world, "explain", "crec.spec.maxIdleSeconds")
    assert "nobody who may publish" in " ".join(explained.stdout.split())


async def test_the_examples_are_good(bare_world: World) -> None:
    resources = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if "apiVersion:" in path.read_text()]
    assert resources
    for path in resources:  # `task.yaml` is for a recorder without a cluster
        told = kubectl(bare_world, "apply", "--dry-run=server", "-f", str(path))
        assert told.returncode == 0, told.stderr


def test_the_crds_are_up_to_date() -> None:
    generate = [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"]
    done = subprocess.run(generate, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
