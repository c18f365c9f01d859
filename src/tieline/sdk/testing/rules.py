"""The rules that every provider keeps, each proven by reading its fixtures; none is written for one provider.

A rule is an async function of a `Subject` that raises `NotConforming`. Its docstring is what it says of the provider.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

from tieline.sdk.provider import Operation
from tieline.sdk.testing.canaries import sightings
from tieline.sdk.testing.entities import compare
from tieline.sdk.testing.failures import FAILURES, disturb, expected_error, midway
from tieline.sdk.testing.fixtures import MAIN, NotConforming, write_json
from tieline.sdk.testing.judging import outcomes_seen
from tieline.sdk.testing.papers import check_forms, check_logo, check_readme
from tieline.sdk.testing.reading import Reading, why
from tieline.sdk.testing.subject import Subject

Rule = Callable[[Subject], Awaitable[None]]
UPDATE = "TIELINE_UPDATE_FIXTURES"


async def the_papers_are_there(subject: Subject) -> None:
    """README.md says something, and logo.svg is a small drawing without script or reference to elsewhere."""
    check_readme(subject.folder / "README.md")
    check_logo(subject.folder / "logo.svg")


async def the_forms_render(subject: Subject) -> None:
    """Each way to authenticate and the options make a form: named fields, marked secrets, and help."""
    check_forms(subject.provider)


async def identity_names_the_account(subject: Subject) -> None:
    """The test call names the account of each case."""
    for name, case in subject.fixtures.cases.items():
        reading = await subject.identified(name)
        _sound(reading, f"{name}: identity")
        found, told = reading.identified, case.account
        scopes = None if found is None or found.scopes is None else sorted(found.scopes)
        wanted = None if told.scopes is None else sorted(told.scopes)
        if found is None or (found.id, found.name) != (told.id, told.name):
            raise NotConforming(f"{name}: identity names {found}, not {told.id!r}, {told.name!r}")
        if wanted is not None and scopes != wanted:
            raise NotConforming(f"{name}: identity tells the scopes {scopes}, not {wanted}")


async def operations_yield_the_entities(subject: Subject) -> None:
    """Each operation yields typed entities, every mapping at least one, and just those of entities.json."""
    update = bool(os.environ.get(UPDATE))
    seen = {
        (operation.id, mapping.variant): False
        for operation in subject.provider.operations
        for mapping in operation.into
    }
    for name, case in subject.fixtures.cases.items():
        found = {}
        for operation, reading in [(one, await subject.whole(name, one)) for one in subject.provider.operations]:
            _sound(reading, f"{name}: {operation.id}", but=case.errors.get(operation.id))
            if reading.rejected:
                variant, refused = reading.rejected[0]
                raise NotConforming(f"{name}: {operation.id}: a record is rejected ({variant}): {refused}")
            seen |= {(operation.id, variant): True for variant in reading.variants}
            found[operation.id] = reading.rows
        if update and (name == MAIN or subject.fixtures.entities_file(name).name != "entities.json"):
            write_json(subject.fixtures.entities_file(name), found)
        compare(subject.fixtures.entities(name), found, where=f"{name}: {subject.fixtures.entities_file(name)}")
    for (operation_id, variant), was_seen in seen.items():
        if not was_seen:
            raise NotConforming(f"{operation_id}: the fixtures give no entity to the mapping {variant or ''}".rstrip())


async def every_page_is_read(subject: Subject) -> None:
    """Lists are read over two pages or more, and no recorded answer is left unasked."""
    left = await subject.unused()
    if left:
        asks = "; ".join(one.ask for one in left[:5])
        raise NotConforming(f"{len(left)} recorded answers were never asked for (pages left unread?): {asks}")
    unpaged = {name for case in subject.fixtures.cases.values() for name in case.unpaged}
    for operation in subject.provider.operations:
        readings = [await subject.whole(name, operation) for name in subject.fixtures.cases]
        marks = [mark for reading in readings for mark, _ in reading.checkpoints]
        if marks and operation.id not in unpaged and all(mark.cursor is None for mark in marks):
            advice = 'record a second page, or name the operation in "unpaged" of case.json'
            raise NotConforming(f"{operation.id} is never seen to turn a page: {advice}")


async def a_second_reading_is_the_same(subject: Subject) -> None:
    """Reading again yields the same records in the same order."""
    for name, operation in await subject.distinct():
        first, again = await subject.whole(name, operation), await subject.connected[name].read(operation)
        if first.records != again.records:
            raise NotConforming(f"{name}: {operation.id} yields other records when read a second time")


async def a_resumed_reading_is_whole(subject: Subject) -> None:
    """What was read up to a checkpoint and what is read from it are together what is read at once."""
    for name, operation in await subject.distinct():
        whole = await subject.whole(name, operation)
        for mark, count in () if whole.error else whole.checkpoints:
            rest = await subject.connected[name].read(operation, start=mark)
            _sound(rest, f"{name}: {operation.id} resumed at {mark}")
            together = Reading(entities=[*whole.entities[:count], *rest.entities])
            compare(whole.rows, together.rows, where=f"{name}: {operation.id} resumed at {mark}")


async def failures_become_the_right_error(subject: Subject) -> None:
    """401, 403, 429, 5xx, HTML, truncated JSON and an empty body on the first call become the error they mean."""
    pairs = [*((name, None) for name in subject.fixtures.cases), *await subject.distinct()]
    for name, operation in pairs:
        for fault in FAILURES:
            await _expect(subject, name, operation, fault)


async def no_failure_passes_for_the_end(subject: Subject) -> None:
    """An outage at any call of a reading ends it with Unavailable: what was not read is never taken for absent."""
    for name, operation in await subject.distinct():
        for ask in midway(await subject.whole(name, operation), subject.fixtures.cases[name]):
            await _expect(subject, name, operation, "503", at=ask)


async def no_secret_leaves(subject: Subject) -> None:
    """No secret of the credential is in a record, an entity, a log line, an error, its exchange or a repr."""
    distinct = {(name, operation.id) for name, operation in await subject.distinct()}
    for name in subject.fixtures.cases:
        for operation in (None, *subject.provider.operations):
            what = operation.id if operation else "identity"
            whole = await (subject.whole(name, operation) if operation else subject.identified(name))
            _look_through(whole, f"{name}: {what}")
            faults = FAILURES if operation is None or (name, what) in distinct else ("500",)
            for fault in faults:
                disturbed, _ = await disturb(subject, name, operation, fault)
                _look_through(disturbed, f"{name}: {what} ({fault})")


async def checks_have_passed_and_failed(subject: Subject) -> None:
    """Every check of the provider's own has been seen to pass and to fail, in entities.json or checks.json."""
    seen = await outcomes_seen(subject)
    for check in subject.provider.checks:
        if missing := {"pass", "fail"} - seen[check.id]:
            raise NotConforming(f"{check.id} was never seen to {' or '.join(sorted(missing))}: add to checks.json")


