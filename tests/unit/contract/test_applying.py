"""What is applied is YAML, whatever people are called."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.applying import apply_body

NAMES = ["zoë", "😀", "a\x7fb", "\x85", "\u2028", "\ufeff", "\x00\x1b[2J", 'quote " and \\ud83d', "\ufffe"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_what_they_were(name: str) -> None:
    body = apply_body({"name": name})
    assert json.loads(body) == {"name": name}
    assert yaml.safe_load(body) == {"name": name}


@given(st.text())
def test_any_text_is_what_it_was(text: str) -> None:
    body = apply_body({"name": text})
    assert json.loads(body) == {"name": text}
    assert yaml.safe_load(body) == {"name": text}


def test_half_a_character_is_none() -> None:
    assert json.loads(apply_body({"name": "a\ud83d"})) == {"name": "a\ufffd"}
    apply_body({"name": "a\ud83d"}).encode()
