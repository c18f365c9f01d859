"""`tieline keys`: the keys that seal credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tieline.cli import exits
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, say, show_json, show_listing, warn

if TYPE_CHECKING:
    from tieline.flows.rewrap import Rewrapped

_COLUMNS: Columns = [
    ("id", "id"), ("lives in", "lives_in"), ("seals new credentials", "current"), ("stored values that need it", "in_use"),
]  # fmt: skip


@click.group("keys", cls=NounGroup)
def command() -> None:
    """The keys that seal credentials; none is ever shown."""


@command.command("list")
@opened
async def list_(here: Opened) -> None:
    """List the names of the keys, where each lives, and how many stored values need it."""
    from tieline.flows.rewrap import list_keys

    rows = [asdict(one) for one in await list_keys(here.parts)]
    show_listing({"items": rows, "next": None}, _COLUMNS, json=here.session.json)
    if not here.session.json and not any(row["current"] for row in rows):
        warn("The key service cannot be reached, so nothing can be sealed now.")


@command.command("rotate")
@click.option("--no-rewrap", is_flag=True, help="Leave stored values under the former key for now.")
@opened
async def rotate(here: Opened, no_rewrap: bool) -> int:
    """Add a key that seals from now on, and bring all that is stored under it; nothing need be stopped for it."""
    from tieline.errors import Conflict
    from tieline.vault import load_or_create, save, with_new_key

    if here.tieline.settings.key_service:
        raise Conflict(
            "The encryption key is kept by a key service", advice="Rotate it there, then run: tieline keys re-seal"
        )
    path = here.tieline.settings.key_ring_path
    ring = with_new_key(load_or_create(path, may_create=False))
    async with _recorded(here, ring.current_id, begun="key.rotation_begun", done="key.rotated"):
        save(ring, path)
    made = {"id": ring.current_id, "current": True}
    if not here.session.json:
        say(f"{ring.current_id} seals new credentials from now on, in running servers and workers too.")
        say(f"Keep a copy of {path}: without it no stored credential can be read.")
    if no_rewrap:
        if here.session.json:
            show_json(made)
        return exits.FINE
    return await _re_seal(here, made)


@command.command("re-seal")
@opened
async def re_seal(here: Opened) -> int:
    """Bring what is stored under former keys under the current one; cut off, it goes on where it was."""
    return await _re_seal(here, {})


@command.command("retire")
@click.argument("key_id", metavar="KEY")
@opened
async def retire(here: Opened, key_id: str) -> None:
    """Remove a former key from the key ring, for good. Backups from before the re-sealing cannot be read without it."""
    from tieline.flows.rewrap import check_retirable, retire_key

    path = here.tieline.settings.key_ring_path
    await check_retirable(here.parts, path, key_id)
    async with _recorded(here, key_id, begun="key.retirement_begun", done="key.retired"):
        await retire_key(here.parts, path, key_id)
    if here.session.json:
        show_json({"id": key_id, "retired": True})
    else:
        say(
            f"{key_id} is retired. Backups made before the re-sealing need it: keep their copy of the key ring as long as them."
        )


async def _re_seal(here: Opened, made: dict[str, Any]) -> int:
    from tieline.cli.counting import counting
    from tieline.flows.rewrap import key_usage, list_keys, rewrap

    current = {one.id for one in await list_keys(here.parts) if one.current}
    total = sum(count for key_id, count in (await key_usage(here.parts)).items() if key_id not in current)
    shown = 0
    with counting(total, "re-sealing") as advance:

        def told(state: Rewrapped) -> None:
            nonlocal shown
            advance(state.done - shown)
            shown = state.done

        await _record(here, "key.rewrap_requested")
        state = await rewrap(here.parts, told=told)
    if here.session.json:
        show_json({**made, "total": state.total, "done": state.done, "failed": state.failed, "left": state.left})
    else:
        say(f"{state.done} of {state.total} stored values were brought under the current key.")
        if state.failed:
            warn(f"{state.failed} could not be: they are damaged, or their key is missing. The log says more.")
    return exits.FAILED if state.failed else exits.FINE


@asynccontextmanager
async def _recorded(here: Opened, key_id: str, *, begun: str, done: str) -> AsyncIterator[None]:
    """Write down what is done to the key ring's file, which no transaction holds: before it is begun, and when it is done.

    What cannot be written beforehand is not done. A beginning without an end in the log was cut off or failed: the file tells which.
    """
    from tieline.errors import AuditError

    await _record(here, begun, key_id)
    yield
    try:
        await _record(here, done, key_id)
    except Exception as error:
        told = f"The key ring was changed, but {done} could not be recorded; {begun} was"
        raise AuditError(told, advice="Do not repeat it. `tieline keys list` tells how the key ring stands.") from error


async def _record(here: Opened, action: str, target: str | None = None) -> None:
    from tieline.flows.audit import record

    async with here.work() as work:
        await record(work, here.parts, action, target)
