"""Flash: one sentence for the next page, carried by the browser in a signed cookie that is gone once it was shown.

It holds what was done in words, never a secret.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

COOKIE = "tieline_flash"
_MOST = 500


def write_flash(key: bytes, told: str) -> str:
    """The cookie's value."""
    body = urlsafe_b64encode(told[:_MOST].encode()).decode()
    return f"{body}.{_sign(key, body)}"


def read_flash(key: bytes, value: str | None) -> str | None:
    """What is to be told; `None` for anything that was not written here."""
    body, _, tag = (value or "").partition(".")
    if not body.isascii() or not tag.isascii() or not hmac.compare_digest(tag, _sign(key, body)):
        return None
    try:
        return urlsafe_b64decode(body).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _sign(key: bytes, body: str) -> str:
    return hmac.digest(key, b"flash\0" + body.encode(), "sha256").hex()[:32]
