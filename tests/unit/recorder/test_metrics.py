"""/metrics of a recorder, asked for as Prometheus does."""

from __future__ import annotations

import socket
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from cloudrec_recorder.metrics import serve


def test_figures_as_they_are_when_asked_for() -> None:
    figures = {"units": 3.0, "lost_seconds": 0.5, "mix_overload_step": 2.0, "composer_deaths": 1.0}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    end = serve(port, lambda: figures)
    try:
        figures["units"] = 4.0
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        found = {sample.name: sample.value for family in families for sample in family.samples}
    finally:
        end()
    assert found["cloudrec_recorder_units_total"] == 4.0
    assert found["cloudrec_recorder_lost_seconds_total"] == 0.5
    assert found["cloudrec_recorder_mix_overload_step"] == 2.0
    assert "process_cpu_seconds_total" in found
