from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import GATEWAY, MADE_BY_LABEL, RecordingAppSpec
from cloudrec_operator import times
from cloudrec_operator.observed import App, Observed, Recording, SecretData
from cloudrec_operator.policy import acceptance
from tests.unit.operator.samples import APP_SPEC, BUCKET_VOD, NOW, SPEC, TENCENT_VOD, VOD_SPEC, keys, recording, seen


def test_everything_there_is_accepted() -> None:
    assert acceptance.examine(seen()).accepted


@pytest.mark.parametrize(
    ("around", "reason", "told"),
    [
        ({"app": None}, Reason.APP_NOT_FOUND, "demo"),
        ({"app": App(None, "sdkAppId: missing")}, Reason.APP_INVALID, "sdkAppId"),
        ({"app_secret": SecretData("livekit-keys", None)}, Reason.SECRET_NOT_FOUND, "livekit-keys"),
        ({"bucket_secret": SecretData("bucket-keys", None)}, Reason.SECRET_NOT_FOUND, "bucket-keys"),
        ({"app_secret": keys("livekit-keys", apiKey="k")}, Reason.SECRET_INVALID, "apiSecret"),
        ({"bucket_secret": keys("bucket-keys", accessKey=" \n", secretKey="s")}, Reason.SECRET_INVALID, "accessKey"),
    ],
)
def test_what_is_missing_is_waited_for(around: dict[str, Any], reason: Reason, told: str) -> None:
    verdict = acceptance.examine(seen(**around))
    assert verdict.reason is reason
    assert told in verdict.message
    assert not verdict.final


@pytest.mark.parametrize(("seconds", "reason"), [(29, Reason.USER_SIG_EXPIRES), (30, Reason.ACCEPTED)])
def test_a_user_sig_that_ends_too_early_is_a_warning(seconds: int, reason: Reason) -> None:
    robot = {"userId": "r", "userSigExpiresAt": times.render(NOW + timedelta(seconds=seconds))}
    verdict = acceptance.examine(seen(recording({**SPEC, "robot": robot})))
    assert verdict.reason is reason
    assert verdict.accepted


def by_gateway(age: float) -> Recording:
    created = times.render(NOW - timedelta(seconds=age))
    return recording(labels={MADE_BY_LABEL: GATEWAY}, creationTimestamp=created)


def test_what_nobody_waits_for_any_more_has_failed() -> None:
    late = acceptance.admit(seen(by_gateway(60)))
    assert (late.reason, late.final) == (Reason.START_TIMEOUT, True)
    missing: dict[str, Any] = {"bucket_secret": SecretData("bucket-keys", None)}
    without = acceptance.admit(seen(by_gateway(60), **missing))
    assert without.final
    assert "bucket-keys" in without.message
    assert not acceptance.admit(seen(by_gateway(59), **missing)).final
    assert not acceptance.admit(seen(recording(creationTimestamp="2020-01-01T00:00:00Z"), **missing)).final


def test_one_too_many_waits_for_its_turn_unless_the_gateway_made_it() -> None:
    assert acceptance.admit(seen(room_for_one=True)).accepted
    verdict = acceptance.admit(seen(room_for_one=False))
    assert (verdict.reason, verdict.final) == (Reason.TOO_MANY_TASKS, False)
    assert verdict.message.startswith("100 tasks")
    made = by_gateway(5)
    assert acceptance.admit(seen(made, room_for_one=False)).final
    assert acceptance.admit(seen(made)).accepted
    assert acceptance.admit(seen(room_for_one=False, app=None)).reason is Reason.APP_NOT_FOUND


@pytest.mark.parametrize("endpoint", ["http://host:99999", "http://:80", "http://user:pw@host"])
def test_an_endpoint_that_cannot_work_is_final(endpoint: str) -> None:
    bucket = {**SPEC["storage"]["bucket"], "endpoint": endpoint}
    verdict = acceptance.examine(seen(recording({**SPEC, "storage": {"bucket": bucket}})))
    assert (verdict.reason, verdict.final) == (Reason.INVALID_SPEC, True)
    assert "pw" not in verdict.message


def test_a_layout_beyond_the_canvas_is_final() -> None:
    window = {"left": 1000, "top": 0, "width": 281, "height": 10}
    mix = {"layout": {"template": "Custom", "windows": [window]}}
    verdict = acceptance.examine(seen(recording({**SPEC, "mode": "Mixed", "mix": mix})))
    assert (verdict.reason, verdict.final) == (Reason.INVALID_SPEC, True)
    assert verdict.message == "mix.layout.windows[0] reaches beyond the canvas of 1280 x 720"


