"""What is written: who, what, in which order, and nothing that does not belong there."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr
from tests.audit.conftest import House
from tests.canaries import hatch, sightings

from tieline.access.actor import acting_as, current_actor
from tieline.errors import AuditError
from tieline.flows.audit import (
    CHECKPOINT_EVERY,
    MAX_TEXT,
    export,
    export_checkpoints,
    record,
    sign_checkpoints,
    verify,
)
from tieline.flows.parts import Parts
from tieline.log import bind
from tieline.store.audit import Entry, list_checkpoints, list_entries
from tieline.store.db import Db
from tieline.store.listing import Paging

WRITERS = 8


async def entries_of(house: House, **wanted: Any) -> list[Entry]:
    async with house.parts.db.work(house.org_id) as work:
        return (await list_entries(work, Paging(limit=5_000), **wanted)).items


async def write(house: House, *args: Any, **details: Any) -> None:
    async with house.parts.db.work(house.org_id) as work:
        await record(work, house.parts, *args, **details)


async def test_an_entry_tells_who_did_what_to_whom_in_which_request(house: House) -> None:
    with acting_as("key_1"), bind(request_id="req_1"):
        await write(house, "thing.done", "thing_1", count=3, names=["b", "a"], when=datetime(2026, 1, 31, tzinfo=UTC))
    newest, first = await entries_of(house)
    assert (newest.seq, newest.actor, newest.action, newest.target) == (2, "key_1", "thing.done", "thing_1")
    assert newest.details == {"count": 3, "names": ["b", "a"], "when": "2026-01-31T00:00:00.000000Z"}
    assert newest.request_id == "req_1"
    assert newest.prev_hash == first.hash
    assert (first.seq, first.actor, first.action, first.target) == (1, "system", "organization.created", house.org_id)


async def test_the_actor_is_the_one_of_the_block_and_of_the_tasks_that_it_starts() -> None:
    async def ask() -> str:
        return current_actor()

    assert current_actor() == "system"
    with acting_as("engine"):
        task = asyncio.create_task(ask())
        with acting_as("key_1"):
            assert current_actor() == "key_1"
        assert current_actor() == "engine"
    assert await task == "engine"
    assert current_actor() == "system"


async def test_what_is_undone_was_never_recorded_and_leaves_no_gap(house: House) -> None:
    with pytest.raises(RuntimeError, match="broken off"):  # noqa: PT012  it is the transaction that is broken off
        async with house.parts.db.work(house.org_id) as work:
            await record(work, house.parts, "thing.done")
            raise RuntimeError("broken off")
    await write(house, "other.done")
    assert [one.action for one in await entries_of(house)] == ["other.done", "organization.created"]
    assert (await verify(house.parts, house.org_id)).reason is None


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: [one], lambda one: {"deep": {"down": [one]}}], ids=["itself", "list", "deep"]
)
@pytest.mark.parametrize(
    "kind", [SecretStr, str.encode, lambda text: bytearray(text.encode()), lambda text: {text: 0.5}]
)
async def test_what_may_hold_a_secret_is_refused_and_not_repeated(
    house: House, kind: Callable[[str], Any], wrap: Callable[[Any], Any]
) -> None:
    canary = hatch("a detail")
    with pytest.raises(TypeError, match="does not belong into the audit log") as refused:
        await write(house, "thing.done", given=wrap(kind(canary.text)))
    assert sightings(str(refused.value), [canary]) == []
    assert len(await entries_of(house)) == 1


@pytest.mark.parametrize("action", ["", "done", "thing done", "Thing.done", "thing.done!", "a.b.c"])
async def test_an_action_is_a_noun_and_what_was_done(house: House, action: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        await write(house, action)


async def test_names_from_outside_are_stored_whatever_they_hold_and_stay_verifiable(house: House) -> None:
    names = ["", "nul \0", "half \ud800", "ü 漢 🗝", '"}\\', "\u2028", "x" * 10_000, "1e5"]
    await write(
        house,
        "thing.done",
        "t\0\udfff",
        names=names,
        **{"é\0": True, "big": 2**63 - 1, "small": -(2**63), "none": None},
    )
    newest = (await entries_of(house))[0]
    assert newest.target == "t\ufffd\ufffd"
    assert newest.details["names"][1:4] == ["nul \ufffd", "half \ufffd", "ü 漢 🗝"]
    assert len(newest.details["names"][6]) == MAX_TEXT
    assert (newest.details["big"], newest.details["small"], newest.details["none"]) == (2**63 - 1, -(2**63), None)
    assert (await verify(house.parts, house.org_id)).reason is None
    with pytest.raises(TypeError, match="int"):
        await write(house, "thing.done", count=2**63)


async def test_entries_are_found_by_actor_action_target_and_time(house: House) -> None:
    for number in range(6):
        with acting_as(f"key_{number % 2}"):
            await write(house, f"thing.{'made' if number < 3 else 'moved'}", f"thing_{number % 3}")
    newest = (await entries_of(house))[0]
    assert [one.seq for one in await entries_of(house, actor="key_1")] == [7, 5, 3]
    assert [one.seq for one in await entries_of(house, action="thing.moved")] == [7, 6, 5]
    assert [one.seq for one in await entries_of(house, target="thing_0")] == [5, 2]
    assert [one.seq for one in await entries_of(house, actor="key_0", action="thing.made", target="thing_2")] == [4]
    assert [one.seq for one in await entries_of(house, since=newest.at)] == [7]


async def test_pages_hold_each_entry_once_while_others_are_added(house: House) -> None:
    await house.write(9)
    seqs, cursor = [], None
    while True:
        async with house.parts.db.work(house.org_id) as work:
            page = await list_entries(work, Paging(cursor, 4))
        seqs += [one.seq for one in page.items]
        await house.write(1)
        if not (cursor := page.next):
            break
    assert seqs == list(range(10, 0, -1))


async def test_everything_is_exported_in_order(house: House) -> None:
    await house.write(20)
    rows = [row async for row in export(house.parts, house.org_id)]
    assert [row["seq"] for row in rows] == list(range(1, 22))
    assert all(row["prev_hash"] == before["hash"] for before, row in pairwise(rows))
    json.dumps(rows)


# Writers side by side


async def test_writers_side_by_side_make_one_chain(house: House, ring: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a pool of its own, as if in a process of its own. The rate is told, not judged: it is that of the machine's disk."""
    each = 40
    pools = [Db(house.url, pool_size=1) for _ in range(WRITERS)]

    async def write_some(db: Db, number: int) -> None:
        own = Parts(db, house.parts.catalog, house.parts.vault, house.parts.clock, house.parts.policy, ring)
        for turn in range(each):
            async with db.work(house.org_id) as work:
                await record(work, own, "thing.done", f"writer_{number}", turn=turn)

    begun = time.perf_counter()
    await asyncio.gather(*(write_some(db, number) for number, db in enumerate(pools)))
    took = time.perf_counter() - begun
    for db in pools:
        await db.close()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{WRITERS} writers in one chain: {WRITERS * each / took:,.0f} entries/s, a transaction each\n"
        )
    verdict = await verify(house.parts, house.org_id)
    assert (verdict.entries, verdict.reason) == (WRITERS * each + 1, None)
    for number in range(WRITERS):
        turns = [one.details["turn"] for one in await entries_of(house, target=f"writer_{number}")]
        assert turns == list(range(each))[::-1]


