"""The instruments: each declared once, recorded to Prometheus and to OpenTelemetry alike.

Prometheus calls `provider.requests` `tieline_provider_requests_total`, OpenTelemetry `tieline.provider.requests`. What begins with `platform.` is read from
the database when somebody asks, is the same in every process, and is never to be summed over processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import prometheus_client
from opentelemetry import metrics

from tieline.telemetry import labels as of
from tieline.telemetry.labels import Label, bound_all

REGISTRY = prometheus_client.CollectorRegistry()
"""What this process has counted."""

_meter = metrics.get_meter("tieline")
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


@dataclass(frozen=True)
class Named:
    """What all instruments have: a name, words that explain it, a unit, and labels."""

    name: str
    words: str
    labels: Mapping[str, Label] = field(default_factory=dict)
    unit: Literal["", "seconds", "bytes"] = ""

    @property
    def in_prometheus(self) -> str:
        """Its name there, without what a counter's or a histogram's ends in."""
        return "_".join(["tieline", self.name.replace(".", "_"), *([self.unit] if self.unit else [])])

    @property
    def in_otel(self) -> str:
        """Its name there."""
        return f"tieline.{self.name}"

    @property
    def otel_unit(self) -> str:
        """Its unit there (UCUM)."""
        return {"": "1", "seconds": "s", "bytes": "By"}[self.unit]


@dataclass(frozen=True)
class Recorded(Named):
    """What is recorded as it happens: the instrument of each world, and the series that there are of them by their labels."""

    _sinks: tuple[Any, Any] = field(init=False, repr=False, compare=False)
    _series: dict[tuple[tuple[str, str], ...], tuple[Any, dict[str, str]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def _of(self, given: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
        """Prometheus' series for these labels, and the labels as they count."""
        key = tuple(given.items())
        if found := self._series.get(key):
            return found
        told, sink = bound_all(self.labels, given), self._sinks[0]
        made = (sink.labels(**told) if told else sink), told
        if told == given:  # else whatever counts as `other` would be remembered
            self._series[key] = made
        return made


@dataclass(frozen=True)
class Counter(Recorded):
    """Counts what happens in this process, or the seconds of it."""

    def __post_init__(self) -> None:
        counted = prometheus_client.Counter(self.in_prometheus, self.words, list(self.labels), registry=REGISTRY)
        also = _meter.create_counter(self.in_otel, self.otel_unit, self.words)
        object.__setattr__(self, "_sinks", (counted, also))

    def add(self, amount: float = 1, **given: str) -> None:
        """Count so much, under these labels."""
        counted, told = self._of(given)
        counted.inc(amount)
        self._sinks[1].add(amount, told)


@dataclass(frozen=True)
class Histogram(Recorded):
    """Times what happens in this process."""

    def __post_init__(self) -> None:
        timed = prometheus_client.Histogram(
            self.in_prometheus, self.words, list(self.labels), buckets=_SECONDS, registry=REGISTRY
        )
        also = _meter.create_histogram(
            self.in_otel, self.otel_unit, self.words, explicit_bucket_boundaries_advisory=_SECONDS
        )
        object.__setattr__(self, "_sinks", (timed, also))

    def record(self, seconds: float, **given: str) -> None:
        """Take one into account, under these labels."""
        timed, told = self._of(given)
        timed.observe(seconds)
        self._sinks[1].record(seconds, told)


@dataclass(frozen=True)
class Gauge(Named):
    """What is looked up when somebody asks; `grows` if it never falls."""

    grows: bool = False

    def reading(self, value: float, **given: str) -> Reading:
        """One value of it, under these labels."""
        return Reading(self, value, bound_all(self.labels, given))


@dataclass(frozen=True)
class Reading:
    """A value that was looked up."""

    gauge: Gauge
    value: float
    labels: Mapping[str, str]


# Requests to Tieline

HTTP_SECONDS = Histogram(
    "http.request",
    "How long requests to Tieline took.",
    {"method": of.METHOD, "route": of.ROUTE, "status": of.STATUS_CLASS},
    "seconds",
)

