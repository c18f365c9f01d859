"""API keys: shown once, kept as keyed hashes, dead at once when revoked, and equal in how they are refused."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.access.api_keys import NewKey, check_key, create_key
from tieline.access.roles import ROLES, Caller
from tieline.errors import Invalid, NotAuthenticated
from tieline.store.api_keys import revoke_api_key
from tieline.store.db import Db
from tieline.store.organizations import Organization

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PEPPER = b"pepper" * 6
LATER = NOW + timedelta(hours=1)
NOWHERE = Db("postgresql://nobody@127.0.0.1:1/nowhere")


async def create(db: Db, org: Organization, **changes: Any) -> NewKey:
    given: dict[str, Any] = {"name": "CI", "role": "member", "now": NOW} | changes
    async with db.work(org.id) as work:
        return await create_key(work, PEPPER, **given)


async def refusal(db: Db, plain: str, *, pepper: bytes = PEPPER, now: datetime = NOW) -> str:
    with pytest.raises(NotAuthenticated) as refused:
        await check_key(db, pepper, plain, now=now)
    return f"{refused.value.message} {refused.value.what_to_do} {refused.value.details}"


@pytest.mark.parametrize("role", ROLES)
async def test_a_key_opens_its_organization_with_its_role(db: Db, organization: Organization, role: Any) -> None:
    made = await create(db, organization, role=role)
    assert await check_key(db, PEPPER, made.plain, now=NOW) == Caller(organization.id, made.row.id, role)


async def test_a_key_has_a_public_prefix_and_190_random_bits(db: Db, organization: Organization) -> None:
    made = [await create(db, organization) for _ in range(20)]
    head, prefix, secret = made[0].plain.split("_")
    assert (head, prefix, len(secret)) == ("tl", made[0].row.prefix, 32)
    assert len({one.plain for one in made}) == len({one.row.prefix for one in made}) == 20


async def test_only_a_hash_under_the_pepper_is_kept(db: Db, organization: Organization) -> None:
    made = await create(db, organization)
    assert made.row.hash == hmac.new(PEPPER, made.plain.encode(), sha256).digest()
    secret = made.plain.rpartition("_")[2]
    assert secret not in repr(made) + repr(made.row)


async def test_under_another_pepper_no_key_works(db: Db, organization: Organization) -> None:
    made = await create(db, organization)
    assert await refusal(db, made.plain, pepper=b"other" * 8)


async def test_every_refusal_reads_the_same(db: Db, organization: Organization) -> None:
    good, expired, revoked = [await create(db, organization, expires_at=end) for end in (None, LATER, None)]
    async with db.work(organization.id) as work:
        await revoke_api_key(work, revoked.row.id, now=NOW)
    swapped = f"tl_{good.row.prefix}_{expired.plain.rpartition('_')[2]}"
    wrong = [swapped, revoked.plain, "", "x", "tl_" + "a" * 12 + "_" + "b" * 32]
    told = {await refusal(db, plain) for plain in wrong} | {await refusal(db, expired.plain, now=LATER)}
    assert len(told) == 1


async def test_a_revoked_key_is_dead_at_once_in_every_process(
    db: Db, database_url: str, organization: Organization
) -> None:
    made, other_process = await create(db, organization), Db(database_url, pool_size=1)
    for each in (db, other_process):
        assert await check_key(each, PEPPER, made.plain, now=NOW)
    async with db.work(organization.id) as work:
        await revoke_api_key(work, made.row.id, now=NOW)
    for each in (db, other_process):
        assert await refusal(each, made.plain)
    await other_process.close()


async def test_a_key_works_until_the_moment_it_expires(db: Db, organization: Organization) -> None:
    made = await create(db, organization, expires_at=LATER)
    assert await check_key(db, PEPPER, made.plain, now=LATER - timedelta(microseconds=1))
    assert await refusal(db, made.plain, now=LATER)


async def test_two_keys_of_an_organization_live_side_by_side(db: Db, organization: Organization) -> None:
    old, new = await create(db, organization), await create(db, organization)
    async with db.work(organization.id) as work:
        await revoke_api_key(work, old.row.id, now=NOW)
    assert (await check_key(db, PEPPER, new.plain, now=NOW)).actor == new.row.id


async def test_a_thousand_wrong_keys_are_refused_and_a_right_one_still_works(
    db: Db, organization: Organization
) -> None:
    made = await create(db, organization)
    prefix, secret = made.row.prefix, made.plain.rpartition("_")[2]
    guesses = [f"tl_{prefix}_{number:032d}" for number in range(250)]
    guesses += [f"tl_{number:012d}_{secret}" for number in range(250)]
    guesses += [made.plain[:length] for length in range(len(made.plain))]
    guesses += [made.plain + end for end in ("\n", "\0", " ", "x", "ü")] + [made.plain.swapcase(), f" {made.plain}"]
    guesses += [f"{number}" * 7 for number in range(1_000 - len(guesses))]

    async def ask(some: list[str]) -> None:
        for plain in some:
            await refusal(db, plain)

    await asyncio.gather(*(ask(guesses[start::5]) for start in range(5)))
    assert len(guesses) == 1_000
    assert await check_key(db, PEPPER, made.plain, now=NOW)


@given(st.text(max_size=60) | st.from_regex(r"tl_[A-Za-z0-9]{11,13}_.{31,33}", fullmatch=True))
def test_a_malformed_key_is_refused_without_asking_the_database(plain: str) -> None:
    try:
        asyncio.run(check_key(NOWHERE, PEPPER, plain, now=NOW))
    except NotAuthenticated:
        pass
    except OSError:  # it asked: then the form must be the right one
        assert plain.isascii()
        assert [len(part) for part in plain.split("_")] == [2, 12, 32]


@pytest.mark.parametrize("role", ["", "boss", "Admin", "operator "])
async def test_an_unknown_role_is_refused(db: Db, organization: Organization, role: str) -> None:
    with pytest.raises(Invalid, match="There is no role") as refused:
        await create(db, organization, role=role)
    assert "auditor, member, admin, owner, operator" in refused.value.what_to_do


@pytest.mark.parametrize("expires_at", [NOW, NOW - timedelta(days=1)])
async def test_a_key_cannot_be_made_already_expired(db: Db, organization: Organization, expires_at: datetime) -> None:
    with pytest.raises(Invalid, match="in the past"):
        await create(db, organization, expires_at=expires_at)


async def test_a_key_of_one_organization_never_opens_another(
    db: Db, organization: Organization, make_organization: Callable[[], Any]
) -> None:
    other = await make_organization()
    mine, theirs = await create(db, organization), await create(db, other)
    assert (await check_key(db, PEPPER, mine.plain, now=NOW)).org_id == organization.id
    assert (await check_key(db, PEPPER, theirs.plain, now=NOW)).org_id == other.id
