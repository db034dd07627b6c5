"""docs/settings.md has every variable that a program reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudrec_recorder.finisher import settings as finisher
from cloudrec_recorder.uploader import settings as uploader
from tools import settings_doc

HELP = """\
What it does.

  CLOUDREC_A, CLOUDREC_B   two of them,
                           on two lines

and, seldom needed:

  CLOUDREC_C_SECONDS  how long (default 30: it has a motive)
  HOST_NAME, _PORT    where

Exit status: 0.
"""


def test_a_help_text_is_taken_apart() -> None:
    (first, needed), (second, seldom) = settings_doc.settings_of(HELP)
    assert first == "What it does."
    assert [(one.names, one.meaning) for one in needed] == [
        (("CLOUDREC_A", "CLOUDREC_B"), "two of them, on two lines"),
    ]
    assert second == "seldom needed"
    assert seldom[0] == settings_doc.Setting(("CLOUDREC_C_SECONDS",), "30", "seconds", "how long (it has a motive)")
    assert seldom[1].names == ("HOST_NAME", "HOST_PORT")


@pytest.mark.parametrize(
    ("module", "program"),
    [
        (Path(str(uploader.__file__)), "cloudrec-uploader"),
        (Path(str(finisher.__file__)), "cloudrec-finisher"),
        (Path(str(uploader.__file__)).parent.parent / "settings.py", "cloudrec-recorder"),
    ],
)
def test_no_variable_is_left_out(module: Path, program: str) -> None:
    read = set(re.findall(r'"(CLOUDREC_[A-Z_]+|KUBERNETES_[A-Z_]+)"', module.read_text()))
    told = settings_doc.settings_of(settings_doc.HELP_TEXTS[program])
    listed = {name for _, settings in told for one in settings for name in one.names}
    assert read
    assert read <= listed


def test_every_row_says_what_it_means() -> None:
    rows = [line for line in settings_doc.render().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert all(re.fullmatch(r"\| (`[A-Z_]+`(, )?)+ \| .* \| .* \| \S.* \|", row) for row in rows)
