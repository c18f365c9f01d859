"""Imports: many accounts connected from one file, each row on its own, with a report that says what became of each.

A row that fails keeps no other from being connected, and a file may be imported again: what is connected already is told as such.
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from tieline.errors import Conflict, Invalid, TielineError, TooLarge
from tieline.flows.audit import record
from tieline.flows.connect import (
    Attempt,
    checked_expiry,
    checked_name,
    connect,
    given_way,
    read_credential,
    read_options,
)
from tieline.flows.credentials import Held
from tieline.flows.parts import Parts
from tieline.flows.verify import verify
from tieline.store.connections import find_by_account

MAX_BYTES = 8 * 1024 * 1024
MAX_ROWS = 5_000
_SIDE_BY_SIDE = 4
_FIELDS = {"provider", "name", "by", "expires_at", "options", "credential"}

Told = Callable[["Imported"], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One account of a file: its number, from 1, and what was given for it, or why it cannot be read."""

    number: int
    given: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Imported:
    """What became of a row. `valid` is a dry run's `connected`; `exists` was connected before."""

    row: int
    status: Literal["connected", "valid", "exists", "refused"]
    provider: str | None = None
    account: str | None = None
    connection_id: str | None = None
    error: TielineError | None = None


def read_rows(content: bytes, format: Literal["csv", "json"]) -> list[Row]:
    """The rows of a file; raises `Invalid` or `TooLarge`, and never quotes a value.

    CSV has a heading: `provider`, and as wanted `name`, `by`, `expires_at`, `options.<name>`, `credential.<name>`. JSON is a list
    of objects with the fields of POST /v1/connections.
    """
    if len(content) > MAX_BYTES:
        raise TooLarge(f"The file is over {MAX_BYTES // 1024 // 1024} MB", advice="Import it in parts.")
    rows = [Row(number, given) for number, given in enumerate(_parse(content, format), start=1)]
    if not rows:
        raise Invalid("The file has no rows")
    if len(rows) > MAX_ROWS:
        raise TooLarge(f"The file has over {MAX_ROWS} rows", advice="Import it in parts.")
    return rows


async def import_rows(
    parts: Parts, org_id: str, rows: Sequence[Row], *, dry_run: bool = False, told: Told = lambda _: None
) -> list[Imported]:
    """Connect each row's account, or only try whether it could be; the report is in the order of the rows.

    Cut off, it ends the rows that are at work, begins no other, and records what was done until then.
    """
    slots = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(row: Row) -> Imported:
        async with slots:
            return await _import(parts, org_id, row, dry_run=dry_run)

    tasks = [asyncio.create_task(one(row)) for row in rows]
    try:
        for ended in asyncio.as_completed(tasks):
            told(await ended)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        report = [outcome for outcome in outcomes if isinstance(outcome, Imported)]
        await _record(parts, org_id, rows, report, dry_run=dry_run)
    return report


async def _record(parts: Parts, org_id: str, rows: Sequence[Row], report: list[Imported], *, dry_run: bool) -> None:
    counts = {status: sum(one.status == status for one in report) for status in ("connected", "exists", "refused")}
    counts["not_done"] = len(rows) - len(report)
    async with parts.db.work(org_id) as work:
        await record(work, parts, "connections.imported", None, rows=len(rows), dry_run=dry_run, **counts)


async def _import(parts: Parts, org_id: str, row: Row, *, dry_run: bool) -> Imported:
    slug: str | None = None
    try:
        attempt = _attempt(parts, row.given)
        slug = attempt.provider
        if dry_run:
            return await _try(parts, org_id, row, attempt)
        made = await connect(parts, org_id, attempt)
        return Imported(row.number, "connected", made.provider, made.account_name, made.id)
    except Conflict as error:
        if standing := error.details.get("connection_id"):
            return Imported(row.number, "exists", slug, connection_id=standing)
        return Imported(row.number, "refused", slug, error=error)
    except TielineError as error:
        return Imported(row.number, "refused", slug, error=error)
    except Exception as error:  # noqa: BLE001  whatever it is, the other rows and the report are owed
        _log.error("A row of an import failed", extra={"row": row.number}, exc_info=error)
        told = TielineError(
            "Something went wrong inside Tieline", advice="Look at the log, then import this row again."
        )
        return Imported(row.number, "refused", slug, error=told)