RULES: Sequence[Rule] = (
    the_papers_are_there,
    the_forms_render,
    identity_names_the_account,
    operations_yield_the_entities,
    every_page_is_read,
    a_second_reading_is_the_same,
    a_resumed_reading_is_whole,
    failures_become_the_right_error,
    no_failure_passes_for_the_end,
    no_secret_leaves,
    checks_have_passed_and_failed,
)
"""All of them, in the order in which an author meets them."""


async def _expect(subject: Subject, name: str, operation: Operation | None, fault: str, at: str | None = None) -> None:
    what = operation.id if operation else "identity"
    wanted = expected_error(subject.fixtures.cases[name], what, fault)
    reading, met = await disturb(subject, name, operation, fault, at=at)
    got = type(reading.error).__name__ if reading.error else None
    if met and got != wanted:
        place = f"at {at}" if at else "on its first call"
        raise NotConforming(f"{name}: {what}: {fault} {place} must become {wanted}, and is {why(reading.error)}")
    if reading.unforeseen:
        raise NotConforming(f"{name}: {what} after {fault}: {reading.unforeseen[0]}")


def _look_through(reading: Reading, what: str) -> None:
    if seen := sightings(reading.told(), reading.lookout):
        raise NotConforming(f"{what} lets a secret out ({', '.join(sorted(set(seen)))})")


def _sound(reading: Reading, what: str, *, but: str | None = None) -> None:
    """Raise `NotConforming` for a reading that failed in any way `but` one."""
    if reading.unforeseen:
        raise NotConforming(f"{what}: {reading.unforeseen[0]}")
    if but is not None and type(reading.error).__name__ != but:
        raise NotConforming(f"{what}: must end with {but}, and ends with {why(reading.error)}")
    if reading.error is not None and but is None:
        raise NotConforming(f"{what}: {why(reading.error)}") from reading.error
