"""Lists and screens over a database: how long each takes, and whether PostgreSQL reads a large table from end to end for it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import event

from rig.postgres import Database
from tieline.app import Tieline, running
from tieline.flows.members import invite_member
from tieline.flows.sign_in import sign_in_by_link
from tieline.settings import read_settings
from tieline.store.entities import parsed

HOST = "http://tieline.test"
PATHS = (
    "/v1/entities?limit=100",
    "/v1/entities?kind=vulnerability&status=open&limit=100",
    "/v1/entities?verdict=fail&limit=100",
    "/v1/findings?limit=100",
    "/v1/findings?status=open&limit=100",
    "/v1/evidence?limit=100",
    "/v1/controls",
    "/v1/connections?limit=100",
    "/",
    "/entities",
    "/entities?kind=vulnerability",
    "/entities?kind=vulnerability&search=traversal",
    "/findings",
    "/controls",
    "/controls/soc2:CC7.1",
    "/evidence",
    "/connections",
    "/search?q=traversal",
)
_PLANNED = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


@dataclass
class Opened:
    """A path that was opened: milliseconds of each visit, how many statements it took, and the tables it read whole."""

    path: str
    took: list[float] = field(default_factory=list)
    statements: int = 0
    read_whole: list[str] = field(default_factory=list)


async def open_all(database: Database, place: Path, keys: Path, large: Sequence[str], *, rounds: int) -> list[Opened]:
    """Open every path by turns as an administrator of the first organization, and explain what was asked of the database."""
    settings = read_settings(data_dir=place, database_url=database.url, key_ring=keys)
    async with (
        running(settings) as tieline,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(tieline.api()), base_url=HOST, timeout=300) as client,
    ):
        client.cookies.set("tieline_session", await _sign_in(tieline), domain="tieline.test")
        opened = [Opened(path) for path in PATHS]
        for one in opened:  # once each without counting
            with _listening(tieline) as asked:
                await _open(client, one.path)
            assert asked, f"{one.path} asks nothing of the database, or it was not heard"
            one.statements = len(asked)
            one.read_whole = await _read_whole(tieline, asked, large)
        for _ in range(rounds * 3):
            for one in random.sample(opened, len(opened)):
                began = time.perf_counter()
                await _open(client, one.path)
                one.took.append((time.perf_counter() - began) * 1000)
        return opened


async def _sign_in(tieline: Tieline) -> str:
    """The cookie of a new administrator's session."""
    email = f"benchmark-{time.time_ns()}@example.com"
    invited = await invite_member(tieline.parts, tieline.organization.id, email=email, name="Benchmark", role="admin")
    return (await sign_in_by_link(tieline.parts, invited.link.token, user_agent="A benchmark")).cookie


async def _open(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={} if path.startswith("/v1") else {"Accept": "text/html"})
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}")


Asked = list[tuple[bool, str, tuple[Any, ...]]]
"""Whether it went by way of the driver alone, the statement, and what was given."""


@contextmanager
def _listening(tieline: Tieline) -> Iterator[Asked]:
    """The statements that are sent meanwhile."""
    asked: Asked = []

    def note(said: Any) -> None:
        if _PLANNED.match(said.query):
            asked.append((True, said.query, tuple(said.args or ())))

    def note_executed(_: Any, __: Any, statement: str, given: Any, ___: Any, many: bool) -> None:
        if _PLANNED.match(statement):
            asked.append((False, statement, tuple(given[0] if many else given)))

    def listen(_: Any, record: Any, __: Any) -> None:
        record.driver_connection.add_query_logger(note)

    def leave(_: Any, record: Any) -> None:
        record.driver_connection.remove_query_logger(note)

    engine = tieline.parts.db._engine.sync_engine
    listeners = (
        (engine, "before_cursor_execute", note_executed),
        (engine.pool, "checkout", listen),
        (engine.pool, "checkin", leave),
    )
    for one in listeners:
        event.listen(*one)
    try:
        yield asked
    finally:
        for one in listeners:
            event.remove(*one)


async def _read_whole(tieline: Tieline, asked: Asked, large: Sequence[str]) -> list[str]:
    """The large tables that some of these statements would read from end to end."""
    found: set[str] = set()
    async with tieline.parts.db.work(tieline.organization.id) as work:
        driver = await work.driver()
        for by_driver, query, given in asked:
            explained = f"EXPLAIN (FORMAT JSON) {query}"
            if by_driver:
                plan = await driver.fetchval(explained, *given)
            else:
                plan = (await work.connection.exec_driver_sql(explained, given)).scalar_one()
            found |= {
                node.get("Relation Name", "")
                for node in _nodes(parsed(plan)[0]["Plan"])
                if node["Node Type"] == "Seq Scan"
            }
    return sorted(found & set(large))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", ()):
        yield from _nodes(one)
