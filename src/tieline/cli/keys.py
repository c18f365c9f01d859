"""`tieline keys`: the keys that seal credentials."""

from __future__ import annotations

import click

from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, say, show_json, show_listing


@click.group("keys", cls=NounGroup)
def command() -> None:
    """The keys that seal credentials; none is ever shown."""


@command.command("list")
@opened
async def list_(here: Opened) -> None:
    """List the names of the keys, and which are in use."""
    from tieline.store.credentials import keys_in_use

    async with here.parts.db.system() as work:
        used = await keys_in_use(work)
    ring = here.tieline.ring
    rows = [{"id": one, "current": one == ring.current_id, "in_use": one in used} for one in ring.ids]
    columns: Columns = [("id", "id"), ("seals new credentials", "current"), ("needed by stored ones", "in_use")]
    show_listing({"items": rows, "next": None}, columns, json=here.session.json)


@command.command("rotate")
@opened
async def rotate(here: Opened) -> None:
    """Add a key that seals from now on; the older ones go on opening what they sealed."""
    from tieline.vault import save, with_new_key

    ring = with_new_key(here.tieline.ring)
    save(ring, here.tieline.settings.key_ring_path)
    if here.session.json:
        show_json({"id": ring.current_id, "current": True, "in_use": False})
        return
    say(f"{ring.current_id} seals new credentials from now on.")
    say("Running servers and workers open what it seals at once, and seal with it from their next start on.")
    say(f"Keep a copy of {here.tieline.settings.key_ring_path}: without it no stored credential can be read.")
