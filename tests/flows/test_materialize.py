"""Judging what is stored anew, while others write what it writes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import asyncpg
from tests.flows.bench import Bench

from tieline.catalog.compile import compile_catalog
from tieline.flows.materialize import materialize
from tieline.ids import to_uuid
from tieline.sdk import Device, Group, check
from tieline.store.findings import count_findings

MENTION = "INSERT INTO mentions (org_id, control, check_id) VALUES ($1, 'soc2:CC6.1', $2)"


@check(Device, severity="low", controls=["soc2:CC6.1"])
def device_is_named(device: Device) -> bool | None:
    """The device has a name.

    Name it.
    """
    return bool(device.name)


@check(Group, severity="low", controls=["soc2:CC6.1"])
def group_is_named(group: Group) -> bool | None:
    """The group has a name.

    Name it.
    """
    return bool(group.name)


async def test_new_checks_speak_of_a_control_while_another_page_speaks_of_it_the_other_way_about(
    synced: Bench, database_synced_once: str
) -> None:
    """What is judged of one operation waits for that page with nothing in its hands of what was judged of another."""
    owner = await asyncpg.connect(database_synced_once)
    await owner.execute("DELETE FROM entities WHERE kind NOT IN ('device', 'group')")
    kinds = await owner.fetch("SELECT kind FROM entities GROUP BY kind ORDER BY min(id::text)")
    first, last = [f"{row['kind']}-is-named" for row in kinds]
    catalog = synced.parts.catalog
    shared = [one for one in catalog.checks if one.provider is None]
    renewed = compile_catalog(catalog.providers.values(), [*shared, device_is_named, group_is_named])
    parts = dataclasses.replace(synced.parts, catalog=renewed)
    async with owner.transaction():
        await owner.execute(MENTION, to_uuid(synced.org, "org"), last)
        judging = asyncio.create_task(materialize(parts, synced.org))
        while not await synced.query("SELECT FROM pg_locks WHERE NOT granted"):
            assert not judging.done(), "it did not wait"
            await asyncio.sleep(0.02)
        await owner.execute(f"{MENTION} ON CONFLICT DO NOTHING", to_uuid(synced.org, "org"), first)
    assert (await judging)["evidence"] == len(await synced.entities("device")) + len(await synced.entities("group"))
    await owner.close()


async def test_a_check_that_is_worded_and_weighed_otherwise_is_told_so_by_its_findings(synced: Bench) -> None:
    before = {one.id: one for one in await synced.all_findings()}
    catalog = synced.parts.catalog
    heavier = [
        dataclasses.replace(one, severity="critical", title="Look at this") if one.id == "mfa-enabled" else one
        for one in catalog.checks
        if one.provider is None
    ]
    parts = dataclasses.replace(synced.parts, catalog=compile_catalog(catalog.providers.values(), heavier))
    await materialize(parts, synced.org)
    now = {"severity": "critical", "title": "Look at this"}
    assert {one.id: one for one in await synced.all_findings()} == {
        id: dataclasses.replace(one, **now) if one.check_id == "mfa-enabled" else one for id, one in before.items()
    }
    async with synced.parts.db.work(synced.org) as work:
        counted = await count_findings(work)
    assert counted == Counter((one.status, one.severity) for one in await synced.all_findings())
