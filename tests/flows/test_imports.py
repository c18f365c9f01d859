"""Imports: any file is read as rows or refused in words that quote nothing, and each row is connected, or refused, on its own."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flows.bench import ALL, Sandbox

from tieline.clock import Clock
from tieline.errors import Invalid, TooLarge
from tieline.flows.imports import MAX_BYTES, MAX_ROWS, Imported, Row, import_rows, read_rows
from tieline.flows.parts import Parts
from tieline.store.audit import list_entries
from tieline.store.connections import Connection, list_connections
from tieline.store.organizations import Organization

CANARY = "hunter2-canary"
COLUMNS = ("provider", "name", "by", "expires_at", "options.base_url", "credential.token")
Format = Literal["csv", "json"]


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), st.sampled_from(["csv", "json"]))
def test_any_bytes_are_rows_or_refused(content: bytes, format: Format) -> None:
    try:
        rows = read_rows(content, format)
    except Invalid:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


def almost_csv() -> Any:
    """Files that begin with a good heading."""
    return st.text(st.sampled_from('ab,"\n\r;\0é'), max_size=60).map(lambda body: f"provider,credential.token\n{body}")


@given(almost_csv())
def test_whatever_follows_a_good_heading_is_rows_of_its_columns_or_refused(text: str) -> None:
    try:
        rows = read_rows(text.encode(), "csv")
    except Invalid:
        return
    assert all(set(row.given) <= {"provider", "credential"} for row in rows)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
    )
)
def test_any_json_is_rows_or_refused(value: Any) -> None:
    objects = isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
    try:
        assert len(read_rows(json.dumps(value).encode(), "json")) == len(value)
    except Invalid:
        assert not objects or any(isinstance(one, int) and abs(one) >= 2**63 for one in leaves(value))
    else:
        assert objects


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for one in inner for leaf in leaves(one)]


@given(
    st.lists(
        st.fixed_dictionaries(dict.fromkeys(COLUMNS, st.text(st.characters(exclude_categories=["Cs", "Cc"])))),
        min_size=1,
    )
)
def test_what_is_written_as_csv_is_read_as_it_was(lines: list[dict[str, str]]) -> None:
    written = io.StringIO()
    table = csv.DictWriter(written, COLUMNS, quoting=csv.QUOTE_ALL)
    table.writeheader()
    table.writerows(lines)
    for content in (written.getvalue().encode(), written.getvalue().encode("utf-8-sig")):
        rows = read_rows(content, "csv")
        assert [flat(row) for row in rows] == [{name: value for name, value in line.items() if value} for line in lines]


def flat(row: Row) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in row.given.items():
        found |= {f"{name}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {name: value}
    return found


@pytest.mark.parametrize(
    ("content", "format"),
    [
        ("", "csv"), ("", "json"), ("[]", "json"), ("{}", "json"), (f'["{CANARY}"]', "json"), (f'[{{"{CANARY}', "json"),
        ("provider\n", "csv"), (f"provider,{CANARY}\nsandbox,x\n", "csv"), ("name\nx\n", "csv"),
        ("provider,credential\nsandbox,x\n", "csv"), ("provider,credential.\nsandbox,x\n", "csv"),
        ("provider,provider\nsandbox,x\n", "csv"), ("provider, provider \nsandbox,x\n", "csv"),
        (f"provider,credential.token\nsandbox,x,{CANARY}\n", "csv"), (f"provider,credential.token\n{CANARY}\n", "csv"),
        (f'provider,credential.token\nsandbox,"{CANARY}\n', "csv"), (f'provider\n"{CANARY}"x\n', "csv"),
        ("[" * 5_000, "json"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_and_nothing_of_it_is_told(content: str, format: Format) -> None:
    with pytest.raises(Invalid) as refused:
        read_rows(content.encode(), format)
    assert CANARY not in str(refused.value.message) + refused.value.what_to_do


def test_a_file_over_its_size_or_number_of_rows_is_refused() -> None:
    with pytest.raises(TooLarge, match="8 MB"):
        read_rows(b" " * (MAX_BYTES + 1), "json")
    assert len(read_rows(b"provider\n" + b"x\n" * MAX_ROWS, "csv")) == MAX_ROWS
    with pytest.raises(TooLarge, match="5000 rows"):
        read_rows(b"provider\n" + b"x\n" * (MAX_ROWS + 1), "csv")


def good(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    """A row that can be connected."""
    return {"provider": "sandbox", "options": {"base_url": sandbox.url}, "credential": {"token": sandbox.token}} | more


def rows_of(*given: dict[str, Any]) -> list[Row]:
    return [Row(number, one) for number, one in enumerate(given, start=1)]


async def standing(parts: Parts, org_id: str) -> list[Connection]:
    async with parts.db.work(org_id) as work:
        return (await list_connections(work, ALL)).items


async def test_a_row_that_fails_keeps_no_other_from_being_connected(
    parts: Parts, organization: Organization, sandbox: Sandbox
) -> None:
    bad: list[dict[str, Any]] = [
        {},
        {"provider": 7},
        {"provider": CANARY},
        good(sandbox, by=CANARY),
        {"provider": "sandbox", CANARY: CANARY},
        {"provider": "sandbox", "credential": CANARY},
        {"provider": "sandbox", "options": [CANARY]},
        good(sandbox, credential={}),
        good(sandbox, credential={"token": CANARY}),
        good(sandbox, credential={"token": f"lks_{CANARY}"}),
        good(sandbox, credential={"token": "lks_a\0"}),
        good(sandbox, options={"base_url": "http://127.0.0.1:9"}),
        good(sandbox, options={"base_url": sandbox.url, "list": [{"deep": "a\0"}]}),
        good(sandbox, name="a\0b"),
        good(sandbox, name="n" * 201),
        good(sandbox, by="oauth2"),
        good(sandbox, by=["token"]),
        good(sandbox, expires_at="2001-01-01"),
        good(sandbox, expires_at=CANARY),
        good(sandbox, expires_at="9999-12-31T23:59:59-23:59"),
    ]
    told: list[Imported] = []
    report = await import_rows(
        parts, organization.id, rows_of(*bad, good(sandbox, name="Good", expires_at="2199-01-31")), told=told.append
    )
    assert [one.row for one in report] == list(range(1, len(bad) + 2))
    assert [one.status for one in report] == ["refused"] * len(bad) + ["connected"]
    assert sorted(one.row for one in told) == [one.row for one in report]
    assert CANARY not in repr([(one, one.error and (one.error.message, one.error.what_to_do)) for one in report])
    (made,) = await standing(parts, organization.id)
    assert (made.id, made.name, made.account_name) == (report[-1].connection_id, "Good", report[-1].account)
    assert made.expires_at
    assert made.expires_at.isoformat() == "2199-01-31T00:00:00+00:00"


async def test_a_dry_run_tells_what_would_be_and_saves_nothing(
    parts: Parts, organization: Organization, sandbox: Sandbox
) -> None:
    rows = rows_of(
        good(sandbox), good(sandbox, credential={"token": "lks_wrong"}), good(sandbox, expires_at="2001-01-01")
    )
    tried = await import_rows(parts, organization.id, rows, dry_run=True)
    assert [one.status for one in tried] == ["valid", "refused", "refused"]
    assert (tried[0].account, tried[0].connection_id) == ("Larkfield Instruments", None)
    assert [one.error and one.error.slug for one in tried] == [None, "credential-rejected", "invalid"]
    assert await standing(parts, organization.id) == []


async def test_importing_again_tells_what_is_connected_already(
    parts: Parts, organization: Organization, sandbox: Sandbox
) -> None:
    twice = await import_rows(parts, organization.id, rows_of(good(sandbox), good(sandbox)))
    assert sorted(one.status for one in twice) == ["connected", "exists"], "one file may name an account twice"
    (made,) = await standing(parts, organization.id)
    for dry_run in (True, False):
        (again,) = await import_rows(parts, organization.id, rows_of(good(sandbox)), dry_run=dry_run)
        assert (again.status, again.connection_id) == ("exists", made.id)
    assert await standing(parts, organization.id) == [made]


async def recorded(parts: Parts, org_id: str) -> list[Any]:
    """What the audit log tells of imports."""
    async with parts.db.work(org_id) as work:
        return [one.details for one in (await list_entries(work, ALL, action="connections.imported")).items]


class Jammed:
    """A clock that fails, as a bug of ours would, when it is asked for the time for the first time."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.failed = clock, False

    def now(self) -> datetime:
        if not self.failed:
            self.failed = True
            raise RuntimeError(CANARY)
        return self.clock.now()


