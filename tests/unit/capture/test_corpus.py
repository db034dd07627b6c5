"""Every input of the corpus, and some seconds of fuzzing beyond it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.capture.fuzz.__main__ import fuzz
from tests.unit.capture.fuzz.targets import TARGETS, corpus


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    inputs = corpus(name)
    assert inputs
    for path in inputs:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name} breaks {name}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_a_little_beyond_it(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []

    def keep(name: str, kind: str, data: bytes) -> Path:
        kept.append(data)
        return Path()

    monkeypatch.setattr("tests.unit.capture.fuzz.__main__.keep", keep)
    assert fuzz(name, 0.3, random.Random(7), grow=False) == 0, capsys.readouterr().err + repr(kept[:1])
