from __future__ import annotations

import pytest
from pydantic import ValidationError

from cloudrec_operator.main import main
from cloudrec_operator.settings import Settings, describe


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env({"CLOUDREC_START_SECONDS": "5", "CLOUDREC_IDENTITY": "me", "CLOUDREC_SPOOL": "/x"})
    assert (settings.start_seconds, settings.who) == (5, "me")
    with pytest.raises(ValidationError):
        Settings.from_env({"CLOUDREC_WORKERS": "0"})


def test_every_setting_is_described() -> None:
    text = describe()
    for name, field in Settings.model_fields.items():
        assert f"CLOUDREC_{name.upper()}" in text
        assert field.description


def test_help_teaches(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["cloudrec-operator", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "CLOUDREC_RECORDER_IMAGE" in told
    assert "manifests/rbac.yaml" in told


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["cloudrec-operator"])
    monkeypatch.setenv("CLOUDREC_WORKERS", "many")
    assert main() == 2
    assert "workers" in capsys.readouterr().err
