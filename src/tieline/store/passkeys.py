"""Passkeys: the public half of what members sign in with, and the challenges that stand between a question and its answer.

A passkey is a member's, found as its organization. A challenge belongs to no organization, since nobody is known yet when a
person begins to sign in: it belongs to the platform, and to one browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    LargeBinary,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from tieline.errors import Conflict, NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.types import Id, UtcTime

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", Id("pass"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("member_id", Id("mem"), ForeignKey("members.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("credential_id", LargeBinary, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("transports", ARRAY(Text), nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime),
)

passkey_challenges = Table(
    "passkey_challenges",
    metadata,
    Column("id", Id("chal"), primary_key=True),
    Column("browser", LargeBinary, nullable=False, unique=True),
    Column("challenge", LargeBinary, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

_MOST_CHALLENGES = 10_000
"""That wait for an answer at once. Anybody may ask for one, so the oldest give way."""


@dataclass(frozen=True)
class Passkey:
    """A passkey of a member. `public_key` is COSE, `counter` what its authenticator last counted (0 if it does not count)."""

    id: str
    org_id: str
    member_id: str
    name: str
    credential_id: bytes
    public_key: bytes
    counter: int
    transports: list[str]
    backed_up: bool
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class Challenge:
    """What a browser is to have signed; `browser` is a keyed hash of what only that browser has."""

    id: str
    browser: bytes
    challenge: bytes
    expires_at: datetime


async def add_passkey(work: Work, passkey: Passkey) -> None:
    """Add one; raises `Conflict` if it is somebody's already."""
    try:
        await work.connection.execute(insert(passkeys).values(**vars(passkey)))
    except IntegrityError:
        raise Conflict("This passkey is in use here already", advice="Make another one.") from None


async def find_passkey(work: Work, credential_id: bytes) -> Passkey | None:
    """The organization's passkey with this credential id, locked to the end of the transaction."""
    mine = (passkeys.c.credential_id == credential_id) & (passkeys.c.org_id == work.org_id)
    row = (await work.connection.execute(select(passkeys).where(mine).with_for_update())).one_or_none()
    return Passkey(**row._mapping) if row else None


async def get_passkey(work: Work, passkey_id: str) -> Passkey:
    """One passkey; raises `NotFound`."""
    query = select(passkeys).where(passkeys.c.id == passkey_id, passkeys.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no passkey {passkey_id[:60]!r}")
    return Passkey(**row._mapping)


async def list_passkeys(work: Work, *, member_id: str | None = None) -> list[Passkey]:
    """Those of one member or of all, the oldest first."""
    query = select(passkeys).where(passkeys.c.org_id == work.org_id).order_by(passkeys.c.id)
    if member_id:
        query = query.where(passkeys.c.member_id == member_id)
    return [Passkey(**row._mapping) for row in await work.connection.execute(query)]


async def count_passkeys(work: Work, member_id: str) -> int:
    """How many a member has."""
    query = select(func.count()).where(passkeys.c.org_id == work.org_id, passkeys.c.member_id == member_id)
    return int((await work.connection.execute(query)).scalar_one())


async def note_use(work: Work, passkey_id: str, *, counter: int, backed_up: bool, now: datetime) -> None:
    """Note that it was used, and what its authenticator says of itself."""
    mine = (passkeys.c.id == passkey_id) & (passkeys.c.org_id == work.org_id)
    values = {"counter": counter, "backed_up": backed_up, "last_used_at": now}
    await work.connection.execute(update(passkeys).where(mine).values(**values))


async def delete_passkey(work: Work, passkey_id: str) -> bool:
    """Delete one; False if it was gone."""
    mine = (passkeys.c.id == passkey_id) & (passkeys.c.org_id == work.org_id)
    return bool((await work.connection.execute(delete(passkeys).where(mine))).rowcount)


async def delete_passkeys_of(work: Work, member_id: str) -> int:
    """Delete all of a member's; how many."""
    query = delete(passkeys).where(passkeys.c.member_id == member_id, passkeys.c.org_id == work.org_id)
    return (await work.connection.execute(query)).rowcount


async def put_challenge(work: SystemWork, challenge: Challenge) -> None:
    """Keep a challenge in place of the one that the browser had; the oldest of too many are forgotten."""
    given = upsert(passkey_challenges).values(**vars(challenge))
    newer = given.on_conflict_do_update(index_elements=["browser"], set_=vars(challenge))
    await work.connection.execute(newer)
    oldest_kept = select(passkey_challenges.c.id).order_by(passkey_challenges.c.id.desc()).offset(_MOST_CHALLENGES)
    surplus = select(passkey_challenges.c.id).where(passkey_challenges.c.id <= oldest_kept.limit(1).scalar_subquery())
    spare = passkey_challenges.c.id.in_(surplus.with_for_update(skip_locked=True))
    await work.connection.execute(delete(passkey_challenges).where(spare))


async def take_challenge(work: SystemWork, browser: bytes, *, now: datetime) -> bytes | None:
    """The browser's challenge, gone from now on; `None` if it has none, or one that is too old."""
    query = delete(passkey_challenges).where(passkey_challenges.c.browser == browser)
    row = (await work.connection.execute(query.returning(*passkey_challenges.c))).one_or_none()
    return row.challenge if row and row.expires_at > now else None


async def delete_old_challenges(work: SystemWork, *, now: datetime) -> int:
    """Forget those whose time is up; how many there were."""
    late = passkey_challenges.c.expires_at <= now
    return (await work.connection.execute(delete(passkey_challenges).where(late))).rowcount
