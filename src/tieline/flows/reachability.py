"""Reachability: whether the providers that are connected, and Tieline's own public address, can be reached from here.

Providers are asked by the guarded client, without any credential: an answer of whatever status will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx2

from tieline.errors import Invalid, NotFound
from tieline.flows.context import base_url_of
from tieline.flows.diagnosis import Diagnosis
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.sdk.addresses import AddressPolicy, GuardedTransport
from tieline.store.connections import list_ways
from tieline.store.organizations import list_organizations

_PATIENCE = 5.0  # seconds
_MOST = 60
"""Hosts that are asked, side by side, and addresses of one organization that are looked at."""
_APART = timedelta(seconds=60)
_NETWORK = "Check the name, the firewall and the network of this machine; Tieline uses no proxy."


async def examine_providers(parts: Parts) -> AsyncIterator[Diagnosis]:
    """Each host that a connection goes to, all at once."""
    origins = await _origins(parts)
    asked = sorted(origins.items())[:_MOST]
    found = await asyncio.gather(*(_probe(parts, origin, slug) for origin, slug in asked))
    bad = [one for one in found if one.status != "ok"]
    for one in bad:
        yield one
    if well := len(found) - len(bad):
        more = f" ({len(origins) - _MOST} more were not asked)" if len(origins) > _MOST else ""
        yield Diagnosis("reach", "ok", f"{well} host(s) of connected providers answer{more}")


async def examine_own_address(parts: Parts) -> Diagnosis:
    """Whether the public address leads back to a Tieline that calls itself so, as clouds that read its keys need it."""
    url = f"{parts.public_url}/.well-known/openid-configuration"
    here = urlsplit(parts.public_url).hostname in {"localhost", "127.0.0.1", "::1"}
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_PATIENCE) as client:
            answer = await client.get(url)
        issuer = answer.json().get("issuer") if answer.status_code == 200 else None
    except httpx2.TransportError as error:
        said = f"nothing answers at {parts.public_url} ({type(error).__name__})"
        if here:  # no server runs, which is as it may be
            return Diagnosis("address", "ok", f"{said}; `tieline serve` does")
        return Diagnosis("address", "warning", said, "Start `tieline serve`; check DNS, certificate and reverse proxy.")
    except (ValueError, AttributeError):
        issuer = None
    if issuer != parts.public_url:
        said = f"something else than this Tieline answers at {parts.public_url}"
        return Diagnosis(
            "address", "warning", said, "Correct TIELINE_PUBLIC_URL, or what your reverse proxy forwards to."
        )
    return Diagnosis("address", "ok", f"{parts.public_url} leads here")


async def _origins(parts: Parts) -> dict[str, str]:
    """The origins that connections go to, with the provider of each."""
    async with parts.db.system() as work:
        organizations = await list_organizations(work)
    found: dict[str, str] = {}
    for one in organizations:
        async with parts.db.work(one.id) as work:
            ways = await list_ways(work, limit=_MOST)
        for slug, options in ways:
            found |= dict.fromkeys(_origin(parts, slug, options), slug)
    return found


def _origin(parts: Parts, slug: str, options: dict[str, object]) -> Iterator[str]:
    try:
        provider = parts.catalog.provider(slug)
        url = urlsplit(base_url_of(parts, provider, parse_options(provider, options)))
    except (NotFound, Invalid):  # not installed any more, or of an older form
        return
    if url.scheme in {"http", "https"} and url.netloc and "{" not in url.netloc:
        yield f"{url.scheme}://{url.netloc}"


async def _probe(parts: Parts, origin: str, slug: str) -> Diagnosis:
    host = urlsplit(origin).netloc
    try:
        async with asyncio.timeout(_PATIENCE):
            date = await _ask(parts.policy, origin)
    except Invalid as error:
        return Diagnosis("reach", "warning", f"{slug} at {host} may not be called: {error.message}", error.what_to_do)
    except (httpx2.TransportError, TimeoutError) as error:
        told = "its certificate is not trusted" if "CERTIFICATE" in str(error) else type(error).__name__
        return Diagnosis("reach", "warning", f"{slug} at {host} cannot be reached ({told})", _NETWORK)
    if date and abs(apart := date - parts.clock.now()) > _APART:
        said = f"{slug} at {host} answers, and its clock differs by {apart.total_seconds():+.0f} s"
        return Diagnosis(
            "reach", "warning", said, "Set this machine's clock by NTP: providers refuse what is dated wrongly."
        )
    return Diagnosis("reach", "ok", f"{slug} at {host} answers")


async def _ask(policy: AddressPolicy, origin: str) -> datetime | None:
    """What time it is there, if it says so."""
    transport = GuardedTransport(policy, connections=1)
    try:
        response = await transport.handle_async_request(
            httpx2.Request("HEAD", f"{origin}/", headers={"user-agent": "Tieline", "connection": "close"})
        )
        await response.aclose()
    finally:
        await transport.aclose()
    try:
        return parsedate_to_datetime(response.headers.get("date", "")[:64]).astimezone(UTC)
    except (ValueError, TypeError):
        return None
