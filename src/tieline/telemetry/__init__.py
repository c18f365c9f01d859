"""Telemetry: what is counted, timed and traced, each instrument declared once, and how that is shown to Prometheus and OpenTelemetry.

It stands at the bottom, so that whatever happens can be told where it happens. Nothing here knows an organization, a URL or an account: a
label takes one of a few words. Without an OpenTelemetry SDK in the process the spans and its half of the metrics cost next to nothing.
"""

from tieline.telemetry.exposition import MEDIA_TYPE, expose
from tieline.telemetry.instruments import Counter, Histogram, Reading
from tieline.telemetry.sdk import observe_readings, turned_on
from tieline.telemetry.spans import asked_by, measured, span, traceparent

__all__ = [
    "MEDIA_TYPE",
    "Counter",
    "Histogram",
    "Reading",
    "asked_by",
    "expose",
    "measured",
    "observe_readings",
    "span",
    "traceparent",
    "turned_on",
]
