"""The actor: who is doing what is done now, known everywhere without being handed from function to function.

An API request acts as its key, the command as `cli:` and the account that runs it, a worker as `engine`; what nobody in particular
does is done by `system`. The audit log writes down whoever is acting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SYSTEM = "system"

_actor: ContextVar[str] = ContextVar("tieline_actor", default=SYSTEM)


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Act as somebody within this block and the tasks it starts; afterwards whoever acted before does so again."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def act_as(actor: str) -> None:
    """Act as somebody from here to the end of the block of `acting_as` that one is in."""
    _actor.set(actor)


def current_actor() -> str:
    """Who acts now."""
    return _actor.get()
