"""Return addresses: where a person is sent at the end, which must not become a way to send people anywhere."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from tieline.errors import Invalid
from tieline.flows.parts import Parts

MAX_LENGTH: Final = 2_000
_ASCII_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]!$&'()*+,;=%@]+")  # RFC 3986; no backslash, space or control character
_PORTS = {"http": 80, "https": 443}


def callback_url(public_url: str, provider: str) -> str:
    """The address that a provider sends people back to; one for each provider, so that none can answer for another."""
    return f"{public_url}/v1/oauth/callback/{provider}"


def check_return(parts: Parts, address: str | None) -> str | None:
    """The address, if a person may be sent back to it: a path here, or one at our own or an allowed origin.

    Raises `Invalid`.
    """
    if address is None:
        return None
    if len(address) > MAX_LENGTH or not _ASCII_URL.fullmatch(address):
        raise _refused(parts)
    if address.startswith("/") and not address.startswith("//"):
        return address
    if origin_of(address) not in {origin_of(parts.public_url), *parts.return_origins}:
        raise _refused(parts)
    return address


def origin_of(url: str) -> str | None:
    """The origin of an http or https URL, in one spelling: `https://app.example` or `https://app.example:8443`."""
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        return None
    if split.scheme not in _PORTS or not split.hostname or "@" in split.netloc:
        return None
    host = f"[{split.hostname}]" if ":" in split.hostname else split.hostname
    return f"{split.scheme}://{host}" + ("" if port in (None, _PORTS[split.scheme]) else f":{port}")


def with_result(address: str, **result: str) -> str:
    """The address with the outcome added to its query."""
    split = urlsplit(address)
    query = "&".join(part for part in (split.query, urlencode(result)) if part)
    return urlunsplit(SplitResult(split.scheme, split.netloc, split.path, query, split.fragment))


def _refused(parts: Parts) -> Invalid:
    known = ", ".join(sorted({str(origin_of(parts.public_url)), *parts.return_origins}))
    return Invalid(
        "return_to is not an address that people may be sent back to",
        advice=f"Give a path that begins with /, or an address at: {known}. TIELINE_RETURN_ORIGINS allows more.",
        fields=[{"field": "return_to", "problem": "is not allowed"}],
    )
