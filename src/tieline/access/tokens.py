"""Tokens: random values for cookies and links, stored only as keyed hashes, that also say which organization they are of.

The organization's id is no secret: it lets a token be looked up in that organization's rows alone, under row-level security.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from tieline.ids import from_uuid, to_uuid

_RANDOM = 32  # bytes
_LENGTH = 64  # characters: base64 of 16 and 32 bytes


def new_token(org_id: str) -> str:
    """A fresh token of an organization: 64 characters that are safe in URLs and cookies."""
    return urlsafe_b64encode(to_uuid(org_id, "org").bytes + secrets.token_bytes(_RANDOM)).decode()


def org_of(token: str) -> str | None:
    """The organization that a token says it is of; `None` for what is no token."""
    if len(token) != _LENGTH or not token.isascii():
        return None
    try:
        content = urlsafe_b64decode(token)
    except (binascii.Error, ValueError):
        return None
    return from_uuid("org", UUID(bytes=content[:16])) if len(content) == 16 + _RANDOM else None


def hash_token(key: bytes, use: str, token: str) -> bytes:
    """A token as it is stored. `use` keeps apart what one key is used for."""
    return hmac.digest(key, f"{use}\0{token}".encode(), "sha256")
