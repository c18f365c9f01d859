"""Hearing all that is logged, to look through it for secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Listener(logging.Handler):
    """Keeps every log record, with all that was attached to it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it as text."""
        self.lines.append(f"{record.getMessage()} {vars(record)!r}")


@contextmanager
def listening() -> Iterator[list[str]]:
    """Hear every logger at DEBUG, for as long as it lasts; the lines are added as they come."""
    listener = _Listener()
    root, own = logging.getLogger(), logging.getLogger("tieline")
    levels = root.level, own.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    own.setLevel(logging.DEBUG)
    try:
        yield listener.lines
    finally:
        root.removeHandler(listener)
        root.setLevel(levels[0])
        own.setLevel(levels[1])
