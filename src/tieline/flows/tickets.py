"""Tickets and states: the signed values that travel through a person's browser, and the errors for what is wrong with them.

A *ticket* opens an attempt, a *state* (RFC 6749, section 10.12) brings it back from the provider. Both name the organization and the
attempt and are signed with HMAC-SHA-256 over that and what they must fit: a state made for another provider, callback or
browser has another signature. That a state is used once is held by the attempt's row, not here.
"""

from __future__ import annotations

import binascii
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from tieline.errors import RequestError
from tieline.ids import from_uuid, to_uuid

LIFETIME: Final = timedelta(minutes=10)
"""Of an attempt."""

MAX_STATE: Final = 500
"""Characters; what we write has about 95."""

_TICKET: Final = "t1."
_STATE: Final = "s1."
_CONSENT: Final = "c1."
_TICKET_FORM: Final = struct.Struct(">16s16s")
_STATE_FORM: Final = struct.Struct(">16s16sI")


class SignInLost(RequestError):
    """Coming back from the provider does not fit what was begun: missing, changed, used already, or another browser's."""

    slug = "sign-in-lost"
    status = 400
    advice = "Begin again from where you came, and finish in the same browser."


class SignInExpired(RequestError):
    """The ten minutes for signing in at the provider are over."""

    slug = "sign-in-expired"
    status = 410
    advice = "Begin again from where you came."


class SignInDeclined(RequestError):
    """The provider, or the person there, did not grant access."""

    slug = "sign-in-declined"
    status = 422
    advice = "Begin again and grant the access, or ask an administrator of the account to do it."


@dataclass(frozen=True)
class Claim:
    """What a state says: which attempt of which organization, and on which round."""

    org_id: str
    attempt_id: str
    round: int


@dataclass(frozen=True)
class Fit:
    """What a state must fit besides: the provider, the callback, and the browser by its cookie."""

    provider: str
    redirect_uri: str
    browser: str = field(repr=False)


def write_ticket(key: bytes, org_id: str, attempt_id: str) -> str:
    """A ticket that opens an attempt."""
    body = _TICKET_FORM.pack(to_uuid(org_id, "org").bytes, to_uuid(attempt_id, "att").bytes)
    return _TICKET + _encode(body + _sign(key, _TICKET, body))


def read_ticket(key: bytes, ticket: str) -> tuple[str, str]:
    """The organization and the attempt of a ticket; raises `SignInLost`."""
    body = _checked(key, _TICKET, ticket, _TICKET_FORM.size)
    org, attempt = _TICKET_FORM.unpack(body)
    return from_uuid("org", UUID(bytes=org)), from_uuid("att", UUID(bytes=attempt))


def write_state(key: bytes, claim: Claim, fit: Fit) -> str:
    """A state for one round of an attempt."""
    ids = to_uuid(claim.org_id, "org").bytes, to_uuid(claim.attempt_id, "att").bytes
    body = _STATE_FORM.pack(*ids, claim.round)
    return _STATE + _encode(body + _sign(key, _STATE, body, *_bytes(fit)))


def read_state(key: bytes, state: str, fit: Fit) -> Claim:
    """What a state says, if it was signed here and fits; raises `SignInLost`. Whether it is late or used is not looked at."""
    if len(state) > MAX_STATE:
        raise lost()
    org, attempt, round = _STATE_FORM.unpack(_checked(key, _STATE, state, _STATE_FORM.size, *_bytes(fit)))
    return Claim(from_uuid("org", UUID(bytes=org)), from_uuid("att", UUID(bytes=attempt)), round)


def write_consent(key: bytes, ticket: str, browser: str) -> str:
    """What the form of a ticket's page carries in one browser, by which its answer is known to come from that page."""
    return _CONSENT + _encode(_sign(key, _CONSENT, ticket, browser))


def check_consent(key: bytes, ticket: str, browser: str, consent: str) -> None:
    """Raises `SignInLost` unless it was written for this ticket and browser."""
    if not hmac.compare_digest(consent.encode(), write_consent(key, ticket, browser).encode()):
        raise lost()


def hash_browser(browser: str) -> bytes:
    """A browser's cookie as it is stored."""
    return sha256(browser.encode()).digest()


def lost() -> SignInLost:
    """The error for whatever does not fit; what exactly would help whoever is guessing."""
    return SignInLost("What came back does not belong to a sign-in that was begun in this browser")


def sign_in_expired() -> SignInExpired:
    """The error for an attempt whose time is up."""
    return SignInExpired(f"The {LIFETIME.seconds // 60} minutes for this sign-in are over")


def _checked(key: bytes, prefix: str, text: str, size: int, *more: bytes) -> bytes:
    """The signed body; raises `SignInLost` unless the text is exactly as `_encode` writes it."""
    try:
        signed = urlsafe_b64decode(text.removeprefix(prefix).encode("ascii") + b"==")
    except (UnicodeEncodeError, binascii.Error):
        raise lost() from None
    body, tag = signed[:size], signed[size:]
    good = hmac.compare_digest(tag, _sign(key, prefix, body, *more))
    if not good or text != prefix + _encode(signed):
        raise lost()
    return body


def _sign(key: bytes, *parts: str | bytes) -> bytes:
    """Each part after its length, so that no boundary between them can shift."""
    plain = [part.encode() if isinstance(part, str) else part for part in parts]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in plain)
    return hmac.digest(key, framed, "sha256")


def _bytes(fit: Fit) -> tuple[bytes, ...]:
    return fit.provider.encode(), fit.redirect_uri.encode(), hash_browser(fit.browser)


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
