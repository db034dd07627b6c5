"""The samples of docs/vod.md are what the resources take."""

import re
from pathlib import Path
from typing import Any

import yaml

from cloudrec_contract.resources import AppVod, Output, Storage

PAGE = Path(__file__).parents[3] / "docs" / "vod.md"


def samples() -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def test_samples_are_valid() -> None:
    found = samples()
    recordings = [sample["spec"] for sample in found if sample["kind"] == "CloudRecording"]
    apps = [AppVod.model_validate(sample["spec"]["vod"]) for sample in found if sample["kind"] == "RecordingApp"]
    assert len(recordings) == 1
    assert Storage.model_validate(recordings[0]["storage"]).vod is not None
    assert Output.model_validate(recordings[0]["output"]).formats
    assert [app.bucket is not None for app in apps] == [True, False]
