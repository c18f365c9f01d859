"""What the listing commands have in common: the page that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tieline.store.listing import Paging

F = TypeVar("F", bound=Callable[..., Any])


def paged(command: F) -> F:
    """Add `--limit` and `--cursor`."""
    command = click.option("--cursor", metavar="CURSOR", help="Go on from the `next` of the page before.")(command)
    return click.option(
        "--limit", type=click.IntRange(1, 5000), default=100, show_default=True, help="How many rows at most."
    )(command)


def none_of(told: str, *filters: Any) -> str:
    """What is said where there are no rows: `told`, which says that there are none at all, unless a filter may have left them out."""
    return "None fits these filters." if any(filters) else told


def page(limit: int, cursor: str | None) -> Paging:
    """The page that the options ask for."""
    from tieline.store.listing import Paging

    return Paging(cursor, limit)
