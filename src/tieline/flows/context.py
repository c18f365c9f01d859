"""What a kind of auth works with, put together for one organization and one provider."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from tieline.errors import Invalid
from tieline.flows.apps import find_app
from tieline.flows.issuer import issue_identity_token
from tieline.flows.parts import Parts
from tieline.sdk.auth import AuthContext, fill, make_send
from tieline.sdk.provider import Options, Provider


async def auth_context(
    parts: Parts, org_id: str, provider: Provider[Any], options: Options, details: Mapping[str, str] | None = None
) -> AuthContext:
    """The context for one kind of auth; `details` are what an earlier token answer told."""

    async def identity_token(audience: str) -> str:
        return await issue_identity_token(parts, org_id, provider.slug, audience=audience)

    return AuthContext(
        provider=provider.name,
        places=places_of(parts, provider, options, details),
        clock=parts.clock,
        send=make_send(parts.policy, parts.clock, provider.name),
        identity_token=identity_token,
        external_id=external_id(org_id, provider.slug),
        app=await find_app(parts, org_id, provider, client_id=(details or {}).get("client_id")),
    )


def places_of(
    parts: Parts, provider: Provider[Any], options: Options, details: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The values of placeholders: the vendor's hosts, the operator's in their place, then details, then options."""
    given = {name: str(value) for name, value in options.model_dump(mode="json").items() if value is not None}
    return {**provider.hosts, **parts.hosts.get(provider.slug, {}), **(details or {}), **given}


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