def test_a_mixed_files_name_has_no_user_in_it_and_takes_longer_rooms() -> None:
    for letters, mode, reason in (
        (45, {}, Reason.INVALID_SPEC),
        (45, {"mode": "Mixed", "mix": {}}, Reason.ACCEPTED),
        (60, {"mode": "Mixed", "mix": {}}, Reason.INVALID_SPEC),
    ):
        spec = {**SPEC, "room": {"id": "房" * letters, "type": "String"}, **mode}
        assert acceptance.examine(seen(recording(spec))).reason is reason


def test_a_room_in_which_no_file_can_be_named_is_final() -> None:
    verdict = acceptance.examine(seen(recording({**SPEC, "room": {"id": "房" * 60, "type": "String"}})))
    assert (verdict.reason, verdict.final) == (Reason.INVALID_SPEC, True)
    assert "room.id" in verdict.message


@pytest.mark.parametrize(
    ("endpoints", "reason"),
    [
        ([], Reason.ENDPOINT_UNKNOWN),
        ([{"vendor": "S3", "region": "local", "endpoint": "http://host:99999"}], Reason.APP_INVALID),
        ([{"vendor": "S3", "region": "local", "endpoint": "http://host:8333"}], Reason.ACCEPTED),
    ],
)
def test_a_region_that_the_app_does_not_know_is_waited_for(endpoints: list[dict[str, str]], reason: Reason) -> None:
    bucket = {**SPEC["storage"]["bucket"], "vendor": "S3", "region": "local"}
    del bucket["endpoint"]
    app = App.parse({"spec": {**APP_SPEC, "storage": {"endpoints": endpoints}}})
    verdict = acceptance.examine(seen(recording({**SPEC, "storage": {"bucket": bucket}}), app=app))
    assert (verdict.reason, verdict.final) == (reason, False)


def vod(app: dict[str, Any] = BUCKET_VOD, **around: Any) -> Observed:
    found: dict[str, Any] = {
        "app": App.parse({"spec": app}),
        "bucket_secret": keys("spool-keys", accessKey="A", secretKey="S"),
        "vod_secret": keys("vod-keys", accessKey="A", secretKey="S", secretId="I"),
        **around,
    }
    return seen(recording(VOD_SPEC), **found)


def changed(app: dict[str, Any], **parts: dict[str, Any]) -> dict[str, Any]:
    return {**app, "vod": {**app["vod"], **{part: {**app["vod"][part], **more} for part, more in parts.items()}}}


@pytest.mark.parametrize("app", [BUCKET_VOD, TENCENT_VOD])
def test_vod_is_accepted_when_the_app_has_it(app: dict[str, Any]) -> None:
    assert acceptance.examine(vod(app)).accepted


@pytest.mark.parametrize(
    ("around", "reason", "told"),
    [
        ({"app": APP_SPEC}, Reason.APP_INVALID, "RecordingApp demo has no spec.vod: add one"),
        ({"bucket_secret": None}, Reason.SECRET_NOT_FOUND, "Secret spool-keys with the VOD spool's credentials"),
        ({"vod_secret": None}, Reason.SECRET_NOT_FOUND, "Secret vod-keys with the VOD credentials does not exist"),
        ({"vod_secret": keys("vod-keys", accessKey="A")}, Reason.SECRET_INVALID, "lacks secretKey"),
        (
            {"app": TENCENT_VOD, "vod_secret": keys("cam-keys", accessKey="A", secretKey="S")},
            Reason.SECRET_INVALID,
            "Secret cam-keys with the VOD credentials lacks secretId",
        ),
        (
            {"app": changed(BUCKET_VOD, spool={"endpoint": "http://h:99999"})},
            Reason.APP_INVALID,
            "vod.spool endpoint is not a URL",
        ),
        (
            {"app": changed(BUCKET_VOD, bucket={"endpoint": "http://:80"})},
            Reason.APP_INVALID,
            "vod.bucket endpoint has no host",
        ),
        (
            {"app": changed(BUCKET_VOD, bucket={"publicUrl": "https://:80/x"})},
            Reason.APP_INVALID,
            "vod.bucket publicUrl has no host",
        ),
        (
            {"app": changed(TENCENT_VOD, tencent={"endpoint": "https://u:pw@vod"})},
            Reason.APP_INVALID,
            "vod.tencent endpoint is http",
        ),
        (
            {"app": changed(TENCENT_VOD, tencent={"uploadEndpoint": "https://cos:0"})},
            Reason.APP_INVALID,
            "vod.tencent uploadEndpoint has no host",
        ),
        (
            {"app": changed(BUCKET_VOD, spool={"endpoint": None, "vendor": "S3", "region": "local"})},
            Reason.ENDPOINT_UNKNOWN,
            "vod.spool: no endpoint is known for vendor S3",
        ),
    ],
)
def test_what_vod_lacks_is_told_and_waited_for(around: dict[str, Any], reason: Reason, told: str) -> None:
    app = around.pop("app", BUCKET_VOD)
    verdict = acceptance.examine(vod(app, **around))
    assert (verdict.reason, verdict.final) == (reason, False)
    assert told in verdict.message
    assert "pw" not in verdict.message


