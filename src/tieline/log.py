"""Structured logging: one JSON object a line, with the ids of what is being worked on.

`bind(run_id=…)` adds fields to every line logged in the same task. Third-party loggers that would print URLs, headers
or bodies are held at WARNING whatever the level (httpx2 logs whole URLs at INFO, botocore logs signed headers at DEBUG).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

_bound: ContextVar[dict[str, Any]] = ContextVar("tieline_log", default={})  # noqa: B039  never mutated, only replaced
_TALKATIVE = (
    "httpx2", "httpcore2", "httpx", "httpcore", "urllib3", "boto3", "botocore", "s3transfer", "asyncio",
    "sqlalchemy", "asyncpg", "uvicorn.access", "pgqueuer", "alembic",
)  # fmt: skip
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Add fields to every line logged within this block and the tasks it starts."""
    token = _bound.set(_bound.get() | fields)
    try:
        yield
    finally:
        _bound.reset(token)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; an exception is told by type and place, its message only if it is ours."""
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_bound.get(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = _describe(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (standard error by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


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
