"""Tracing for as long as a block lasts: what is traced is kept in memory, and afterwards nobody traces again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tieline.telemetry import spans


@contextmanager
def tracing() -> Iterator[InMemorySpanExporter]:
    """Trace, as in a process whose operator has set up OpenTelemetry: other libraries find that, too."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        patch.setattr(spans, "_tracer", provider.get_tracer("tieline"))
        yield kept


def shown(span: ReadableSpan) -> str:
    """All that a span tells."""
    scope = span.instrumentation_scope
    return f"{scope.name if scope else ''}: {span.to_json(indent=None)}"
