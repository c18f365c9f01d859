"""Whatever somebody does to the log without its keys is found, and the first entry that cannot be relied on is named."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest
from tests.audit.conftest import House, Intruder

from tieline.flows.audit import export_checkpoints, prune, read_checkpoints, record, sign_checkpoints, verify
from tieline.flows.organizations import create_organization
from tieline.stages.attest import canonical

TABLES = ("audit_entries", "audit_heads", "audit_checkpoints")
LENGTH = 45
MARKS = [10, 20, 30, 40]
ROUNDS, EACH = 10, 50

Tamper = Callable[[Intruder, Random], Awaitable[int]]
"""Does something to the log; the first entry that cannot be relied on any more."""


async def edit_an_entry(intruder: Intruder, random: Random) -> int:
    seq = random.randint(1, LENGTH)
    text = secrets.token_hex(random.randint(1, 8))
    changes: dict[str, Any] = {
        "actor = $3": text,
        "action = $3": text,
        "target = $3": text,
        "request_id = $3": text,
        "details = $3::jsonb": random.choice(['{"number": 99999}', "[]", '{"number": 1e400}', "null", '"' + text + '"', "[" * 2_000 + "]" * 2_000]),
        "details = details || $3::jsonb": '{"more": true}',
        "at = at + $3::interval": timedelta(microseconds=random.choice([-1, 1]) * random.randint(1, 10**12)),
        "at = $3::text::timestamptz": random.choice(["infinity", "-infinity", "2026-01-01 BC", "200000-01-01", "0001-01-01"]),
        "prev_hash = $3": secrets.token_bytes(random.choice([0, 31, 32])),
        "hash = $3": secrets.token_bytes(random.choice([0, 31, 32])),
    }  # fmt: skip
    change = random.choice(sorted(changes))
    await intruder.run(f"UPDATE audit_entries SET {change} WHERE org_id = $1 AND seq = $2", seq, changes[change])
    return seq


async def exchange_a_value(intruder: Intruder, random: Random) -> int:
    """Nothing new: what another entry holds, or the other way round."""
    one, other = sorted(random.sample(range(1, LENGTH + 1), 2))
    column = random.choice(["at", "target", "details", "hash", "prev_hash"])
    value = f"(SELECT {column} FROM audit_entries WHERE org_id = $1 AND seq = $3)"
    await intruder.run(f"UPDATE audit_entries SET {column} = {value} WHERE org_id = $1 AND seq = $2", one, other)
    return one


async def renumber_an_entry(intruder: Intruder, random: Random) -> int:
    seq, to = random.randint(1, LENGTH), random.choice([-(2**63), -1, 0, LENGTH + 1, LENGTH + 9, 2**63 - 1])
    await intruder.run("UPDATE audit_entries SET seq = $3 WHERE org_id = $1 AND seq = $2", seq, to)
    return min(seq, to)


async def delete_entries(intruder: Intruder, random: Random) -> int:
    seqs = random.sample(range(1, LENGTH + 1), random.randint(1, 5))
    await intruder.run("DELETE FROM audit_entries WHERE org_id = $1 AND seq = ANY($2)", seqs)
    return min(seqs)


async def give_entries_away(intruder: Intruder, random: Random) -> int:
    seq = random.randint(2, LENGTH)
    other = "(SELECT id FROM organizations WHERE slug = 'other')"
    await intruder.run(f"UPDATE audit_entries SET org_id = {other} WHERE org_id = $1 AND seq = $2", seq)
    return seq


async def put_one_in(intruder: Intruder, random: Random) -> int:
    """Make room, and copy an entry or invent one into it."""
    seq: int = random.choice([-5, 0, *range(1, LENGTH + 2), LENGTH + 7])
    if 0 < seq <= LENGTH:
        await _shift(intruder, seq, 1)
    digest = random.choice(["hash", "sha256('x')"])
    await intruder.run(
        f"""INSERT INTO audit_entries (org_id, seq, at, actor, action, target, details, prev_hash, hash)
            SELECT org_id, $2, at, actor, 'thing.invented', target, details, prev_hash, {digest} FROM audit_entries
             WHERE org_id = $1 AND seq = (SELECT max(seq) FROM audit_entries WHERE org_id = $1 AND seq <> $2)""",
        seq,
    )
    return seq


async def take_one_out_and_close_the_gap(intruder: Intruder, random: Random) -> int:
    seq = random.randint(1, LENGTH)
    await intruder.run("DELETE FROM audit_entries WHERE org_id = $1 AND seq = $2", seq)
    await _shift(intruder, seq, -1)
    return seq


async def swap_two(intruder: Intruder, random: Random) -> int:
    one, other = sorted(random.sample(range(1, LENGTH + 1), 2))
    await _move(intruder, {one: other, other: one})
    return one


async def shuffle_some(intruder: Intruder, random: Random) -> int:
    begin = random.randint(1, LENGTH - 2)
    await _move(intruder, {begin: begin + 1, begin + 1: begin + 2, begin + 2: begin})
    return begin


async def cut_the_tail(intruder: Intruder, random: Random) -> int:
    seq = random.randint(1, LENGTH)
    await intruder.run("DELETE FROM audit_entries WHERE org_id = $1 AND seq >= $2", seq)
    return seq


async def cut_the_tail_and_forge_the_end(intruder: Intruder, random: Random) -> int:
    """As well as one can without the key: head and checkpoints agree with what is left."""
    seq = await cut_the_tail(intruder, random)
    last = await intruder.ask("SELECT seq, hash FROM audit_entries WHERE org_id = $1 ORDER BY seq DESC LIMIT 1")
    hash_ = last[0]["hash"] if last else bytes(32)
    marked = max([mark for mark in MARKS if mark < seq], default=0)
    await intruder.run(
        "UPDATE audit_heads SET seq = $2, hash = $3, checkpoint_seq = $4, seal = $5 WHERE org_id = $1",
        seq - 1, hash_, marked, secrets.token_bytes(32),
    )  # fmt: skip
    if random.random() < 0.7:
        await intruder.run("DELETE FROM audit_checkpoints WHERE org_id = $1 AND seq >= $2", seq)
    return seq


async def edit_the_head(intruder: Intruder, random: Random) -> int:
    column = random.choice(["seq", "hash", "checkpoint_seq", "pruned_to", "seal", None])
    if column is None:
        await intruder.run("DELETE FROM audit_heads WHERE org_id = $1")
    elif column in {"hash", "seal"}:
        await intruder.run(f"UPDATE audit_heads SET {column} = $2 WHERE org_id = $1", secrets.token_bytes(32))
    else:
        await intruder.run(
            f"UPDATE audit_heads SET {column} = {column} + $2 WHERE org_id = $1", random.choice([-30, -1, 1, 40])
        )
    return LENGTH + 1


async def put_an_old_head_back(intruder: Intruder, random: Random) -> int:
    """It was written by us once, so its seal is good."""
    old = await intruder.ask("SELECT * FROM old_heads WHERE org_id = $1 ORDER BY seq")
    row = random.choice(old)
    await intruder.run(
        "UPDATE audit_heads SET seq = $2, hash = $3, checkpoint_seq = $4, pruned_to = $5, seal = $6 WHERE org_id = $1",
        row["seq"], row["hash"], row["checkpoint_seq"], row["pruned_to"], row["seal"],
    )  # fmt: skip
    return int(row["seq"]) + 1


async def put_an_old_head_back_and_cut(intruder: Intruder, random: Random) -> int:
    """A checkpoint from after that time is left."""
    seq = await put_an_old_head_back(intruder, random)
    await intruder.run("DELETE FROM audit_entries WHERE org_id = $1 AND seq >= $2", seq)
    return seq


async def edit_a_checkpoint(intruder: Intruder, random: Random) -> int:
    seq = random.choice(MARKS)
    column = random.choice(["seq", "prev_seq", "hash", "signed_at", "signature", "org_id", None])
    where = "WHERE org_id = $1 AND seq = $2"
    if column is None:
        await intruder.run(f"DELETE FROM audit_checkpoints {where}", seq)
    elif column == "org_id":
        other = "(SELECT id FROM organizations WHERE slug = 'other')"
        await intruder.run(f"UPDATE audit_checkpoints SET org_id = {other} {where}", seq)
    elif column == "signed_at":
        await intruder.run(
            f"UPDATE audit_checkpoints SET signed_at = $3::text::timestamptz {where}",
            seq,
            random.choice(["infinity", "2020-01-01", "2026-01-01 BC"]),
        )
    elif column in {"hash", "signature"}:
        await intruder.run(
            f"UPDATE audit_checkpoints SET {column} = $3 {where}", seq, secrets.token_bytes(random.choice([0, 32, 64]))
        )
    else:
        to = random.choice([value for value in range(1, LENGTH) if value not in {*MARKS, seq - 10}])
        await intruder.run(f"UPDATE audit_checkpoints SET {column} = $3 {where}", seq, to)
        return min(seq, to) if column == "seq" else seq
    return seq


async def chain_anew(intruder: Intruder, random: Random) -> int:
    """Change an entry and make all hashes from there on agree, under a key of one's own."""
    seq, key = random.randint(1, LENGTH), secrets.token_bytes(32)
    rows = await intruder.ask("SELECT * FROM audit_entries WHERE org_id = $1 AND seq >= $2 ORDER BY seq", seq)
    before = rows[0]["prev_hash"]
    for row in rows:
        actor = "key_innocent" if row["seq"] == seq else row["actor"]
        content = {
            "org_id": intruder.org_id, "seq": row["seq"], "at": row["at"].astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "actor": actor, "action": row["action"], "target": row["target"], "details": row["details"], "request_id": None,
            "prev_hash": before.hex(),
        }  # fmt: skip
        hash_ = hmac.digest(key, canonical(content), "sha256")
        change = "UPDATE audit_entries SET actor = $3, prev_hash = $4, hash = $5 WHERE org_id = $1 AND seq = $2"
        await intruder.run(change, row["seq"], actor, before, hash_)
        before = hash_
    await intruder.run("UPDATE audit_heads SET hash = $2, seal = $3 WHERE org_id = $1", before, secrets.token_bytes(32))
    return seq


