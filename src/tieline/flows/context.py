"""What a kind of auth works with, put together for one organization and one provider."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from tieline.errors import Invalid
from tieline.flows.apps import find_app, host_names, names_in_host
from tieline.flows.issuer import issue_identity_token
from tieline.flows.parts import Parts
from tieline.sdk.auth import Auth, AuthContext, fill, make_send
from tieline.sdk.provider import Options, Provider


async def auth_context(
    parts: Parts,
    org_id: str,
    provider: Provider[Any],
    auth: Auth,
    options: Options,
    details: Mapping[str, str] | None = None,
) -> AuthContext:
    """The context for one kind of auth; `details` are what an earlier token answer told.

    An app, with its secret, goes to the hosts that the vendor or the operator names; where a connection's own option names the host, only
    the organization's own app goes there, if it was set up for that very host.
    """
    client_id = (details or {}).get("client_id")
    hosts = _given_hosts(parts, provider, auth, options)

    async def identity_token(audience: str) -> str:
        return await issue_identity_token(parts, org_id, provider.slug, audience=audience)

    return AuthContext(
        provider=provider.name,
        places=places_of(parts, provider, options, details),
        clock=parts.clock,
        send=make_send(parts.policy, parts.clock, provider.name, slug=provider.slug),
        identity_token=identity_token,
        external_id=external_id(org_id, provider.slug),
        app=await find_app(parts, org_id, provider, auth, client_id=client_id, hosts=hosts),
    )


def places_of(
    parts: Parts, provider: Provider[Any], options: Options, details: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The values of placeholders: of two of one name the later wins, of details, the vendor's hosts, the operator's, and options."""
    given = {name: str(value) for name, value in options.model_dump(mode="json").items() if value is not None}
    return {**(details or {}), **provider.hosts, **parts.hosts.get(provider.slug, {}), **given}


def _given_hosts(parts: Parts, provider: Provider[Any], auth: Auth, options: Options) -> dict[str, str]:
    """The options that name a host of a way's addresses, other than the one that would be there without them."""
    usual = {**provider.hosts, **parts.hosts.get(provider.slug, {})}
    given = {
        name: str(value).rstrip("/") for name, value in options.model_dump(mode="json").items() if value is not None
    }
    return {
        name: given[name] for name in host_names(auth) & set(given) if given[name] != usual.get(name, "").rstrip("/")
    }


def moved_addresses(parts: Parts, provider: Provider[Any], auth: Auth, standing: Options, chosen: Options) -> set[str]:
    """The options by which a connection's credential would go to another address than before."""
    named = host_names(auth) | names_in_host(provider.base_url, *provider.origins)
    before, after = places_of(parts, provider, standing), places_of(parts, provider, chosen)
    return {name for name in named if before.get(name, "").rstrip("/") != after.get(name, "").rstrip("/")}


def base_url_of(parts: Parts, provider: Provider[Any], options: Options) -> str:
    """The provider's base URL for a connection with these options; the template where only a token's answer completes it."""
    try:
        return fill(provider.base_url, places_of(parts, provider, options))
    except Invalid:
        return provider.base_url


def external_id(org_id: str, provider: str) -> str:
    """The id that a customer's role must ask for, other for every organization, so that none can name another's role.

    Not a secret, says the vendor (AWS: "The confused deputy problem"), but never chosen by whoever connects.
    """
    return "tieline-" + blake2b(f"{org_id}/{provider}".encode(), digest_size=16, person=b"external id").hexdigest()