def test_a_recording_for_vod_has_the_apps_backup_alone() -> None:
    spec = recording(VOD_SPEC).spec
    assert spec is not None
    for app, expected in ((BUCKET_VOD, None), ({**BUCKET_VOD, "storage": {"backup": BACKUP}}, "spare")):
        found = acceptance.backup_of(spec, RecordingAppSpec.model_validate(app))
        assert (found and found.bucket) == expected


def test_a_spec_outside_the_contract_is_final() -> None:
    verdict = acceptance.examine(seen(recording({**SPEC, "mode": "Hologram"})))
    assert (verdict.reason, verdict.final) == (Reason.INVALID_SPEC, True)
    assert "mode" in verdict.message


def test_undecodable_secret_values_count_as_missing() -> None:
    data = SecretData.parse({"metadata": {"name": "x"}, "data": {"accessKey": "/w==", "secretKey": "U0s="}})
    assert data.values is not None
    assert set(data.values) == {"secretKey"}
    assert "SK" not in repr(data)


BACKUP = {"endpoint": "http://backup.test:9000", "bucket": "spare", "credentialsSecretRef": {"name": "spare-keys"}}


def with_backup(**changes: Any) -> dict[str, Any]:
    return {**SPEC, "storage": {"bucket": {**SPEC["storage"]["bucket"], "backup": {**BACKUP, **changes}}}}


@pytest.mark.parametrize(
    ("spec", "app", "secret", "reason", "final"),
    [
        (with_backup(), APP_SPEC, None, Reason.SECRET_NOT_FOUND, False),
        (with_backup(), APP_SPEC, keys("spare-keys", accessKey="a"), Reason.SECRET_INVALID, False),
        (with_backup(), APP_SPEC, keys("spare-keys", accessKey="a", secretKey="s"), Reason.ACCEPTED, False),
        (with_backup(endpoint="http://u:p@host"), APP_SPEC, None, Reason.INVALID_SPEC, True),
        (with_backup(endpoint=None, vendor="S3"), APP_SPEC, None, Reason.ENDPOINT_UNKNOWN, False),
        (SPEC, {**APP_SPEC, "storage": {"backup": BACKUP}}, None, Reason.SECRET_NOT_FOUND, False),
        (
            SPEC,
            {**APP_SPEC, "storage": {"backup": {**BACKUP, "endpoint": "http://u:p@host"}}},
            None,
            Reason.APP_INVALID,
            False,
        ),
    ],
)
def test_a_backup_is_looked_at_as_the_bucket_is(
    spec: dict[str, Any], app: dict[str, Any], secret: SecretData | None, reason: Reason, final: bool
) -> None:
    verdict = acceptance.examine(seen(recording(spec), app=App.parse({"spec": app}), backup_secret=secret))
    assert (verdict.reason, verdict.final) == (reason, final)


def test_the_recordings_own_backup_wins() -> None:
    app = App.parse({"spec": {**APP_SPEC, "storage": {"backup": {**BACKUP, "bucket": "app-wide"}}}}).spec
    own, none = recording(with_backup()).spec, recording().spec
    assert own is not None
    assert none is not None
    assert app is not None
    chosen = [acceptance.backup_of(spec, app) for spec in (own, none)]
    assert [backup and backup.bucket for backup in chosen] == ["spare", "app-wide"]
