"""Telemetry: labels stay few, spans say no more than a word of what went wrong, and nothing is sent unless somebody says where to."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.canaries import hatch
from tests.tracing import shown, tracing

from tieline import log
from tieline.errors import Unavailable
from tieline.telemetry import Counter, asked_by, expose, measured, span, traceparent, turned_on
from tieline.telemetry import instruments as of
from tieline.telemetry.labels import MOST_VALUES, OTHER, Label, bound_all
from tieline.telemetry.spans import outcome_of
from tieline.vault import KeyFailure

SECRET = hatch("secret").text
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def value(name: str, **labels: str) -> float:
    """A value as Prometheus reads it; 0 for a series that there is not."""
    for line in expose().decode().splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")) == labels:
            return float(found[3])
    return 0.0


@pytest.fixture
def traced() -> Iterator[InMemorySpanExporter]:
    with tracing() as kept:
        yield kept


# Labels


def test_a_value_that_is_not_one_of_a_labels_counts_as_other() -> None:
    told = {"provider": "https://acme.example/x", "status": "299"}
    assert bound_all(of.PROVIDER_REQUESTS.labels, told) == {"provider": OTHER, "status": OTHER}
    told = {"provider": "google_workspace", "status": "429"}
    assert bound_all(of.PROVIDER_REQUESTS.labels, told) == told


def test_an_open_label_takes_a_limited_number_of_values() -> None:
    label = Label("a word", form=re.compile(r"[a-z0-9]+"))
    bound = [label.bound(f"v{number}") for number in range(MOST_VALUES + 50)]
    assert len(set(bound)) == MOST_VALUES + 1
    assert bound[-1] == OTHER
    assert label.bound("v0") == "v0", "those that came first stay"


@pytest.mark.parametrize("given", [{"provider": "okta"}, {"provider": "okta", "status": "2xx", "org_id": "org_1"}])
def test_every_label_is_given_and_no_other(given: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        of.PROVIDER_REQUESTS.add(**given)


@pytest.mark.parametrize("word", ["org_01m81ech5pf4brxe0z8kgtah1y/", "https://a.example", "a b", "ü", "x" * 99, ""])
def test_no_label_of_any_instrument_takes_what_is_no_word(word: str) -> None:
    instruments = [one for one in vars(of).values() if isinstance(one, of.Named)]
    assert len(instruments) > 20
    for one in instruments:
        for name, label in one.labels.items():
            assert label.bound(word) == OTHER, (one.name, name)


def test_an_error_of_others_is_told_by_its_type_whatever_it_holds() -> None:
    given = UnicodeDecodeError("utf-8", b"", 0, 1, SECRET)
    given.slug = SECRET  # type: ignore[attr-defined]
    assert [outcome_of(one) for one in (given, Unavailable(SECRET), KeyFailure("denied"))] == [
        "UnicodeDecodeError",
        "provider-unavailable",
        "denied",
    ]


def test_readings_that_count_as_other_are_one_series() -> None:
    readings = [
        of.CONNECTIONS.reading(2, provider="a!", status="active"),
        of.CONNECTIONS.reading(3, provider="b!", status="active"),
    ]
    lines = [
        line for line in expose(readings).decode().splitlines() if line.startswith("tieline_platform_connections{")
    ]
    assert lines == ['tieline_platform_connections{provider="other",status="active"} 5.0']


def test_what_is_exposed_does_not_tell_when_each_series_began() -> None:
    of.PAGES.add(provider="okta")
    text = expose().decode()
    assert 'tieline_pages_total{provider="okta"}' in text
    assert "_created" not in text


# Spans


def test_a_span_tells_what_kind_of_error_ended_it_and_nothing_of_what_it_said(traced: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match=SECRET), span("work", {"tieline.run_id": "run_1"}):
        raise ValueError(SECRET)
    (done,) = traced.get_finished_spans()
    assert done.status.status_code is StatusCode.ERROR
    assert dict(done.attributes or {}) == {"tieline.run_id": "run_1", "error.type": "ValueError"}
    assert (done.events, done.status.description) == ((), None)
    assert SECRET not in shown(done)


def test_what_is_measured_is_counted_by_how_it_ended(traced: InMemorySpanExporter) -> None:
    before = [
        value("tieline_chores_total", chore="sweep", outcome=one) for one in ("ok", "provider-unavailable", "KeyError")
    ]
    with measured("chore", of.CHORES, chore="sweep"):
        pass
    for error in (Unavailable(SECRET), KeyError(SECRET)):
        with pytest.raises(type(error)), measured("chore", of.CHORES, chore="sweep"):
            raise error
    after = [
        value("tieline_chores_total", chore="sweep", outcome=one) for one in ("ok", "provider-unavailable", "KeyError")
    ]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert len(traced.get_finished_spans()) == 3


def test_what_was_asked_for_within_a_trace_is_linked_to_it_later(traced: InMemorySpanExporter) -> None:
    with span("request", within=asked_by({"traceparent": PARENT})):
        told = traceparent()
    with span("run", asked_by=told):
        pass
    request, run = traced.get_finished_spans()
    assert request.context
    assert request.parent
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert [one.context.span_id for one in run.links] == [request.context.span_id]
    assert run.parent is None


@pytest.mark.parametrize("damaged", ["", "nonsense", "00-0-0-0", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_what_names_no_span_is_no_link(traced: InMemorySpanExporter, damaged: str) -> None:
    with span("run", asked_by=damaged):
        pass
    assert [list(one.links) for one in traced.get_finished_spans()] == [[]]


def test_without_an_sdk_nothing_is_named_to_be_linked_to() -> None:
    with span("request", within=asked_by({"traceparent": PARENT})):
        assert traceparent() is None


def test_the_log_names_the_trace_and_what_became_known_within(traced: InMemorySpanExporter) -> None:
    record = logging.makeLogRecord({"name": "tieline", "msg": "x", "levelname": "INFO"})
    with log.bind(request_id="req_1"), span("request") as opened:
        log.add(org_id="org_1")
        within = json.loads(log.JsonLines().format(record))
    outside = json.loads(log.JsonLines().format(record))
    assert within["trace_id"] == f"{opened.get_span_context().trace_id:032x}"
    assert within["span_id"] == f"{opened.get_span_context().span_id:016x}"
    assert (within["request_id"], within["org_id"]) == ("req_1", "org_1")
    assert not {"trace_id", "span_id", "org_id", "request_id"} & set(outside)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", within["at"])


# Turning it on


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        },
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SERVICE_NAME": "tieline"},
    ],
)
def test_nothing_is_sent_unless_the_environment_says_where_to(environment: dict[str, str], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)  # it is not even looked for
    with turned_on(environment) as sends_metrics:
        assert not sends_metrics


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "pip install 'tieline[otel]'"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "There is no exporter of that name here"),
    ],
)
def test_what_cannot_be_sent_is_told_and_keeps_nobody_from_starting(
    environment: dict[str, str], told: str, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    lines, logger = io.StringIO(), logging.getLogger("tieline.telemetry")
    handler = logging.StreamHandler(lines)
    logger.addHandler(handler)
    with turned_on(environment) as sends_metrics:
        assert not sends_metrics
    logger.removeHandler(handler)
    assert told in lines.getvalue()


def test_names_are_those_of_both_worlds() -> None:
    assert (of.WAIT_SECONDS.in_prometheus, of.WAIT_SECONDS.in_otel) == (
        "tieline_provider_wait_seconds",
        "tieline.provider.wait",
    )
    assert isinstance(of.WAIT_SECONDS, Counter)
