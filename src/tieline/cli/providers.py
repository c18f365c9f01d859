"""`tieline providers`: what can be connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline.cli.session import NounGroup, current
from tieline.cli.show import Columns, say, show_json, show_listing

if TYPE_CHECKING:
    from tieline.sdk.auth import Auth


@click.group("providers", cls=NounGroup)
def command() -> None:
    """What can be connected, and what that needs."""


@command.command("list")
def list_() -> None:
    """List the providers, and those that could not be loaded."""
    from tieline.catalog import load_catalog
    from tieline.flows.views import provider_row

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
    """Show what a provider reads, and how to connect it."""
    from tieline.catalog import load_catalog
    from tieline.flows.setup import setup_row
    from tieline.flows.views import provider_row

    current().start_log("error")
    catalog = load_catalog()
    provider = catalog.provider(slug)
    row = provider_row(provider, catalog.checks) | {
        "setup": setup_row(provider, public_url=current().read_settings().public_url)
    }
    if current().json:
        show_json(row)
        return
    say(f"{row['name']} ({row['id']}): {row['description']}")
    say(f"\nGrade: {row['grade'] or 'none; nothing is proven of it'}")
    say(f"\nReads\n{_operations(row)}")
    say(f"\nOptions: --option NAME=VALUE\n{_fields(row['setup']['options'])}")
    for auth in provider.modes:
        say(f"\n{_way(auth)}")


def _way(auth: Auth) -> str:
    """One way to authenticate: what to give, or that one goes to the provider."""
    from tieline.sdk.auth import Redirects

    told = f"By {auth.slot}: a person signs in at the provider"
    if not isinstance(auth, Redirects):
        fields = _fields(auth.credential.model_json_schema())
        told = f"By {auth.slot}: --credential NAME=- (standard input) or NAME=@FILE\n{fields}"
    return f"{told}\n\n  {auth.help}" if auth.help else told


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
