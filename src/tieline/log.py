"""Structured logging: one JSON object a line, with the ids of what is being worked on.

`bind(run_id=…)` adds fields to every line logged in the same task: the organization and the request or the run that it is about. What is
traced has the ids of its trace besides. The level is that of Tieline's own loggers; all others
are held at WARNING, for many print URLs, headers or bodies (httpx2 logs whole URLs at INFO, botocore signed headers at
DEBUG), and nobody knows what the SDK of a provider yet to be written does.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

_bound: ContextVar[dict[str, Any]] = ContextVar("tieline_log", default={})  # noqa: B039  never mutated, only replaced
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Add fields to every line logged within this block and the tasks it starts."""
    token = _bound.set(_bound.get() | fields)
    try:
        yield
    finally:
        _bound.reset(token)


def add(**fields: Any) -> None:
    """Add fields from here to the end of the block of `bind` that one is in: what is known only within it."""
    _bound.set(_bound.get() | fields)


def bound(name: str) -> Any:
    """A field that `bind` has added, `None` outside of its block."""
    return _bound.get().get(name)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; an exception is told by type and place, its message only if it is ours."""
        message = record.getMessage()
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # After the first line asyncio goes on with the repr of what failed, exception and all.
            "message": message if _is_ours(record.name) else message.partition("\n")[0],
            **_bound.get(),
            **_traced(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = _describe(record.exc_info[1])
        return json.dumps(line, default=_plain)  # in ASCII, which no stream refuses and no text can break out of


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (standard error by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    own = logging.getLevelNamesMapping()[level.upper()]
    others = max(own, logging.WARNING)
    # Also here, for a library may set the level of its own logger, which then asks nobody above it.
    handler.addFilter(lambda record: record.levelno >= (own if _is_ours(record.name) else others))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(others)
    logging.getLogger("tieline").setLevel(own)


def _traced() -> dict[str, str]:
    """The span that one is in, as OpenTelemetry's log format names it."""
    within = get_current_span().get_span_context()
    if not within.is_valid:
        return {}
    return {"trace_id": format_trace_id(within.trace_id), "span_id": format_span_id(within.span_id)}


def _is_ours(logger: str) -> bool:
    return logger == "tieline" or logger.startswith("tieline.")


def _plain(value: Any) -> str:
    """What JSON has no form for; an exception by its type alone."""
    return type(value).__qualname__ if isinstance(value, BaseException) else str(value)


def _describe(error: BaseException | None) -> dict[str, Any]:
    """An exception without its message unless it is one of ours: others' messages quote values and URLs."""
    from tieline.errors import TielineError

    frames = []
    trace = error.__traceback__ if error else None
    while trace:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rpartition('/tieline/')[2]}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return {
        "type": type(error).__qualname__,
        "message": str(error) if isinstance(error, TielineError) else None,
        "frames": frames[-12:],
    }


def place_of(error: BaseException) -> str:
    """Where an error was raised, as file and line. Its text may quote anything, so it is not told."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"
