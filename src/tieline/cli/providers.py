"""`tieline providers`: what can be connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline.cli.session import NounGroup, current, open_organization, run_async
from tieline.cli.show import Columns, say, show_json, show_listing, warn
from tieline.errors import TielineError

if TYPE_CHECKING:
    from tieline.sdk.provider import Provider


@click.group("providers", cls=NounGroup)
def command() -> None:
    """What can be connected, and what that needs."""


@command.command("list")
def list_() -> None:
    """List the providers, and those that could not be loaded."""
    from tieline.catalog import load_catalog
    from tieline.flows.catalog_views import provider_row

    current().start_log("error")  # those that are broken are listed, not logged
    catalog = load_catalog()
    rows = [provider_row(one, catalog.checks) | {"status": "ready"} for _, one in sorted(catalog.providers.items())]
    rows += [{"id": name, "provider": name, "status": "broken", "reason": why} for name, why in catalog.broken.items()]
    columns: Columns = [
        ("provider", "id"), ("name", "name"), ("category", "category"), ("auth", "kind"),
        ("operations", lambda row: len(row.get("operations", ()))), ("grade", "grade"), ("status", "status"),
        ("about", lambda row: row.get("description") or row.get("reason")),
    ]  # fmt: skip
    show_listing({"items": rows, "next": None}, columns, json=current().json)


@command.command("show")
@click.argument("slug")
def show(slug: str) -> None:
    """Show what a provider reads, and how to connect it.

    Where the provider is to trust one organization and no other (an AWS role, say), the organization is looked up for that.
    """
    from tieline.catalog import load_catalog
    from tieline.flows.catalog_views import provider_row
    from tieline.flows.setup import setup_row

    current().start_log("error")
    catalog, settings = load_catalog(), current().read_settings()
    provider = catalog.provider(slug)
    given = settings.hosts_by_provider({name: one.hosts for name, one in catalog.providers.items()}).get(slug, {})
    setup = setup_row(provider, public_url=settings.public_url, hosts=given, **_own(provider))
    row = provider_row(provider, catalog.checks) | {"setup": setup}
    if current().json:
        show_json(row)
        return
    say(f"{row['name']} ({row['id']}): {row['description']}")
    say(f"\nGrade: {row['grade'] or 'none; nothing is proven of it'}")
    say(f"\nReads\n{_operations(row)}")
    say(f"\nOptions: --option NAME=VALUE\n{_fields(row['setup']['options'])}")
    if hosts := row["setup"]["hosts"]:
        say(f"\nHosts: TIELINE_HOST_…\n{_lines(hosts)}")
    for way in row["setup"]["ways"]:
        say(f"\n{_way(way)}")


def _own(provider: Provider[Any]) -> dict[str, str]:
    """What is the organization's own in a setup at this provider; nothing, and a word why, if it cannot be opened."""
    from tieline.flows.context import external_id
    from tieline.flows.issuer import subject_of
    from tieline.flows.setup import is_told_apart

    if not any(is_told_apart(auth) for auth in provider.modes):
        return {}
    try:
        org_id = run_async(_find_organization())
    except TielineError as error:
        warn(f"The external id and the subject are the organization's, which cannot be looked up: {error.message}")
        return {}
    return {"external_id": external_id(org_id, provider.slug), "subject": subject_of(org_id)}


async def _find_organization() -> str:
    async with open_organization(current()) as here:
        return here.org.id


def _way(way: dict[str, Any]) -> str:
    """One way to authenticate: what to give, or that one goes to the provider; and whom the provider is to trust."""
    told = f"By {way['slot']}: a person signs in at the provider"
    if not way["redirects"]:
        told = f"By {way['slot']}: --credential NAME=- (standard input) or NAME=@FILE\n{_fields(way['credential'])}"
    trust = {"external id": way["external_id"], **(way["trust"] or {})}
    help = f"  {way['instructions']}" if way["instructions"] else ""
    return "\n\n".join(part for part in (told, _lines(trust), help) if part)


def _lines(values: dict[str, str | None]) -> str:
    return "\n".join(f"  {name:<24} {value}" for name, value in values.items() if value)


def _operations(row: dict[str, Any]) -> str:
    return "\n".join(
        f"  {one['id']:<24} {one['title']}; every {one['every_seconds'] // 60} min"
        + (f"; needs {', '.join(one['needs'])}" if one["needs"] else "")
        for one in row["operations"]
    )


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = [
        f"  {name:<24} {'required' if name in required else 'optional'}  {field.get('description', '')}".rstrip()
        for name, field in schema.get("properties", {}).items()
    ]
    return "\n".join(lines) or "  none"