TAMPERINGS: list[Tamper] = [
    edit_an_entry, edit_an_entry, edit_an_entry, exchange_a_value, renumber_an_entry, delete_entries, give_entries_away, put_one_in,
    take_one_out_and_close_the_gap, swap_two, shuffle_some, cut_the_tail, cut_the_tail_and_forge_the_end, edit_the_head,
    put_an_old_head_back, put_an_old_head_back_and_cut, edit_a_checkpoint, edit_a_checkpoint, chain_anew,
]  # fmt: skip


async def _shift(intruder: Intruder, begin: int, by: int) -> None:
    """Renumber all entries from one on."""
    await intruder.run("UPDATE audit_entries SET seq = seq + 100000 WHERE org_id = $1 AND seq >= $2", begin)
    await intruder.run("UPDATE audit_entries SET seq = seq - 100000 + $2 WHERE org_id = $1 AND seq > 50000", by)


async def _move(intruder: Intruder, places: dict[int, int]) -> None:
    for seq, to in places.items():
        await intruder.run("UPDATE audit_entries SET seq = $3 WHERE org_id = $1 AND seq = $2", seq, to + 100_000)
    await intruder.run("UPDATE audit_entries SET seq = seq - 100000 WHERE org_id = $1 AND seq > 50000")


@pytest.fixture
async def chain(lone_house: House) -> House:
    """45 entries with checkpoints at 10, 20, 30 and 40, copies of all of it, and of the head as it was at 5, 15, 25, 35."""
    await create_organization(lone_house.parts, slug="other", name="Other")
    await lone_house.intruder.connection.execute("CREATE TABLE old_heads AS SELECT * FROM audit_heads WITH NO DATA")
    await lone_house.write(4)  # the first entry tells that the organization was made
    for _ in MARKS:
        await lone_house.intruder.run("INSERT INTO old_heads SELECT * FROM audit_heads WHERE org_id = $1")
        await lone_house.write(5)
        await sign_checkpoints(lone_house.parts)
        await lone_house.write(5)
    for table in TABLES:
        await lone_house.intruder.connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    return lone_house


