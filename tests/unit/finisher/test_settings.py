"""The environment, as the operator sets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudrec_recorder.finisher import main as entry
from cloudrec_recorder.finisher.settings import HELP, from_environment
from cloudrec_recorder.uploader.settings import SettingsError

STORE = {"endpoint": "http://s3", "region": "r", "bucket": "b", "keyPrefix": "7b1c/"}
ENVIRONMENT = {
    "CLOUDREC_NAMESPACE": "tenant",
    "CLOUDREC_RECORDING": "lesson",
    "CLOUDREC_TASK_ID": "7b1c",
    "CLOUDREC_POD": "lesson-0a1b2-f0",
    "CLOUDREC_STORE": json.dumps(STORE),
    "CLOUDREC_BACKUP_STORE": json.dumps({**STORE, "bucket": "spare"}),
    "CLOUDREC_BUCKET_CREDENTIALS": "/bucket",
    "CLOUDREC_BACKUP_CREDENTIALS": "/backup",
    "CLOUDREC_SERVICEACCOUNT": "/token",
    "KUBERNETES_SERVICE_HOST": "fd00::1",
    "KUBERNETES_SERVICE_PORT": "443",
}


def test_the_whole_environment() -> None:
    settings = from_environment(ENVIRONMENT)
    assert settings.backup is not None
    assert (settings.store.bucket, settings.backup.bucket) == ("b", "spare")
    assert settings.credentials == Path("/bucket")
    assert settings.api_server == "https://[fd00::1]:443"
    assert (settings.finish_seconds, settings.log_level) == (86400, "INFO")


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        from_environment({**ENVIRONMENT, name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLOUDREC_STORE", "nonsense"),
        ("CLOUDREC_BACKUP_STORE", "{}"),
        ("CLOUDREC_FINISH_SECONDS", "0"),
        ("CLOUDREC_LOG_LEVEL", "SHOUT"),
    ],
)
def test_a_wrong_value_is_named_and_never_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        from_environment({**ENVIRONMENT, name: value})
    assert value not in str(error.value) or value in ("0", "{}")


def test_without_a_setting_it_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert entry.main([]) == 2
    assert "CLOUDREC_NAMESPACE" in capsys.readouterr().err


def test_every_variable_is_in_the_help() -> None:
    for name in (*ENVIRONMENT, "CLOUDREC_CONVERT", "CLOUDREC_VOD_CREDENTIALS", "CLOUDREC_ACK_SECONDS"):
        assert name.removeprefix("KUBERNETES_SERVICE") in HELP


CONVERT = {"sdkAppId": 1, "room": {"id": "1"}, "mode": "Single", "formats": ["MP4"]}
VOD = {**CONVERT, "vod": {"options": {}, "account": {"region": "r", "endpoint": "http://vod"}}}
ALONE = {name: value for name, value in ENVIRONMENT.items() if "BACKUP" not in name}


def test_a_conversion_needs_no_backup() -> None:
    settings = from_environment({**ALONE, "CLOUDREC_CONVERT": json.dumps(CONVERT)})
    assert settings.backup is None
    assert settings.convert is not None
    assert (settings.convert.max_file_minutes, settings.ack_seconds) == (1440, 300)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        (ALONE, "CLOUDREC_BACKUP_STORE and CLOUDREC_CONVERT are both not set"),
        ({**ENVIRONMENT, "CLOUDREC_BACKUP_CREDENTIALS": ""}, "CLOUDREC_BACKUP_CREDENTIALS is not set"),
        ({**ALONE, "CLOUDREC_CONVERT": "{}"}, "CLOUDREC_CONVERT"),
        ({**ALONE, "CLOUDREC_CONVERT": json.dumps(VOD)}, "CLOUDREC_VOD_CREDENTIALS is not set"),
    ],
)
def test_what_does_not_go_together(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        from_environment(environment)
