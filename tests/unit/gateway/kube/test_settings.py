from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from cloudrec_gateway import main
from cloudrec_gateway.serving import CannotServe, api_server
from cloudrec_gateway.settings import Settings, describe


def test_from_the_environment() -> None:
    made = Settings.from_env(
        {"CLOUDREC_PORT": "81", "CLOUDREC_PUBLIC_HOSTS": "a.test, b.test:8080,", "CLOUDREC_ELSE": "1", "PORT": "9"}
    )
    assert (made.port, made.hosts, made.namespace) == (81, ("a.test", "b.test:8080"), "")
    for name, value in (("PORT", "-1"), ("ACCEPT_SECONDS", "6"), ("LOG_LEVEL", "LOUD")):
        with pytest.raises(ValidationError):
            Settings.from_env({f"CLOUDREC_{name}": value})


def test_every_setting_is_described() -> None:
    text = describe()
    for name in Settings.model_fields:
        assert f"CLOUDREC_{name.upper()}" in text


def test_the_api_server_of_a_pod() -> None:
    assert (
        api_server({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}) == "https://10.0.0.1:443"
    )
    assert api_server({"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "443"}) == "https://[::1]:443"
    with pytest.raises(CannotServe, match="KUBERNETES_SERVICE_HOST"):
        api_server({})


def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["cloudrec-gateway"])
    monkeypatch.setenv("CLOUDREC_PORT", "http")
    assert main.main() == 2
    assert "port" in capsys.readouterr().err
