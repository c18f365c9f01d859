"""API keys: made here, shown once, checked on each request.

A key is `tl_<prefix>_<secret>`: the prefix finds the row, the whole key is compared as an HMAC under a pepper from the key ring, so
that a copy of the database is of no use to whoever would sign in with it.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from tieline.access.roles import ROLES, Caller, Role
from tieline.errors import Invalid, NotAuthenticated
from tieline.ids import new_id
from tieline.store.api_keys import ApiKeyRow, find_api_key, save_api_key
from tieline.store.db import Db, Work

_ALPHABET = string.ascii_letters + string.digits
_FORM = re.compile(r"tl_([A-Za-z0-9]{12})_([A-Za-z0-9]{32})")


@dataclass(frozen=True)
class NewKey:
    """A key just made; `plain` is shown to its maker and kept nowhere."""

    row: ApiKeyRow
    plain: str = field(repr=False)


async def create_key(
    work: Work, pepper: bytes, *, name: str, role: Role, now: datetime, expires_at: datetime | None = None
) -> NewKey:
    """Make a key for the organization; raises `Invalid` for an unknown role or an expiry in the past."""
    if role not in ROLES:
        raise Invalid(f"There is no role {role!r}", advice=f"Roles: {', '.join(ROLES)}.")
    if expires_at and expires_at <= now:
        raise Invalid("expires_at is in the past")
    prefix, secret = _random(12), _random(32)
    plain = f"tl_{prefix}_{secret}"
    row = ApiKeyRow(new_id("key"), work.org_id, name, role, prefix, _hash(pepper, plain), now, expires_at)
    await save_api_key(work, row)
    return NewKey(row, plain)


async def check_key(db: Db, pepper: bytes, plain: str, *, now: datetime) -> Caller:
    """Who a key belongs to; raises `NotAuthenticated`, the same for a malformed, unknown, expired or revoked one."""
    formed = _FORM.fullmatch(plain)
    if formed:
        async with db.system() as work:
            row = await find_api_key(work, formed[1], now=now)
        if row and hmac.compare_digest(row.hash, _hash(pepper, plain)):
            return Caller(row.org_id, row.id, row.role)  # type: ignore[arg-type]  # the column holds only roles
    raise NotAuthenticated("The API key does not work")


def _hash(pepper: bytes, plain: str) -> bytes:
    return hmac.new(pepper, plain.encode(), sha256).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