async def restore(intruder: Intruder) -> None:
    for table in TABLES:
        await intruder.connection.execute(f"DELETE FROM {table}")
        await intruder.connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_each_tampering_is_found_and_the_first_bad_entry_named(chain: House, seed: int) -> None:
    random = Random(seed)
    for number in range(EACH):
        tamper = TAMPERINGS[(seed * EACH + number) % len(TAMPERINGS)]
        first_bad = await tamper(chain.intruder, random)
        verdict = await verify(chain.parts, chain.org_id)
        assert (verdict.first_bad_seq, tamper.__name__, number) == (first_bad, tamper.__name__, number), verdict
        assert verdict.reason
        await restore(chain.intruder)
    assert (await verify(chain.parts, chain.org_id)).reason is None


async def test_a_chain_that_nobody_touched_is_whole(chain: House) -> None:
    verdict = await verify(chain.parts, chain.org_id)
    assert (verdict.entries, verdict.checkpoints, verdict.first_bad_seq, verdict.reason) == (
        LENGTH,
        len(MARKS),
        None,
        None,
    )


async def test_a_database_set_back_as_a_whole_shows_in_an_exported_checkpoint_alone(chain: House) -> None:
    """Head, entries and checkpoints as they were together at 25: all of it was written by us."""
    exported = read_checkpoints(await export_checkpoints(chain.parts, chain.org_id))
    await chain.intruder.run("DELETE FROM audit_heads WHERE org_id = $1")
    await chain.intruder.run("INSERT INTO audit_heads SELECT * FROM old_heads WHERE org_id = $1 AND seq = 25")
    await chain.intruder.run("DELETE FROM audit_entries WHERE org_id = $1 AND seq > 25")
    await chain.intruder.run("DELETE FROM audit_checkpoints WHERE org_id = $1 AND seq > 25")
    assert (await verify(chain.parts, chain.org_id)).reason is None
    assert (await verify(chain.parts, chain.org_id, checkpoints=exported)).first_bad_seq == 26
    await chain.write(30)  # it goes on, past where the checkpoint was
    assert (await verify(chain.parts, chain.org_id)).reason is None
    assert (await verify(chain.parts, chain.org_id, checkpoints=exported)).first_bad_seq == 30