async def test_a_chain_can_be_verified_and_read_while_it_grows(house: House) -> None:
    stop = asyncio.Event()

    async def grow() -> None:
        while not stop.is_set():
            await house.write(1)

    growing = asyncio.create_task(grow())
    try:
        verdicts = [await verify(house.parts, house.org_id) for _ in range(30)]
    finally:
        stop.set()
        await growing
    assert {one.reason for one in verdicts} == {None}
    assert verdicts[-1].entries > verdicts[0].entries


# Checkpoints


async def test_a_checkpoint_is_signed_after_so_many_entries_in_the_transaction_of_the_last(house: House) -> None:
    async with house.parts.db.work(house.org_id) as work:
        for number in range(CHECKPOINT_EVERY - 2):
            await record(work, house.parts, "thing.done", number=number)
        assert (await list_checkpoints(work, Paging())).items == []
    with pytest.raises(RuntimeError, match="broken off"):  # noqa: PT012  it is the transaction that is broken off
        async with house.parts.db.work(house.org_id) as work:
            await record(work, house.parts, "thing.done")
            assert len((await list_checkpoints(work, Paging())).items) == 1
            raise RuntimeError("broken off")
    await house.write(3)
    verdict = await verify(house.parts, house.org_id)
    assert (verdict.entries, verdict.checkpoints, verdict.reason) == (CHECKPOINT_EVERY + 2, 1, None)
    assert [one["seq"] for one in (await export_checkpoints(house.parts, house.org_id))["checkpoints"]] == [
        CHECKPOINT_EVERY
    ]


async def test_the_hourly_signature_comes_only_where_something_was_added(lone_house: House) -> None:
    await lone_house.write(5)
    assert await sign_checkpoints(lone_house.parts) == 1
    assert await sign_checkpoints(lone_house.parts) == 0
    await lone_house.write(1)
    assert await sign_checkpoints(lone_house.parts) == 1
    rows = (await export_checkpoints(lone_house.parts, lone_house.org_id))["checkpoints"]
    assert [(one["prev_seq"], one["seq"]) for one in rows] == [(0, 6), (6, 7)]


async def test_whoever_has_the_public_key_can_check_a_checkpoint_without_us(house: House) -> None:
    await house.write(5)
    await sign_checkpoints(house.parts)
    document = json.loads(json.dumps(await export_checkpoints(house.parts, house.org_id)))
    row = document["checkpoints"][0]
    signature = b64decode(row.pop("signature"))
    stated = json.dumps(row, sort_keys=True, separators=(",", ":")).encode()
    Ed25519PublicKey.from_public_bytes(b64decode(document["public_key"])).verify(signature, stated)
    rows = [one async for one in export(house.parts, house.org_id)]
    assert row["hash"] == rows[row["seq"] - 1]["hash"]


# What cannot be recorded does not happen


@pytest.mark.parametrize("right", ["INSERT ON audit_entries", "SELECT ON audit_heads", "UPDATE ON audit_heads"])
async def test_without_the_right_to_write_the_action_does_not_happen(lone_house: House, right: str) -> None:
    await lone_house.intruder.connection.execute("CREATE TABLE things (name text)")
    await lone_house.intruder.connection.execute("GRANT ALL ON things TO tieline_app")
    await lone_house.intruder.connection.execute(f"REVOKE {right} FROM tieline_app")
    with pytest.raises(AuditError, match="cannot be written, so nothing was done") as refused:  # noqa: PT012  the transaction as a whole
        async with lone_house.parts.db.work(lone_house.org_id) as work:
            await (await work.driver()).execute("INSERT INTO things VALUES ('made')")
            await record(work, lone_house.parts, "thing.made")
    assert (refused.value.status, refused.value.slug) == (503, "audit-unavailable")
    assert await lone_house.intruder.connection.fetch("SELECT * FROM things") == []
