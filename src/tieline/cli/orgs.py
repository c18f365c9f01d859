"""`tieline orgs`: the organizations."""

from __future__ import annotations

import re

import click

from tieline.cli.session import NounGroup, Session, current, run_async
from tieline.cli.show import Columns, at, say, show_json, show_listing

_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.group("orgs", cls=NounGroup)
def command() -> None:
    """Organizations: what belongs to one is never seen from another."""


@command.command("list")
def list_() -> None:
    """List the organizations."""
    run_async(_list(current()))


@command.command("create")
@click.argument("slug")
@click.option("--name", help="What to call it; by default its slug.")
def create(slug: str, name: str | None) -> None:
    """Make an organization; name it with --org from then on."""
    if not _SLUG.fullmatch(slug) or len(slug) > 63:
        raise click.UsageError("A slug is lower case letters and digits, with single hyphens between: acme-corp")
    run_async(_create(current(), slug, name or slug))


async def _list(session: Session) -> None:
    from tieline.flows.views import organization_row
    from tieline.store.organizations import list_organizations

    session.start_log()
    async with session.open() as tieline, tieline.parts.db.system() as work:
        rows = [organization_row(one) for one in await list_organizations(work)]
    columns: Columns = [("id", "id"), ("slug", "slug"), ("name", "name"), ("since", at("created_at"))]
    show_listing({"items": rows, "next": None}, columns, json=session.json)


async def _create(session: Session, slug: str, name: str) -> None:
    from tieline.flows.organizations import create_organization
    from tieline.flows.views import organization_row

    session.start_log()
    async with session.open() as tieline:
        made = await create_organization(tieline.parts, slug=slug, name=name)
    if session.json:
        show_json(organization_row(made))
    else:
        say(f"Made {made.id}. `tieline --org {made.slug} …` works in it.")
