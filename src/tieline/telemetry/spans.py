"""Spans: what happens as OpenTelemetry traces it. A span says what was done, to which of our ids, and how it ended by a word.

No message of an error, no path and no query is ever in one: they may quote what they were given. Nothing of a trace is sent to a
provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tieline.telemetry.instruments import Counter, Histogram

Attributes = Mapping[str, str | int | float | bool]

_tracer = trace.get_tracer("tieline")
_w3c = TraceContextTextMapPropagator()


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    within: Context | None = None,
    asked_by: str | None = None,
) -> Iterator[Span]:
    """Trace the block, if anybody traces; `asked_by` is the traceparent of whoever asked for it, then or long ago, to which it is linked."""
    if within is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield trace.INVALID_SPAN  # what the API would come to, a good deal later
        return
    with _tracer.start_as_current_span(
        name,
        context=within,
        kind=kind,
        attributes=attributes,
        links=_links(asked_by),
        record_exception=False,  # its message and its frames
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            opened.set_attribute("error.type", type(error).__qualname__)
            opened.set_status(Status(StatusCode.ERROR))
            raise


@contextmanager
def measured(
    name: str, counter: Counter, attributes: Attributes | None = None, *, timed: Histogram | None = None, **labels: str
) -> Iterator[Span]:
    """Trace the block and count it under its outcome, and time it if asked; `timed` has the same labels but for the outcome."""
    begun, outcome = perf_counter(), "ok"
    try:
        with span(name, attributes) as opened:
            yield opened
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        counter.add(1, **labels, outcome=outcome)
        if timed:
            timed.record(perf_counter() - begun, **labels)


def outcome_of(error: BaseException) -> str:
    """A word for what went wrong: the slug of an error of ours, of any other the type, since it may hold whatever it was given."""
    ours = type(error).__module__.startswith("tieline.")
    slug = getattr(error, "slug", None) if ours else None
    return slug if isinstance(slug, str) else type(error).__qualname__


def asked_by(headers: Mapping[str, str]) -> Context:
    """The trace that a request says it belongs to (W3C Trace Context), if it does."""
    return _w3c.extract(headers)


def traceparent() -> str | None:
    """What names the span that one is in, to be linked to later; `None` if nobody traces."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent")


def _links(asked_by: str | None) -> list[Link]:
    if not asked_by:
        return []
    found = trace.get_current_span(_w3c.extract({"traceparent": asked_by}, Context())).get_span_context()
    return [Link(found)] if found.is_valid else []
