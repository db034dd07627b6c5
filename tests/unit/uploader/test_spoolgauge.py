"""Measuring the spool."""

from pathlib import Path

import pytest

from cloudrec_contract.spool import MEDIA
from cloudrec_recorder.uploader.spoolgauge import measure, parse_quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("512", 512), ("1k", 1000), ("64Mi", 64 << 20), ("0.5Gi", 1 << 29), ("2T", 2 * 10**12)],
)
def test_quantities(text: str, expected: int) -> None:
    assert parse_quantity(text) == expected


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1 Gi", "1e3", "1m", "nan"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


def test_all_files_are_measured_and_segments_by_name(tmp_path: Path) -> None:
    empty, none = measure(tmp_path)
    assert none == {}
    (tmp_path / "journal.jsonl").write_bytes(b"x" * 5000)
    (tmp_path / MEDIA).mkdir()
    (tmp_path / MEDIA / "a.ts").write_bytes(b"x" * 100_000)
    (tmp_path / MEDIA / "link.ts").symlink_to("/dev/zero")
    used, sizes = measure(tmp_path)
    assert sizes.keys() == {"a.ts", "link.ts"}
    assert 100_000 <= sizes["a.ts"] <= 110_000
    assert sizes["link.ts"] <= 4096
    assert 105_000 <= used - empty <= 130_000
