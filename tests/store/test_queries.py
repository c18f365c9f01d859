"""The store's queries: listings, bulk inserts, rate budgets, keys, credentials, remembered answers and column types."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from tieline.errors import Conflict, NotFound
from tieline.ids import new_id, to_uuid, uuid7
from tieline.store.api_keys import ApiKeyRow, find_api_key, list_api_keys, revoke_api_key, save_api_key
from tieline.store.budgets import Allowance, note_limit, take_permits
from tieline.store.bulk import insert_many
from tieline.store.connections import (
    Connection,
    count_by_status,
    find_by_account,
    get_connection,
    list_connections,
    save_connection,
    update_connection,
)
from tieline.store.credentials import (
    SealedCredential,
    credentials,
    destroy_credentials,
    get_credential,
    next_version,
    save_credential,
)
from tieline.store.db import Db, is_passing
from tieline.store.idempotency import ABANDONED_AFTER, KEPT_FOR, Remembered, claim_key, free_key, remember_answer
from tieline.store.listing import Paging
from tieline.store.organizations import Organization, create_organization, find_organization, list_organizations
from tieline.store.outbox import Event, add_to_outbox, list_outbox, outbox
from tieline.store.sealed import keys_in_use
from tieline.store.types import Ciphertext, UtcTime

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def connection_of(org: Organization, **changes: Any) -> Connection:
    made = Connection(
        id=new_id("conn"), org_id=org.id, provider="acme", name="Acme", auth="token", status="active", account_id=new_id("acc"),
        account_name="Acme Inc", options={"region": "eu"}, created_at=NOW, updated_at=NOW, validated_at=NOW,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
async def connection(db: Db, organization: Organization) -> Connection:
    made = connection_of(organization)
    async with db.work(organization.id) as work:
        await save_connection(work, made)
    return made


def events(org: Organization, number: int) -> list[Event]:
    """Events in the order of their ids, which those of one millisecond are not made in."""
    ids = sorted(new_id("evt") for _ in range(number))
    return [Event(one, org.id, "test", NOW, {"number": place}) for place, one in enumerate(ids)]


# Listings


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_hold_every_row_once_in_order(db: Db, organization: Organization, limit: int) -> None:
    made = events(organization, 7)
    async with db.work(organization.id) as work:
        await add_to_outbox(work, made)
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            page = await list_outbox(work, Paging(cursor, limit))
            assert 0 < len(page.items) <= limit
            seen, cursor, pages = seen + page.items, page.next, pages + 1
    assert seen == made
    assert pages == -(-7 // limit)


async def test_rows_added_meanwhile_neither_repeat_nor_hide_others(db: Db, organization: Organization) -> None:
    made = events(organization, 10)
    async with db.work(organization.id) as work:
        await add_to_outbox(work, made[1:5])
        first = await list_outbox(work, Paging(limit=2))
        await add_to_outbox(work, [made[0], *made[5:]])
        rest = await list_outbox(work, Paging(first.next, 100))
    assert [event.id for event in first.items + rest.items] == [event.id for event in made[1:]]


async def test_an_empty_listing_has_no_next(db: Db, organization: Organization) -> None:
    async with db.work(organization.id) as work:
        page = await list_outbox(work, Paging())
    assert (page.items, page.next) == ([], None)


@pytest.mark.parametrize(
    "cursor", ["x", "evt_", "conn_01k3f8x2v1abcdefghjkmnpqrs", "evt_' OR true --", "evt_" + "8" * 26]
)
async def test_a_cursor_of_another_form_is_not_found(db: Db, organization: Organization, cursor: str) -> None:
    async with db.work(organization.id) as work:
        with pytest.raises(NotFound):
            await list_outbox(work, Paging(cursor))


async def test_filters_hold_on_every_page(db: Db, organization: Organization) -> None:
    ids = sorted(new_id("conn") for _ in range(6))
    made = [connection_of(organization, id=one, provider=("acme", "other")[n % 2]) for n, one in enumerate(ids)]
    gone = connection_of(organization, status="disconnected", disconnected_at=NOW)
    async with db.work(organization.id) as work:
        for one in [*made, gone]:
            await save_connection(work, one)
        first = await list_connections(work, Paging(limit=2), provider="acme")
        second = await list_connections(work, Paging(first.next, 2), provider="acme")
        assert [one.id for one in first.items + second.items] == [one.id for one in made[::2]]
        assert second.next is None
        assert (await list_connections(work, Paging(), status="disconnected")).items == [gone]
        assert await count_by_status(work) == {"active": 6, "disconnected": 1}


# Many rows at once


ROWS = ("id", "org_id", "type", "at", "data")


def driver_rows(org: Organization, number: int) -> list[tuple[Any, ...]]:
    ids = sorted(uuid7() for _ in range(number))
    return [(one, to_uuid(org.id, "org"), f"t{place}", NOW, '{"a": "ü\\t\\\\"}') for place, one in enumerate(ids)]


async def count(work: Any, table: Table) -> int:
    return int((await work.connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_many_rows_go_in_within_the_transaction(db: Db, organization: Organization) -> None:
    async with db.work(organization.id) as work:
        await insert_many(work, outbox, ROWS, driver_rows(organization, 1_000))
        await insert_many(work, outbox, ROWS, driver_rows(organization, 5))
        await insert_many(work, outbox, ROWS, [])
        assert await count(work, outbox) == 1_005
        undone = await work.connection.begin_nested()
        await insert_many(work, outbox, ROWS, driver_rows(organization, 5))
        await undone.rollback()
    async with db.work(organization.id) as work:
        assert await count(work, outbox) == 1_005
        assert (await list_outbox(work, Paging(limit=1))).items[0].data == {"a": "ü\t\\"}


async def test_rows_of_one_organization_are_not_left_for_the_next_on_the_same_connection(
    database_url: str, organization: Organization, make_organization: Callable[[], Any]
) -> None:
    other, db = await make_organization(), Db(database_url, pool_size=1)
    for org in (organization, other):
        async with db.work(org.id) as work:
            await insert_many(work, outbox, ROWS, driver_rows(org, 3))
            assert await count(work, outbox) == 3
    await db.close()


@pytest.mark.parametrize("whole", [True, False])
async def test_many_rows_go_in_after_others_were_taken_back(
    database_url: str, organization: Organization, *, whole: bool
) -> None:
    db = Db(database_url, pool_size=1)
    with suppress(ZeroDivisionError):
        async with db.work(organization.id) as work:
            undone = work.connection.begin_nested()
            await undone.start()
            await insert_many(work, outbox, ROWS, driver_rows(organization, 30))
            await undone.rollback()
            if whole:
                raise ZeroDivisionError
    async with db.work(organization.id) as work:
        await insert_many(work, outbox, ROWS, driver_rows(organization, 30))
        assert await count(work, outbox) == 30
    await db.close()


@pytest.mark.parametrize("whole", [True, False])
async def test_many_rows_go_in_after_others_were_taken_back_where_some_had_gone_in_before(
    database_url: str, organization: Organization, *, whole: bool
) -> None:
    db = Db(database_url, pool_size=1)
    async with db.work(organization.id) as work:
        await insert_many(work, outbox, ROWS, driver_rows(organization, 30))
    with suppress(ZeroDivisionError):
        async with db.work(organization.id) as work:
            if whole:
                raise ZeroDivisionError
            await insert_many(work, outbox, ROWS, driver_rows(organization, 30))
            undone = await work.connection.begin_nested()
            await insert_many(work, outbox, ROWS, driver_rows(organization, 40))
            await undone.rollback()
            await insert_many(work, outbox, ROWS, driver_rows(organization, 50))
    async with db.work(organization.id) as work:
        await insert_many(work, outbox, ROWS, driver_rows(organization, 60))
        assert await count(work, outbox) == 30 + (0 if whole else 80) + 60
    await db.close()


async def test_a_connection_that_the_server_has_closed_is_replaced_before_it_is_used(
    database_url: str, organization: Organization
) -> None:
    db, owner, pids = Db(database_url, pool_size=1), await asyncpg.connect(database_url), []
    for _ in range(2):
        async with db.work(organization.id) as work:
            pids.append((await work.connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            driver = await work.driver()
        await owner.execute("SELECT pg_terminate_backend($1, 5000)", pids[-1])
        while not driver.is_closed():
            await asyncio.sleep(0.01)
    assert pids[0] != pids[1]
    await owner.close()
    await db.close()


async def test_a_connection_between_the_server_s_last_words_and_its_end_fails_in_a_way_that_passes(
    database_url: str, organization: Organization
) -> None:
    db, last_words = Db(database_url, pool_size=1), b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
    async with db.work(organization.id) as work:
        driver = await work.driver()
    driver._protocol.data_received(b"E" + (len(last_words) + 4).to_bytes(4, "big") + last_words)  # type: ignore[attr-defined]
    with pytest.raises(DBAPIError) as raised:
        async with db.work(organization.id):
            pass
    assert is_passing(raised.value)
    await db.close()


async def test_whoever_is_cancelled_in_the_middle_of_a_statement_ends_as_cancelled(
    db: Db, organization: Organization
) -> None:
    async def wait() -> None:
        async with db.work(organization.id) as work:
            await work.connection.execute(text("SELECT pg_sleep(60)"))

    for _ in range(3):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_whoever_is_cancelled_when_the_server_is_gone_ends_as_cancelled_too(
    db: Db, organization: Organization
) -> None:
    gone = asyncio.Event()

    async def wait() -> None:
        async with db.work(organization.id) as work:
            (await work.driver()).add_termination_listener(lambda _: gone.set())
            (await work.driver()).terminate()
            await asyncio.sleep(60)

    waiting = asyncio.create_task(wait())
    await gone.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_many_rows_for_another_organization_are_refused(
    db: Db, organization: Organization, make_organization: Callable[[], Any]
) -> None:
    other = await make_organization()
    with pytest.raises(Exception, match="row-level security"):
        async with db.work(organization.id) as work:
            await insert_many(work, outbox, ROWS, driver_rows(other, 3))


async def test_what_is_there_already_is_left_or_overwritten_as_asked(db: Db, organization: Organization) -> None:
    rows = driver_rows(organization, 2)
    newer = [(*row[:2], "new", *row[3:]) for row in rows]
    async with db.work(organization.id) as work:
        await insert_many(work, outbox, ROWS, rows)
        await insert_many(work, outbox, ROWS, newer, on_conflict="ON CONFLICT (id) DO NOTHING")
        assert [event.type for event in (await list_outbox(work, Paging())).items] == ["t0", "t1"]


@pytest.mark.parametrize("number", [3, 30])
async def test_what_is_the_same_in_all_rows_is_given_once(db: Db, organization: Organization, number: int) -> None:
    own, told = ("id", "data"), '{"a": 1}'
    rows = [(one, told) for one in sorted(uuid7() for _ in range(number))]
    same = {"org_id": to_uuid(organization.id, "org"), "type": "alike", "at": NOW}
    async with db.work(organization.id) as work:
        await insert_many(work, outbox, own, rows, same=same)
        found = (await list_outbox(work, Paging())).items
        assert [to_uuid(one.id, "evt") for one in found] == [one for one, _ in rows]
        assert {(one.org_id, one.type, one.at) for one in found} == {(organization.id, "alike", NOW)}
        more = [*rows[:2], (uuid7(), told)]
        await insert_many(work, outbox, own, more, same=same | {"type": "new"}, on_conflict="ON CONFLICT DO NOTHING")
        assert [one.type for one in (await list_outbox(work, Paging())).items] == ["alike"] * number + ["new"]


# Rate budgets


async def take(db: Db, connection: Connection, wanted: int, now: datetime = NOW) -> Allowance:
    async with db.work(connection.org_id) as work:
        return await take_permits(work, connection.id, wanted=wanted, now=now)


async def note(db: Db, connection: Connection, **told: Any) -> None:
    given = {"remaining": None, "reset_at": None, "blocked_until": None} | told
    async with db.work(connection.org_id) as work:
        await note_limit(work, connection.id, **given)


SOON = NOW + timedelta(minutes=1)


async def test_while_no_limit_is_known_every_permit_is_given(db: Db, connection: Connection) -> None:
    assert await take(db, connection, 20) == Allowance(20)


async def test_permits_run_out_until_the_window_ends(db: Db, connection: Connection) -> None:
    await note(db, connection, remaining=25, reset_at=SOON)
    assert [await take(db, connection, 20) for _ in range(3)] == [Allowance(20), Allowance(5), Allowance(0, SOON)]
    assert await take(db, connection, 20, SOON) == Allowance(20)


async def test_many_takers_never_take_more_than_there_is(db: Db, connection: Connection) -> None:
    await note(db, connection, remaining=50, reset_at=SOON)
    taken = await asyncio.gather(*(take(db, connection, 7) for _ in range(12)))
    assert sum(one.permits for one in taken) == 50
    assert all(one.permits or one.blocked_until == SOON for one in taken)


async def test_within_a_window_the_count_only_falls(db: Db, connection: Connection) -> None:
    for remaining in (30, 10, 20):
        await note(db, connection, remaining=remaining, reset_at=SOON)
    assert (await take(db, connection, 100)).permits == 10


async def test_an_answer_of_an_earlier_window_changes_nothing_upward(db: Db, connection: Connection) -> None:
    await note(db, connection, remaining=5, reset_at=SOON)
    await note(db, connection, remaining=90, reset_at=NOW - timedelta(minutes=1))
    assert (await take(db, connection, 100)).permits == 5


async def test_a_new_window_begins_with_its_own_count(db: Db, connection: Connection) -> None:
    await note(db, connection, remaining=0, reset_at=SOON)
    await note(db, connection, remaining=90, reset_at=SOON + timedelta(hours=1))
    assert (await take(db, connection, 100)).permits == 90


async def test_being_told_to_wait_holds_all_until_then(db: Db, connection: Connection) -> None:
    await note(db, connection, blocked_until=SOON)
    await note(db, connection, remaining=90, reset_at=SOON)
    assert await take(db, connection, 20) == Allowance(0, SOON)
    assert (await take(db, connection, 20, SOON + timedelta(seconds=1))).permits == 20


async def test_a_shorter_wait_does_not_shorten_a_longer_one(db: Db, connection: Connection) -> None:
    await note(db, connection, blocked_until=SOON)
    await note(db, connection, blocked_until=NOW)
    assert await take(db, connection, 1) == Allowance(0, SOON)


# API keys


def key_of(org: Organization, **changes: Any) -> ApiKeyRow:
    made = ApiKeyRow(new_id("key"), org.id, "CI", "member", new_id("x")[-12:], b"hash", NOW, None)
    return replace(made, **changes)


async def find(db: Db, prefix: str, now: datetime = NOW) -> ApiKeyRow | None:
    async with db.system() as work:
        return await find_api_key(work, prefix, now=now)


async def test_a_key_is_found_by_its_prefix_in_whichever_organization(db: Db, organization: Organization) -> None:
    row = key_of(organization)
    async with db.work(organization.id) as work:
        await save_api_key(work, row)
        assert (await list_api_keys(work, Paging())).items == [row]
    assert await find(db, row.prefix) == row
    assert await find(db, "nothing") is None


async def test_its_last_use_is_noted_at_most_once_a_minute(db: Db, organization: Organization) -> None:
    row = key_of(organization)
    async with db.work(organization.id) as work:
        await save_api_key(work, row)
    noted = []
    for seconds in (0, 30, 61, 100):
        await find(db, row.prefix, NOW + timedelta(seconds=seconds))
        async with db.work(organization.id) as work:
            noted.append((await list_api_keys(work, Paging())).items[0].last_used_at)
    assert noted == [NOW, NOW, NOW + timedelta(seconds=61), NOW + timedelta(seconds=61)]


async def test_a_key_ends_at_its_expiry_and_when_it_is_revoked(db: Db, organization: Organization) -> None:
    short, revoked = key_of(organization, expires_at=SOON), key_of(organization)
    async with db.work(organization.id) as work:
        await save_api_key(work, short)
        await save_api_key(work, revoked)
        first = await revoke_api_key(work, revoked.id, now=NOW)
        again = await revoke_api_key(work, revoked.id, now=SOON)
    assert (first.revoked_at, again.revoked_at) == (NOW, NOW)
    assert await find(db, revoked.prefix) is None
    assert await find(db, short.prefix) is not None
    assert await find(db, short.prefix, SOON) is None


async def test_another_organizations_key_cannot_be_revoked(
    db: Db, organization: Organization, make_organization: Callable[[], Any]
) -> None:
    row, other = key_of(organization), await make_organization()
    async with db.work(organization.id) as work:
        await save_api_key(work, row)
    for key_id in (row.id, new_id("key"), "key_x", ""):
        with pytest.raises(NotFound):
            async with db.work(other.id) as work:
                await revoke_api_key(work, key_id, now=NOW)
    assert await find(db, row.prefix) is not None


# Credentials


def credential_of(connection: Connection, version: int, **changes: Any) -> SealedCredential:
    made = SealedCredential(
        id=new_id("cred"), org_id=connection.org_id, connection_id=connection.id, slot="default", version=version,
        sealed=Ciphertext(b"sealed %d" % version), key_id=f"kek_{version}", fingerprint="0a1b2c3d", created_at=NOW,
    )  # fmt: skip
    return replace(made, **changes)


async def test_the_newest_version_is_in_force_and_only_the_one_before_it_is_kept(
    db: Db, connection: Connection
) -> None:
    async with db.work(connection.org_id) as work:
        for expected in (1, 2, 3):
            assert await next_version(work, connection.id, "default") == expected
            await save_credential(work, credential_of(connection, expected))
            found = await get_credential(work, connection.id, "default")
            assert found is not None
            assert (found.version, found.sealed.sealed) == (expected, b"sealed %d" % expected)
        kept = await work.connection.execute(
            select(credentials.c.version).where(credentials.c.retired_at.is_not(None)).order_by(credentials.c.version)
        )
        assert list(kept.scalars()) == [2]


async def test_slots_have_versions_of_their_own(db: Db, connection: Connection) -> None:
    async with db.work(connection.org_id) as work:
        await save_credential(work, credential_of(connection, 1))
        await save_credential(work, credential_of(connection, 1, slot="hook"))
        default = await get_credential(work, connection.id, "default")
        hook = await get_credential(work, connection.id, "hook")
        assert default
        assert hook
        assert default.id != hook.id
        assert await next_version(work, connection.id, "hook") == 2


async def test_one_version_cannot_be_written_twice(db: Db, connection: Connection) -> None:
    async with db.work(connection.org_id) as work:
        await save_credential(work, credential_of(connection, 1))
        with pytest.raises(IntegrityError, match="credentials_connection_id_slot_version_key"):
            await save_credential(work, credential_of(connection, 1))


async def test_destroyed_credentials_are_gone_in_every_version_and_slot(db: Db, connection: Connection) -> None:
    async with db.work(connection.org_id) as work:
        for version, slot in ((1, "default"), (2, "default"), (1, "hook")):
            await save_credential(work, credential_of(connection, version, slot=slot))
        assert await destroy_credentials(work, connection.id) == 3
        assert await get_credential(work, connection.id, "default") is None
        assert await destroy_credentials(work, connection.id) == 0


async def test_the_keys_that_credentials_need_are_known_over_all_organizations(
    db: Db, connection: Connection, make_organization: Callable[[], Any]
) -> None:
    other = connection_of(await make_organization())
    for one, key in ((connection, new_id("kek")), (other, new_id("kek"))):
        async with db.work(one.org_id) as work:
            if one is other:
                await save_connection(work, one)
            await save_credential(work, credential_of(one, 1, key_id=key))
        async with db.system() as system:
            assert key in await keys_in_use(system)


# Connections


async def test_a_second_live_connection_to_an_account_is_a_conflict_that_leaves_the_transaction_usable(
    db: Db, connection: Connection, organization: Organization
) -> None:
    twin = connection_of(organization, account_id=connection.account_id)
    async with db.work(organization.id) as work:
        with pytest.raises(Conflict):
            await save_connection(work, twin)
        assert await find_by_account(work, "acme", connection.account_id) == connection
        gone = {"status": "disconnected", "disconnected_at": NOW}
        await update_connection(work, connection.id, now=SOON, **gone)
        await save_connection(work, twin)
        assert await find_by_account(work, "acme", connection.account_id) == twin
        assert (await get_connection(work, connection.id, lock=True)).updated_at == SOON


async def test_another_organizations_connection_is_not_found_in_the_same_words_as_an_absent_one(
    db: Db, connection: Connection, make_organization: Callable[[], Any]
) -> None:
    told = []
    for wanted in (connection.id, new_id("conn")):
        with pytest.raises(NotFound) as missing:
            async with db.work((await make_organization()).id) as work:
                await get_connection(work, wanted)
        told.append(missing.value.message.replace(wanted, "…"))
    assert told[0] == told[1]


# Organizations


async def test_an_organization_is_found_by_slug_and_by_id(db: Db, organization: Organization) -> None:
    async with db.system() as work:
        assert await find_organization(work, organization.slug) == organization
        assert await find_organization(work, organization.id) == organization
        assert organization in await list_organizations(work)
        for unknown in ("nobody", new_id("org"), "org_x", "' OR true --"):
            with pytest.raises(NotFound):
                await find_organization(work, unknown)
    with pytest.raises(Conflict):
        async with db.system() as work:
            await create_organization(work, slug=organization.slug, name="Again", now=NOW)


# Remembered answers


async def claim(db: Db, org: Organization, key: str, body: bytes = b"a", now: datetime = NOW) -> Remembered | None:
    async with db.work(org.id) as work:
        return await claim_key(work, key, body, now=now)


async def test_the_first_request_takes_the_key_and_the_next_is_given_its_answer(
    db: Db, organization: Organization
) -> None:
    assert await claim(db, organization, "k") is None
    assert await claim(db, organization, "k", b"b") == Remembered(b"a", None, None)
    async with db.work(organization.id) as work:
        await remember_answer(work, "k", status=201, body=b"{}")
    assert await claim(db, organization, "k") == Remembered(b"a", 201, b"{}")


async def test_of_many_requests_at_once_one_takes_the_key(db: Db, organization: Organization) -> None:
    found = await asyncio.gather(*(claim(db, organization, "k") for _ in range(10)))
    assert found.count(None) == 1


async def test_a_key_of_one_organization_is_free_in_another(
    db: Db, organization: Organization, make_organization: Callable[[], Any]
) -> None:
    other = await make_organization()
    assert [await claim(db, org, "k") for org in (organization, other)] == [None, None]


async def test_a_key_is_free_again_when_freed(db: Db, organization: Organization) -> None:
    assert await claim(db, organization, "k") is None
    async with db.work(organization.id) as work:
        await free_key(work, "k")
    assert await claim(db, organization, "k") is None


async def test_an_answer_is_kept_for_a_day_and_a_request_without_one_only_as_long_as_it_may_be_at_work(
    db: Db, organization: Organization
) -> None:
    instant = timedelta(seconds=1)
    for key, answered, kept in (("a", True, KEPT_FOR), ("b", False, ABANDONED_AFTER)):
        assert await claim(db, organization, key) is None
        if answered:
            async with db.work(organization.id) as work:
                await remember_answer(work, key, status=200, body=b"{}")
        assert await claim(db, organization, key, now=NOW + kept) is not None
        assert await claim(db, organization, key, now=NOW + kept + instant) is None


# Column types


async def test_a_sealed_column_gives_what_no_repr_log_or_pickle_can_show(db: Db, connection: Connection) -> None:
    async with db.work(connection.org_id) as work:
        await save_credential(work, credential_of(connection, 1))
        row = (await work.connection.execute(select(credentials))).one()
        found = await get_credential(work, connection.id, "default")
    assert isinstance(row.sealed, Ciphertext)
    for shown in (repr(row), str(row), repr(found), f"{row.sealed}", repr(vars(found)), repr(dict(row._mapping))):
        assert "sealed 1" not in shown
        assert "***" in shown
    for act in (pickle.dumps, copy.deepcopy, bytes, lambda value: value + b""):
        with pytest.raises(TypeError):
            act(row.sealed)


@pytest.mark.parametrize("value", [b"plain", "plain", bytearray(b"plain"), 5])
async def test_a_sealed_column_takes_nothing_but_ciphertext(db: Db, connection: Connection, value: Any) -> None:
    row = vars(credential_of(connection, 1)) | {"sealed": value}
    with pytest.raises(StatementError, match="only a Ciphertext may be stored here") as refused:
        async with db.work(connection.org_id) as work:
            await work.connection.execute(insert(credentials).values(**row))
    assert "plain" not in str(refused.value)


@pytest.mark.parametrize("value", ["", "conn_", "run_01k3f8x2v1abcdefghjkmnpqrs", "conn_" + "0" * 25, "conn_" + "u" * 26, "conn_' OR true --", "ü" * 999])  # fmt: skip
async def test_an_id_of_another_form_is_one_that_nothing_has(db: Db, organization: Organization, value: str) -> None:
    async with db.work(organization.id) as work:
        with pytest.raises(NotFound) as missing:
            await get_connection(work, value)
    assert len(missing.value.message) < 150


async def test_times_are_kept_in_utc_and_must_have_a_zone(db: Db, organization: Organization) -> None:
    east = datetime(2026, 11, 20, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with db.work(organization.id) as work:
        await add_to_outbox(work, [Event(new_id("evt"), organization.id, "test", east, {})])
        (found,) = (await list_outbox(work, Paging())).items
        zone = (await work.connection.execute(text("SHOW timezone"))).scalar_one()
    assert (found.at, found.at.tzinfo, zone) == (east, UTC, "UTC")
    with pytest.raises(ValueError, match="a time without a zone"):
        UtcTime().process_bind_param(datetime(2026, 1, 1), None)  # type: ignore[arg-type]  # noqa: DTZ001


async def test_json_comes_back_as_it_went_in(db: Db, organization: Organization) -> None:
    data = {"whole": 2**53 + 1, "part": 0.1, "text": "ü \u2028 🙂", "none": None, "list": [True, []], "": {}}
    async with db.work(organization.id) as work:
        await add_to_outbox(work, [Event(new_id("evt"), organization.id, "test", NOW, data)])
        (found,) = (await list_outbox(work, Paging())).items
    assert found.data == data
    assert type(found.data["whole"]) is int


async def test_a_failed_statement_tells_no_values(db: Db, organization: Organization) -> None:
    row = {"id": new_id("evt"), "org_id": organization.id, "type": None, "at": NOW, "data": {"password": "hunter2"}}
    async with db.work(organization.id) as work:
        with pytest.raises(DBAPIError, match="not-null") as failed:
            await work.connection.execute(insert(outbox).values(**row))
    assert "[SQL parameters hidden" in str(failed.value)
