"""The environment, as the operator sets it."""

import json
from pathlib import Path

import pytest

from cloudrec_recorder.uploader import main as entry
from cloudrec_recorder.uploader.settings import SettingsError, from_environment

ENVIRONMENT = {
    "CLOUDREC_NAMESPACE": "tenant",
    "CLOUDREC_RECORDING": "lesson",
    "CLOUDREC_POD": "lesson-0a1b2-0",
    "CLOUDREC_POD_UID": "u-1",
    "CLOUDREC_TASK": json.dumps(
        {
            "taskId": "7b1c",
            "sdkAppId": 1400123456,
            "epoch": 1,
            "room": {"id": "1"},
            "livekit": {"url": "ws://livekit", "roomName": "1"},
            "robotUserId": "cloudrec",
        }
    ),
    "CLOUDREC_STORE": json.dumps({"endpoint": "http://s3", "region": "r", "bucket": "b", "keyPrefix": "7b1c/"}),
    "CLOUDREC_SPOOL": "/spool",
    "CLOUDREC_BUCKET_CREDENTIALS": "/bucket",
    "CLOUDREC_SERVICEACCOUNT": "/token",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
}


def test_the_whole_environment() -> None:
    settings = from_environment(ENVIRONMENT)
    assert settings.task.task_id == "7b1c"
    assert settings.store.key_prefix == "7b1c/"
    assert settings.spool == Path("/spool")
    assert settings.api_server == "https://10.0.0.1:443"
    assert settings.give_up_seconds == 3000


def test_files_that_are_made_after_the_end() -> None:
    told = {"sdkAppId": 1, "room": {"id": "1"}, "mode": "Single", "formats": ["HLS", "MP4"]}
    assert from_environment(ENVIRONMENT).convert is None
    convert = from_environment({**ENVIRONMENT, "CLOUDREC_CONVERT": json.dumps(told)}).convert
    assert convert is not None
    assert convert.formats == ["HLS", "MP4"]
    with pytest.raises(SettingsError, match="CLOUDREC_CONVERT is wrong: sdkAppId"):
        from_environment({**ENVIRONMENT, "CLOUDREC_CONVERT": "{}"})


def test_an_ipv6_api_server() -> None:
    settings = from_environment({**ENVIRONMENT, "KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert settings.api_server == "https://[fd00::1]:443"


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        from_environment({**ENVIRONMENT, name: ""})


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CLOUDREC_TASK", "{}", "CLOUDREC_TASK is wrong: taskId: Field required"),
        ("CLOUDREC_TASK", "nonsense", "CLOUDREC_TASK is wrong: it: Invalid JSON"),
        ("CLOUDREC_STORE", '{"endpoint": 5}', "CLOUDREC_STORE is wrong: endpoint"),
        ("CLOUDREC_GIVE_UP_SECONDS", "soon", "CLOUDREC_GIVE_UP_SECONDS is not"),
        ("CLOUDREC_REPORT_SECONDS", "-1", "CLOUDREC_REPORT_SECONDS is not"),
        ("CLOUDREC_REPORT_SECONDS", "nan", "CLOUDREC_REPORT_SECONDS is not"),
        ("CLOUDREC_LOG_LEVEL", "LOUD", "CLOUDREC_LOG_LEVEL is not one of"),
    ],
)
def test_a_wrong_value_is_explained(name: str, value: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        from_environment({**ENVIRONMENT, name: value})


def test_help_teaches_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        entry.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for name in ENVIRONMENT:
        assert name in text or name == "KUBERNETES_SERVICE_PORT"


def test_without_settings_it_says_which(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert entry.main([]) == 2
    assert "KUBERNETES_SERVICE_HOST is not set" in capsys.readouterr().err


def test_a_backup_store() -> None:
    assert from_environment(ENVIRONMENT).backup is None
    store = {"CLOUDREC_BACKUP_STORE": ENVIRONMENT["CLOUDREC_STORE"], "CLOUDREC_BACKUP_CREDENTIALS": "/backup"}
    settings = from_environment({**ENVIRONMENT, **store, "CLOUDREC_BACKUP_SECONDS": "5"})
    assert settings.backup == settings.store
    assert (settings.backup_credentials, settings.backup_seconds) == (Path("/backup"), 5)
    with pytest.raises(SettingsError, match="CLOUDREC_BACKUP_CREDENTIALS"):
        from_environment({**ENVIRONMENT, "CLOUDREC_BACKUP_STORE": ENVIRONMENT["CLOUDREC_STORE"]})


@pytest.mark.parametrize(
    ("size", "part", "expected"),
    [("", "", None), ("10Gi", "", 8_053_063_680), ("1.5G", "0.5", 750_000_000), ("4096", "1", 4096)],
)
def test_high_water(size: str, part: str, expected: int | None) -> None:
    more = {"CLOUDREC_SPOOL_SIZE": size, "CLOUDREC_SPOOL_HIGH_WATER": part}
    assert from_environment({**ENVIRONMENT, **more}).high_water == expected


@pytest.mark.parametrize(
    ("size", "part", "named"), [("much", "", "SPOOL_SIZE"), ("-1Gi", "", "SPOOL_SIZE"), ("1Gi", "75", "HIGH_WATER")]
)
def test_a_high_water_that_cannot_be(size: str, part: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        from_environment({**ENVIRONMENT, "CLOUDREC_SPOOL_SIZE": size, "CLOUDREC_SPOOL_HIGH_WATER": part})
