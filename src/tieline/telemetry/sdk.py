"""The OpenTelemetry SDK, where the operator wants it: `pip install 'tieline[otel]'` and OpenTelemetry's own environment variables.

Nothing is sent unless a variable names where to. What else those say (resource, sampler, headers, intervals) the SDK reads by itself.
A host that Tieline is mounted in, and that has set up OpenTelemetry, keeps what it has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Literal

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation

from tieline.telemetry.instruments import GAUGES, Gauge, Reading

Signal = Literal["traces", "metrics"]

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_log = logging.getLogger(__name__)
_looked_up: Callable[[], Iterable[Reading]] = tuple


@contextmanager
def turned_on(environment: Mapping[str, str] = os.environ) -> Iterator[bool]:
    """Send traces and metrics while the block runs, as far as the environment says so; whether metrics are sent."""
    chosen: dict[Signal, str] = {name: _exporter(name, environment) for name in ("traces", "metrics")}
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or set(chosen.values()) == {"none"}:
        yield False
        return
    try:
        opened = [_OPEN[name](chosen[name]) for name in chosen if chosen[name] != "none"]
    except ImportError:
        _log.warning("OpenTelemetry is asked for and not installed: pip install 'tieline[otel]'")
        yield False
        return
    try:
        yield chosen["metrics"] != "none"
    finally:
        for one in opened:
            one.shutdown()


def observe_readings(looked_up: Callable[[], Iterable[Reading]]) -> None:
    """Let OpenTelemetry have what was looked up last, whenever it asks."""
    global _looked_up  # noqa: PLW0603  the instruments are the process's, and so is where they read
    _looked_up = looked_up


def _exporter(signal: Signal, environment: Mapping[str, str]) -> str:
    """`otlp`, `console` or `none`; `otlp` where an endpoint is named, and none where nothing is."""
    named = environment.get(f"OTEL_{signal.upper()}_EXPORTER", "")
    endpoint = environment.get(_ENDPOINT) or environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    chosen = named or ("otlp" if endpoint else "none")
    if chosen not in {"otlp", "console", "none"}:
        _log.warning("There is no exporter of that name here", extra={"signal": signal, "known": "otlp, console, none"})
        return "none"
    return chosen


def _resource() -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {"service.name": "tieline", "service.version": version("tieline")}
    return Resource.create(own).merge(OTELResourceDetector().detect())


def _open_traces(exporter: str) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if exporter == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Exporter
    else:
        Exporter = ConsoleSpanExporter  # type: ignore[assignment,misc]  # noqa: N806
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return _Theirs()
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    trace.set_tracer_provider(provider)
    return provider


def _open_metrics(exporter: str) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

    if exporter == "otlp":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Exporter
    else:
        Exporter = ConsoleMetricExporter  # type: ignore[assignment,misc]  # noqa: N806
    if "Proxy" not in type(metrics.get_meter_provider()).__name__:  # the proxy's own type is not public
        _observe_gauges()
        return _Theirs()
    provider = MeterProvider([PeriodicExportingMetricReader(Exporter())], resource=_resource())
    metrics.set_meter_provider(provider)
    _observe_gauges()
    return provider


class _Theirs:
    """What the host has set up, and shuts down itself."""

    def shutdown(self) -> None:
        """Leave it."""


_OPEN: Mapping[Signal, Callable[[str], Any]] = {"traces": _open_traces, "metrics": _open_metrics}


def _observe_gauges() -> None:
    meter = metrics.get_meter("tieline")
    for gauge in GAUGES:
        create = meter.create_observable_counter if gauge.grows else meter.create_observable_gauge
        create(gauge.in_otel, [_callback(gauge)], gauge.otel_unit, gauge.words)


def _callback(gauge: Gauge) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(one.value, dict(one.labels)) for one in _looked_up() if one.gauge is gauge]

    return observe
