"""Attest and announce: statements for and against, written once, bound by their hash, and not to be changed by the application."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy.exc import DBAPIError
from tests.stages.steps import Step
from tests.stages.test_assess import has_mfa, person

from tieline.sdk import Account
from tieline.stages.announce import announce_connection, announce_run
from tieline.stages.attest import canonical, hash_content
from tieline.store.evidence import Evidence, get_provenance, list_evidence
from tieline.store.listing import Paging
from tieline.store.outbox import Event, list_outbox


async def statements(step: Step) -> list[Evidence]:
    async with step.db.work(step.org_id) as work:
        return (await list_evidence(work, Paging())).items[::-1]


async def events(step: Step) -> list[Event]:
    async with step.db.work(step.org_id) as work:
        return (await list_outbox(work, Paging())).items


async def test_a_pass_supports_and_a_failure_contradicts_the_controls(step: Step) -> None:
    await step.page(person(step, mfa=True), step.judge(has_mfa))
    await step.page(person(step, mfa=False), step.judge(has_mfa))
    found = await statements(step)
    assert [(one.stance, one.controls, one.external_id) for one in found] == [
        ("supports", ["soc2:CC6.1"], "ann"),
        ("contradicts", ["soc2:CC6.1"], "ann"),
    ]
    assert [one.content["values"]["mfa"] for one in found] == [True, False]


async def test_the_same_answer_is_attested_once(step: Step) -> None:
    judge = step.judge(has_mfa)
    assert (await step.page(person(step, mfa=True), judge))[1] == 1
    assert (await step.page(person(step, mfa=True), judge))[1] == 0
    assert (await step.page(person(step, mfa=True, admin=True), judge))[1] == 0


async def test_the_hash_is_over_the_content_as_it_is_stored(step: Step) -> None:
    awkward = Account.map(external_id="payload.id", email="payload.email", mfa="payload.mfa")
    names = ["plain", "nul \0", "\\u0000", "عربى", '"quoted"', "line\u2028break"]
    await step.page(
        step.made(awkward, *({"id": name, "email": name, "mfa": True} for name in names)), step.judge(has_mfa)
    )
    found = await statements(step)
    assert len(found) == len(names)
    for one in found:
        assert hash_content(one.content) == one.hash
        assert hash_content(one.content | {"stance": "contradicts"}) != one.hash


async def test_a_statement_names_the_provenance_by_its_hash(step: Step) -> None:
    await step.page(person(step, mfa=True), step.judge(has_mfa))
    async with step.db.work(step.org_id) as work:
        provenance = await get_provenance(work, step.run.id)
    assert provenance
    assert hash_content(provenance.content) == provenance.hash
    (one,) = await statements(step)
    assert one.content["provenance"] == provenance.hash.hex()
    assert provenance.content["account"] == {"id": "acc", "name": "Account"}
    assert provenance.content["query"] == {"operation": "things"}


def test_the_canonical_form_is_sorted_tight_and_utf_8() -> None:
    assert canonical({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'.encode()


@pytest.mark.parametrize("table", ["evidence", "provenances"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET hash = ''", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_application_cannot_change_what_was_attested(step: Step, table: str, statement: str) -> None:
    await step.page(person(step, mfa=True), step.judge(has_mfa))
    with pytest.raises(Exception, match="permission denied") as refused:
        await step.query(statement.format(table))
    assert not isinstance(refused.value, DBAPIError)  # the driver's own
    assert len(await statements(step)) == 1


async def test_what_moved_is_told_in_the_same_transaction(step: Step) -> None:
    await step.announced_page(person(step, mfa=False), step.judge(has_mfa))
    await step.announced_page(person(step, mfa=True), step.judge(has_mfa))
    told = await events(step)
    assert [one.type for one in told] == ["finding.opened", "finding.resolved"]
    about: dict[str, Any] = told[0].data
    assert (about["external_id"], about["check_id"], about["severity"]) == ("ann", "has-mfa", "high")


async def test_what_is_rolled_back_is_not_told(step: Step) -> None:
    async def announce_and_fail() -> None:
        async with step.db.work(step.org_id) as work:
            await announce_run(work, step.run, "succeeded", now=step.now)
            raise LookupError

    with pytest.raises(LookupError):
        await announce_and_fail()
    assert await events(step) == []


async def test_runs_and_connections_are_told_by_name(step: Step) -> None:
    async with step.db.work(step.org_id) as work:
        await announce_run(work, step.run, "partial", now=step.now, error="provider-unavailable")
        await announce_connection(work, step.connection, "degraded", now=step.now, operation="things")
    told = {one.type: one.data for one in await events(step)}
    assert told["run.partial"]["error"] == "provider-unavailable"
    assert told["connection.degraded"]["operation"] == "things"
    assert orjson.dumps(told)
