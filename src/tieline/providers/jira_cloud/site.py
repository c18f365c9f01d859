"""Which Jira site a connection reads, and where its API is: behind Atlassian's gateway, or at the site itself.

A grant, and an API token with scopes, work at the gateway (`api.atlassian.com/ex/jira/{cloud id}`); an API token without scopes
works at the site's own address only, and nothing tells the two kinds of token apart but being refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from tieline.sdk import Context, Grant, Identified, Invalid, Options


def _address(url: str) -> str:
    """An address without a trailing slash; raises `ValueError` for anything else than one."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("is not an address such as https://acme.atlassian.net")
    return url.rstrip("/")


class JiraCloudOptions(Options):
    """Which site, and where its API is."""

    site: str | None = Field(
        default=None,
        title="Site",
        description="Address or cloud id of the Jira site. With OAuth it is needed only if you reach several; with an API token "
        "that has scopes give the cloud id, which https://acme.atlassian.net/_edge/tenant_info tells.",
        max_length=200,
    )
    api: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        title="Site address",
        description="Only with an API token that has no scopes: https://acme.atlassian.net",
        max_length=500,
    )


async def identify(ctx: Context[JiraCloudOptions]) -> Identified:
    """The site: by its cloud id, which stays the same for every way to connect it, and by its host name."""
    if isinstance(ctx.credential, Grant):
        site = await _find_granted(ctx)
        return Identified(site["id"], _host(site["url"]), frozenset(site["scopes"]))
    root = await root_of(ctx)
    await ctx.get(f"{root}/rest/api/3/myself")
    about = await ctx.get(f"{root}/rest/api/3/serverInfo")
    tenant = {"cloudId": ctx.options.site} if root else await ctx.get("/_edge/tenant_info", missing={})
    host = _host(about["baseUrl"])
    return Identified(tenant.get("cloudId") or host, host)


async def root_of(ctx: Context[JiraCloudOptions]) -> str:
    """The path under which the site's API is; raises `Invalid` if the options do not fit the credential."""
    if isinstance(ctx.credential, Grant):
        return f"/ex/jira/{(await _find_granted(ctx))['id']}"
    if ctx.options.api:
        return ""
    if not ctx.options.site or not _is_cloud_id(ctx.options.site):
        advice = "Set the option api to the site's address, or, if the API token has scopes, site to its cloud id."
        raise Invalid("An API token does not tell its Jira site", advice=advice)
    return f"/ex/jira/{ctx.options.site}"


async def _find_granted(ctx: Context[JiraCloudOptions]) -> dict[str, Any]:
    """The site among those that the grant reaches; raises `Invalid` naming them if it cannot be told which."""
    if ctx.options.api:
        raise Invalid(
            "The option api is for API tokens without scopes", advice="Leave it out when connecting by OAuth."
        )
    reached = [site for site in await ctx.get("/oauth/token/accessible-resources") if _is_jira(site)]
    wanted = _host(ctx.options.site or "").lower()
    chosen = [site for site in reached if wanted in ("", site["id"], site["name"].lower(), _host(site["url"]))]
    if len(chosen) == 1:
        return chosen[0]  # type: ignore[no-any-return]  # JSON
    named = ", ".join(_host(site["url"]) for site in reached[:10]) or "none"
    problem = "reaches several Jira sites" if chosen else "does not reach that Jira site"
    raise Invalid(f"The grant {problem}", advice=f"Set the option site to one that it reaches: {named}.")


def _is_jira(site: dict[str, Any]) -> bool:
    """Whether it is a Jira site: a grant may reach Confluence by other scopes."""
    return any("jira" in scope for scope in site["scopes"])


def _is_cloud_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower()) is not None


def _host(address: str) -> str:
    """The host of an address; any other text as it is."""
    return urlsplit(address).netloc or address