async def _try(parts: Parts, org_id: str, row: Row, attempt: Attempt) -> Imported:
    provider = parts.catalog.provider(attempt.provider)
    auth = given_way(provider, attempt.by, attempt.credential)
    checked_name(attempt.name)
    checked_expiry(parts, attempt.expires_at)
    options = read_options(provider, attempt.options)
    credential = read_credential(provider, auth, attempt.credential)
    verified = await verify(parts, org_id, provider, options, Held(auth, credential))
    async with parts.db.work(org_id) as work:
        standing = await find_by_account(work, provider.slug, verified.account.id)
    status: Literal["exists", "valid"] = "exists" if standing else "valid"
    return Imported(row.number, status, provider.slug, verified.account.name, standing.id if standing else None)


def _attempt(parts: Parts, given: Mapping[str, Any]) -> Attempt:
    """What a row gives; raises `Invalid`, which quotes no value: where columns are out of order, any may be a secret."""
    if unknown := set(given) - _FIELDS:
        raise Invalid(f"{len(unknown)} fields are unknown", advice=f"The fields are: {', '.join(sorted(_FIELDS))}.")
    if _holds_nul(given):  # no column takes one
        raise Invalid("A value holds a NUL character")
    options, credential = given.get("options") or {}, given.get("credential") or {}
    if not isinstance(options, Mapping) or not isinstance(credential, Mapping):
        raise Invalid("`options` and `credential` must be objects")
    texts = {name: given.get(name) or None for name in ("provider", "name", "by", "expires_at")}
    if wrong := [name for name, value in texts.items() if value is not None and not isinstance(value, str)]:
        raise Invalid(f"`{wrong[0]}` must be text")
    if not texts["provider"]:
        raise Invalid("`provider` is missing")
    provider = parts.catalog.providers.get(texts["provider"])
    if provider is None:
        known = ", ".join(sorted(parts.catalog.providers))
        raise Invalid("`provider` is not the name of one", advice=f"Known providers: {known}.")
    ways = [auth.slot for auth in provider.modes]
    if texts["by"] and texts["by"] not in ways:
        raise Invalid(f"`by` is no way to connect {provider.name}", advice=f"Its ways are: {', '.join(ways)}.")
    return Attempt(texts["provider"], options, credential, texts["name"], texts["by"], _time(texts["expires_at"]))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_nul, (*value, *value.values())))
    return any(map(_holds_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Invalid("`expires_at` must be a time such as 2027-01-31") from None


def _parse(content: bytes, format: str) -> Iterator[Mapping[str, Any]]:
    try:
        if format == "csv":
            return iter(_parse_csv(content.decode("utf-8-sig")))
        found = orjson.loads(content)
    except UnicodeDecodeError:
        raise Invalid("The file is not UTF-8 text") from None
    except orjson.JSONDecodeError:
        raise Invalid("The file is not valid JSON") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Invalid("The file must be a list of objects")
    return iter(found)


def _parse_csv(text: str) -> list[Mapping[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        if bad := [name for name in names if not _is_column(name)]:
            columns = "provider, name, by, expires_at, options.<name> or credential.<name>"
            raise Invalid(f"{len(bad)} headings are unknown", advice=f"A heading is one of: {columns}.")
        if len(set(names)) != len(names) or "provider" not in names:
            raise Invalid("The heading must name `provider`, and each column once")
        return [_nest(names, line) for line in _lines(reader)]
    except csv.Error:
        raise Invalid("The file is not valid CSV") from None


def _lines(reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    for line in reader:
        if None in line or None in line.values():
            raise Invalid(f"Line {reader.line_num} has not as many columns as the heading")
        yield line


def _is_column(name: str) -> bool:
    group, dot, rest = name.partition(".")
    return (group in ("options", "credential") and bool(dot and rest)) or name in _FIELDS - {"options", "credential"}


def _nest(names: Sequence[str], line: Mapping[str, str]) -> dict[str, Any]:
    """A line as the JSON form has it; an empty cell gives nothing."""
    nested: dict[str, Any] = {}
    for name, value in zip(names, line.values(), strict=True):
        group, dot, rest = name.partition(".")
        if value and dot:
            nested.setdefault(group, {})[rest] = value
        elif value:
            nested[name] = value
    return nested
