"""Plans: what a page asks of the large tables is found by an index, also where the tables have no statistics yet."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.stages.steps import NOW, Step, make_step

from tieline.sdk import Account, Membership, check
from tieline.stages.transform import Transformed
from tieline.store.db import Db, Work
from tieline.store.entities import (
    SAID_BYTES,
    count_unseen,
    keys_of,
    linking_to,
    links_from,
    look_up,
    read_present,
    remove_unseen,
    write_outcomes,
)
from tieline.store.findings import change_findings, find_of_entities
from tieline.store.organizations import Organization
from tieline.store.runs import save_progress

PEOPLE = Account.map(external_id="payload.id", username="payload.name")
MEMBERS = Membership.map(external_id="payload.id", account="payload.id", group="'all'")
COUNT = 3_000
NAMED = [{"id": f"{number}", "name": "n"} for number in range(COUNT)]


@check(Account, severity="low", controls=["soc2:CC6.1"])
def never_good(account: Account) -> bool:
    """Good.

    Be good.
    """
    return False


@pytest.fixture
async def step(db: Db, organization: Organization) -> Step:
    made = await make_step(db, organization)
    for mapping, judge in ((PEOPLE, made.judge(never_good)), (MEMBERS, made.judge())):
        await made.page(made.made(mapping, *NAMED), judge)
    return made


def texts_of(made: Transformed) -> dict[UUID, bytes]:
    return {one.id: one.hash[SAID_BYTES:] for one in made.candidates.values()}


async def counted(work: Work, what: str) -> Counter[str]:
    """A count of the large tables, by name; it goes on from what the server process has not handed in of its transactions before."""
    driver = await work.driver()
    found = await driver.fetch(
        f"""SELECT relname, {what} AS count FROM pg_stat_xact_user_tables WHERE relname IN
           ('entities', 'entity_versions', 'links', 'findings', 'finding_events', 'evidence', 'outbox')"""
    )
    return Counter({row["relname"]: row["count"] for row in found})


async def test_a_page_goes_through_no_large_table(step: Step) -> None:
    made = step.made(PEOPLE, *({"id": f"{number}", "name": "changed"} for number in range(500)))
    ids = list(made.candidates)
    later = step.later(hours=1)
    async with step.db.work(step.org_id) as work:
        before = await counted(work, "seq_tup_read")
        assert len(await look_up(work, texts_of(made), now=NOW)) == 500
        await later.load(work, made, later.judge(never_good))
        assert len(await linking_to(work, ids, kind="membership", field="account")) == 500
        members = [one.id for one in step.made(MEMBERS, {"id": "1"}).candidates.values()]
        assert len(await links_from(work, members)) == 2
        assert len(await read_present(work, connection_id=step.connection.id, ids=ids, limit=500)) == 500
        findings = await find_of_entities(work, ids)
        assert len(findings) == 500
        await change_findings(work, [one.id for one in findings.values()][:50], changed_at=NOW)
        await write_outcomes(work, [(one, "{}", NOW) for one in ids])
        assert await counted(work, "seq_tup_read") - before == Counter()


async def test_the_look_up_of_a_page_fetches_each_row_once_by_an_index(step: Step) -> None:
    made = step.made(PEOPLE, *({"id": f"{number}", "name": "n"} for number in range(500)))
    async with step.db.work(step.org_id) as work:
        before = await counted(work, "idx_tup_fetch + seq_tup_read")
        assert await look_up(work, texts_of(made), now=NOW) == {}
        late = NOW + timedelta(days=31)  # the evidence is no longer fresh
        assert len(await look_up(work, texts_of(made), now=late)) == 500
        assert await counted(work, "idx_tup_fetch + seq_tup_read") - before == Counter(entities=1_000)


async def test_the_sweep_finds_what_it_needs_by_the_operation(step: Step) -> None:
    about: dict[str, Any] = {"connection_id": step.connection.id, "operation": "things", "run_id": step.run.id}
    everybody = [one for mapping in (PEOPLE, MEMBERS) for one in step.made(mapping, *NAMED).candidates]
    async with step.db.work(step.org_id) as work:
        await save_progress(work, step.run.id, checkpoint=None, counts={}, seen=keys_of(everybody[1:]))
        assert await count_unseen(work, **about) == (1, 2 * COUNT)
        assert await remove_unseen(work, **about, now=NOW) == everybody[:1]