# Requests to providers

PROVIDER_REQUESTS = Counter(
    "provider.requests",
    "Requests to providers, each try and redirect by itself.",
    {"provider": of.PROVIDER, "status": of.PROVIDER_STATUS},
)
PROVIDER_SECONDS = Histogram(
    "provider.request", "How long providers took to answer.", {"provider": of.PROVIDER}, "seconds"
)
WAITS = Counter(
    "provider.waits",
    "Times that a request stood still before it was sent.",
    {"provider": of.PROVIDER, "cause": of.CAUSE},
)
WAIT_SECONDS = Counter(
    "provider.wait",
    "For how long requests stood still before they were sent.",
    {"provider": of.PROVIDER, "cause": of.CAUSE},
    "seconds",
)
REFRESHES = Counter("token.refreshes", "Grants that were refreshed.", {"provider": of.PROVIDER, "outcome": of.OUTCOME})

# Runs

PAGES = Counter(
    "pages", "Pages that were stored; small ones that are stored together count once.", {"provider": of.PROVIDER}
)
PAGE_SECONDS = Histogram(
    "page", "How long pages took to read and to store.", {"provider": of.PROVIDER, "part": of.PART}, "seconds"
)
PUT_OFF = Counter(
    "runs.put_off", "Times that a run had to wait and goes on later.", {"provider": of.PROVIDER, "outcome": of.OUTCOME}
)
FAULTS = Counter("runs.faults", "Runs that failed in a way that is no provider's fault, and are tried again.")
RELEASED = Counter("holds.released", "Holds of workers that fell silent, given back by this process.")
ENGINE_RESTARTS = Counter("engine.restarts", "Times that the engine began anew, as when the database was away.")
CHORES = Counter("chores", "Chores of the upkeep that were done.", {"chore": of.CHORE, "outcome": of.OUTCOME})

# The vault

VAULT = Counter(
    "vault.operations",
    "What the vault did, and could not do.",
    {"operation": of.OPERATION, "outcome": of.OUTCOME},
)
VAULT_SECONDS = Histogram("vault.operation", "How long the vault took.", {"operation": of.OPERATION}, "seconds")

# Looked up in this process

BUILD = Gauge("build_info", "This process: its release and role; always 1.", {"version": of.VERSION, "role": of.ROLE})
DISK_FREE = Gauge("disk.free", "Free space where the data directory is.", unit="bytes")
DISK_SIZE = Gauge("disk.size", "All space where the data directory is.", unit="bytes")

# Looked up in the database: the same in every process

UP = Gauge("platform.up", "1 if the database told what follows, 0 if it could not.")
QUEUE = Gauge("platform.operations", "Operations that run, or are due and wait.", {"state": of.STATE})
OLDEST_WAIT = Gauge("platform.oldest_wait", "For how long the oldest of what is due has waited.", unit="seconds")
SILENCE = Gauge(
    "platform.oldest_silence", "For how long the most silent of what runs has not been heard of.", unit="seconds"
)
WORKERS = Gauge("platform.workers", "Workers that are heard of.")
SLOTS = Gauge("platform.slots", "Operations that these carry out side by side.")
CONNECTIONS = Gauge("platform.connections", "Connections.", {"provider": of.PROVIDER, "status": of.CONNECTION_STATUS})
FAILING = Gauge(
    "platform.failing",
    "Entities that fail a check, muted findings included; one that fails two counts twice.",
    {"severity": of.SEVERITY},
)
RUNS = Gauge(
    "platform.runs",
    "Runs that ended, ever.",
    {"provider": of.PROVIDER, "outcome": of.RUN_OUTCOME},
    grows=True,
)
RECORDS = Gauge(
    "platform.records",
    "Records that runs which have ended read, ever.",
    {"provider": of.PROVIDER, "verdict": of.VERDICT},
    grows=True,
)
DATABASE_SIZE = Gauge("platform.database_size", "The size of the database.", unit="bytes")

GAUGES = tuple(one for one in globals().copy().values() if isinstance(one, Gauge))
