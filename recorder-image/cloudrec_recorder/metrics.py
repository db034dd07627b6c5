"""/metrics of a recorder (Prometheus), on a thread of its own: the writer's figures as they are when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_COUNTERS: Final = {
    "units": "Access units (encoded pictures, packets of sound) taken from the room",
    "lost_seconds": "Media that did not arrive and was given up on, in seconds, of all tracks",
    "left_out": "Access units left out because disk or transcoding were behind",
    "mix_frames": "Composed frames made by the composer that runs",
    "mix_dropped_frames": "Composed frames left out because composing was behind, by the composer that runs",
    "composer_deaths": "Composers that died",
}
_GAUGES: Final = {
    "mix_overload_step": "Step of the overload ladder: 0 none, 1 smaller layers, 2 faster preset, 3 no loop filter, "
    "4 half the frame rate",
    "mix_behind_seconds": "How far composing is behind",
}


class _Figures(Collector):
    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for name, value in self._figures().items():
            family: CounterMetricFamily | GaugeMetricFamily
            if name in _COUNTERS:
                family = CounterMetricFamily(f"cloudrec_recorder_{name}", _COUNTERS[name])
            else:
                family = GaugeMetricFamily(f"cloudrec_recorder_{name}", _GAUGES[name])
            family.add_metric([], value)
            yield family


def serve(port: int, figures: Callable[[], Mapping[str, float]]) -> Callable[[], None]:
    """Serve them at a port of all addresses; what ends it. Raises OSError when the port is taken."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_Figures(figures))
    server, thread = start_http_server(port, registry=registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