async def test_a_row_that_fails_for_a_reason_of_ours_is_told_as_such_and_costs_no_other(
    parts: Parts, organization: Organization, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    jammed = replace(parts, clock=Jammed(parts.clock))
    rows = rows_of(good(sandbox, expires_at="2199-01-31"), {"provider": CANARY})
    first, second = await import_rows(jammed, organization.id, rows)
    assert (first.status, first.provider, second.status) == ("refused", "sandbox", "refused")
    assert first.error
    assert first.error.slug == "internal"
    assert CANARY not in first.error.message + first.error.what_to_do
    assert [one.row for one in caplog.records if "row of an import" in one.message] == [1]  # type: ignore[attr-defined]
    counts = {"connected": 0, "exists": 0, "refused": 2, "not_done": 0}
    assert await recorded(parts, organization.id) == [{"rows": 2, "dry_run": False, **counts}]


async def test_an_import_that_is_cut_off_ends_its_rows_and_records_what_was_done(
    parts: Parts, organization: Organization, sandbox: Sandbox
) -> None:
    before = asyncio.all_tasks()
    rows = rows_of({}, *(good(sandbox, name=f"n{number}") for number in range(20)))

    def cut_off(_: Imported) -> None:
        importing.cancel()

    importing = asyncio.create_task(import_rows(parts, organization.id, rows, told=cut_off))
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert asyncio.all_tasks() - {importing} <= before
    (details,) = await recorded(parts, organization.id)
    assert details["rows"] == 21
    assert details["refused"] == 1
    assert details["not_done"] >= 10