async def test_a_checkpoint_that_was_exported_and_then_changed_is_refused(chain: House) -> None:
    document = await export_checkpoints(chain.parts, chain.org_id)
    document["checkpoints"][2]["hash"] = "00" * 32
    verdict = await verify(chain.parts, chain.org_id, checkpoints=read_checkpoints(document))
    assert (verdict.first_bad_seq, verdict.reason) == (30, "The exported checkpoint is not signed by this installation")


async def test_a_chain_whose_end_was_altered_is_not_gone_on_with(chain: House) -> None:
    """Else the next entry would put its seal on what somebody has forged."""
    await cut_the_tail_and_forge_the_end(chain.intruder, Random(1))
    with pytest.raises(Exception, match="The end of the audit log was altered") as refused:
        await chain.write(1)
    assert getattr(refused.value, "status", None) == 503
    await create_organization(chain.parts, slug="third", name="Third")
    assert await sign_checkpoints(chain.parts) == 1, "the other organization's chain is signed all the same"


async def test_a_chain_whose_head_is_gone_is_not_begun_anew(chain: House) -> None:
    await chain.intruder.run("DELETE FROM audit_heads WHERE org_id = $1")
    with pytest.raises(Exception, match="The audit log cannot be written"):
        await chain.write(1)
    assert (await verify(chain.parts, chain.org_id)).first_bad_seq == LENGTH + 1


async def test_an_organization_without_any_chain_is_not_whole(chain: House) -> None:
    for table in TABLES:
        await chain.intruder.run(f"DELETE FROM {table} WHERE org_id = $1")
    assert (await verify(chain.parts, chain.org_id)).first_bad_seq == 1


# Retention


async def test_old_entries_can_be_taken_away_and_the_rest_stays_verifiable(chain: House) -> None:
    exported = read_checkpoints(await export_checkpoints(chain.parts, chain.org_id))
    assert await prune(chain.parts, chain.org_id, before=exported[1].signed_at + timedelta(microseconds=1)) == 20
    verdict = await verify(chain.parts, chain.org_id, checkpoints=exported)
    assert (verdict.entries, verdict.checkpoints, verdict.reason) == (LENGTH + 1 - 20, len(MARKS), None)
    assert await prune(chain.parts, chain.org_id, before=datetime.now(UTC)) == 20
    assert (await verify(chain.parts, chain.org_id, checkpoints=exported)).reason is None
    with pytest.raises(Exception, match="There is nothing to take away"):
        await prune(chain.parts, chain.org_id, before=datetime.now(UTC))


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("DELETE FROM audit_entries WHERE org_id = $1 AND seq <= 30", 21),
        ("UPDATE audit_entries SET actor = 'x' WHERE org_id = $1 AND seq = 21", 21),
        ("DELETE FROM audit_checkpoints WHERE org_id = $1 AND seq = 20", 20),
        ("INSERT INTO audit_entries SELECT * FROM kept_audit_entries WHERE org_id = $1 AND seq = 7", 7),
        ("UPDATE audit_heads SET pruned_to = 0 WHERE org_id = $1", 1),
    ],
)
async def test_what_is_done_to_a_pruned_chain_is_found(chain: House, statement: str, first_bad: int) -> None:
    marks = read_checkpoints(await export_checkpoints(chain.parts, chain.org_id))
    await prune(chain.parts, chain.org_id, before=marks[2].signed_at)
    await chain.intruder.run(statement)
    assert (await verify(chain.parts, chain.org_id)).first_bad_seq == first_bad


async def test_the_application_can_take_away_nothing_but_a_prefix_up_to_a_checkpoint(chain: House) -> None:
    for upto in (0, 7, 45, 99):
        with pytest.raises(asyncpg.RestrictViolationError):
            async with chain.parts.db.work(chain.org_id) as work:
                await (await work.driver()).execute("SELECT prune_audit_entries($1)", upto)
    async with chain.parts.db.work(chain.org_id) as work:
        await record(work, chain.parts, "thing.done")
    assert (await verify(chain.parts, chain.org_id)).entries == LENGTH + 1
