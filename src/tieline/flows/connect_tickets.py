"""Connect tickets: what opens a connect session, once each, in the address that it begins with and in the forms of its pages.

A ticket names its organization and session, which is no secret, so that a page can say what is wrong with one that was used; what
opens the session are 32 random bytes after that. Only a keyed hash of the whole is stored.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from tieline.access.tokens import hash_token
from tieline.ids import from_uuid, to_uuid

_RANDOM = 32  # bytes
_BYTES = 16 + 16 + _RANDOM
_LENGTH = 86  # characters


def new_ticket(org_id: str, session_id: str) -> str:
    """A fresh ticket: 86 characters that are safe in URLs and forms."""
    content = to_uuid(org_id, "org").bytes + to_uuid(session_id, "cs").bytes + secrets.token_bytes(_RANDOM)
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def whose_ticket(ticket: str) -> tuple[str, str] | None:
    """The organization and the session that a ticket says it is of; `None` for what is no ticket."""
    if len(ticket) != _LENGTH or not ticket.isascii():
        return None
    try:
        content = urlsafe_b64decode(ticket + "==")
    except (binascii.Error, ValueError):
        return None
    if len(content) != _BYTES:
        return None
    return from_uuid("org", UUID(bytes=content[:16])), from_uuid("cs", UUID(bytes=content[16:32]))


def hash_ticket(key: bytes, ticket: str) -> bytes:
    """A ticket as it is stored."""
    return hash_token(key, "connect", ticket)


def is_ticket(key: bytes, ticket: str, ticket_hash: bytes) -> bool:
    """Whether it is the ticket of this hash."""
    return hmac.compare_digest(hash_ticket(key, ticket), ticket_hash)
