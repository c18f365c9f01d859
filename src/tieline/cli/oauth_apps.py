"""`tieline oauth-apps`: the apps by which Tieline is known at the providers."""

from __future__ import annotations

import click

from tieline.cli.given import read_credential, split_pairs
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing

_APPS: Columns = [
    ("provider", "provider"),
    ("client id", "client_id"),
    ("holds", "fields"),
    ("fingerprint", "fingerprint"),
    ("set", at("updated_at")),
]
_WAYS: Columns = [
    ("provider", "provider"),
    ("way", "way"),
    ("available", "available"),
    ("from", "source"),
    ("missing", "missing"),
    ("callback", "callback_url"),
    ("made at", "app_url"),
]


@click.group("oauth-apps", cls=NounGroup)
def command() -> None:
    """The organization's own OAuth apps, which win over those set by TIELINE_OAUTH_…."""


@command.command("list")
@opened
async def list_(here: Opened) -> None:
    """List the organization's own apps."""
    from tieline.flows.setup import app_row
    from tieline.store.oauth_apps import list_apps

    async with here.work() as work:
        rows = [app_row(one) for one in await list_apps(work)]
    none = "There are none: `tieline oauth-apps set` sets one up; `availability` shows what is needed."
    show_listing({"items": rows, "next": None}, _APPS, json=here.session.json, none=none)


@command.command("availability")
@opened
async def availability(here: Opened) -> None:
    """List the ways that need an app: whether each can be taken, by whose app, and what is missing."""
    from tieline.flows.apps import app_availability
    from tieline.flows.setup import availability_row

    parts = here.parts
    rows = [
        availability_row(one, parts.catalog.provider(one.provider), public_url=parts.public_url)
        for one in await app_availability(parts, here.org.id)
    ]
    show_listing({"items": rows, "next": None}, _WAYS, json=here.session.json)


@command.command("set")
@click.argument("provider")
@click.option(
    "--credential",
    "fields",
    multiple=True,
    metavar="NAME=VALUE|-|@FILE",
    help="client_id, client_secret, private_key, key_id, app_id or slug; secrets as for `tieline connect`.",
)
@click.option(
    "--option", "hosts", multiple=True, metavar="NAME=VALUE", help="The server that it belongs to, if not the vendor's."
)
@opened
async def set_(here: Opened, provider: str, fields: tuple[str, ...], hosts: tuple[str, ...]) -> None:
    """Set the organization's app at a provider, whole, in the place of one that it had."""
    from tieline.flows.apps import save_app
    from tieline.flows.returns import callback_url
    from tieline.flows.setup import app_row
    from tieline.sdk.auth import Custom, OAuthApp

    declared = here.parts.catalog.provider(provider)
    given = read_credential(Custom(OAuthApp, help=declared.app_help), fields)
    saved = await save_app(here.parts, here.org.id, provider, given, hosts=split_pairs("--option", hosts))
    if here.session.json:
        show_json(app_row(saved))
        return
    say(f"{declared.name}: the app {saved.client_id} is set. Register with it, exactly, the callback address")
    say(f"  {callback_url(here.parts.public_url, provider)}")


@command.command("remove")
@click.argument("provider")
@click.option("--yes", is_flag=True, help="Do not ask.")
@opened
async def remove(here: Opened, provider: str, yes: bool) -> None:
    """Destroy the organization's app; connections that it made cannot be renewed without it."""
    from tieline.flows.apps import remove_app
    from tieline.flows.setup import app_row

    if not yes:
        click.confirm(f"Destroy the organization's app for {provider}?", abort=True, err=True)
    removed = await remove_app(here.parts, here.org.id, provider)
    if here.session.json:
        show_json(app_row(removed))
    else:
        say(f"Removed the app {removed.client_id}.")
