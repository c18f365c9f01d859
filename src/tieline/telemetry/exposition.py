"""The exposition: what this process counted and what was looked up, in the text that Prometheus reads (format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from prometheus_client import PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from tieline.telemetry.instruments import GAUGES, REGISTRY, Gauge, Reading

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_process = CollectorRegistry()
ProcessCollector(registry=_process)
PlatformCollector(registry=_process)


def expose(readings: Iterable[Reading] = ()) -> bytes:
    """Everything, with what was looked up for it."""
    asked = CollectorRegistry()
    asked.register(_Asked(list(readings)))
    return generate_latest(asked)


class _Asked(Collector):
    """All that is exposed at once; without the moments at which series began, which nobody asks for and which double them."""

    def __init__(self, readings: list[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """One family after another."""
        for counted in (*REGISTRY.collect(), *_process.collect()):
            counted.samples = [one for one in counted.samples if not one.name.endswith("_created")]
            yield counted
        order = {gauge.name: place for place, gauge in enumerate(GAUGES)}
        self._readings.sort(key=lambda one: order[one.gauge.name])
        for _, found in groupby(self._readings, key=lambda one: one.gauge.name):
            yield _family(list(found))

    def describe(self) -> list[Metric]:
        """Nothing beforehand: it is made for one answer."""
        return []


def _family(readings: list[Reading]) -> Metric:
    gauge: Gauge = readings[0].gauge
    kind = CounterMetricFamily if gauge.grows else GaugeMetricFamily
    made: CounterMetricFamily | GaugeMetricFamily = kind(gauge.in_prometheus, gauge.words, labels=list(gauge.labels))
    sums: dict[tuple[str, ...], float] = {}
    for one in readings:  # two that count as `other` are one series
        values = tuple(one.labels.values())
        sums[values] = sums.get(values, 0) + one.value
    for values, value in sums.items():
        made.add_metric(list(values), value)
    return made
