"""Assess: judge entities by the checks that apply, and move findings where an answer changed.

An entity is judged when it changed, when it is seen again after the time until which its answers hold, and when something that
links to it came or went. If its record is refused, it is judged as it is stored: time turns its answers, but none is attested anew
for having been given long ago, which only a record that was read can tell. An unknown answer moves nothing: a finding stays open, and
nothing new is attested. A new failure that rests on links is unknown for as long as those links are being read: it is told when that
reading is complete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from tieline.catalog.compile import Catalog
from tieline.ids import from_uuid, new_id, to_uuid
from tieline.sdk.checks import Check, Judgement, Related
from tieline.sdk.entities import KINDS, Entity
from tieline.sdk.present import Watch
from tieline.stages.load import Comparison, Outcomes, label_of
from tieline.stages.transform import Candidate, Transformed, without_nul
from tieline.store import entities as entity_store
from tieline.store import findings as store
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.entities import Known, StoredEntity
from tieline.store.findings import Finding

FRESH_FOR = timedelta(days=30)
"""How long a standing answer counts as evidence before it is attested anew, if its record still says so."""

S = TypeVar("S", "Subject", Candidate)

_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC), 86_400


class Subject(NamedTuple):
    """An entity to judge, with its standing outcomes and until when they hold; `expected` is what was found of a new one before.

    It `is_read` if its record is at hand, and not only what was stored of it.
    """

    id: UUID
    entity: Entity
    outcomes: Outcomes
    judge_at: datetime | None = None
    is_new: bool = False
    expected: Judged | None = None
    is_read: bool = True


class Answer(NamedTuple):
    """A check's new answer for an entity, where it differs from the standing one or that one is due to be attested."""

    subject: Subject
    check: Check
    judgement: Judgement | None
    before: str | None

    @property
    def outcome(self) -> str | None:
        """`pass`, `fail`, `unknown`, or `None` where the check no longer applies."""
        return self.judgement.outcome if self.judgement else None


class Judged(NamedTuple):
    """What judging an entity gave: the answers that matter, its outcomes as they now stand, and until when they do."""

    answers: list[Answer]
    outcomes: Outcomes
    judge_at: datetime | None


@dataclass
class Assessed:
    """What judging some entities gave, together."""

    answers: list[Answer] = field(default_factory=list)
    outcomes: dict[UUID, Outcomes] = field(default_factory=dict)
    judge_at: dict[UUID, datetime | None] = field(default_factory=dict)

    def take(self, subject: UUID, judged: Judged) -> None:
        """Add what was found of one."""
        self.answers += judged.answers
        self.outcomes[subject], self.judge_at[subject] = judged.outcomes, judged.judge_at

    def moved(self, subject: Subject) -> bool:
        """Whether an entity's outcomes, or the time until which they hold, differ from those that it came with."""
        return (self.outcomes[subject.id], self.judge_at[subject.id]) != (subject.outcomes, subject.judge_at)

    def row(self, entity: UUID) -> tuple[UUID, str, datetime | None]:
        """An entity's outcomes as they are stored."""
        return entity, orjson.dumps(self.outcomes[entity]).decode(), self.judge_at[entity]


@dataclass(frozen=True)
class Judge:
    """What judging needs to know: the catalog, the connection, the time, and which kinds were read completely.

    Kinds that are `moving` are due or being read: what links from them may be out of date.
    """

    catalog: Catalog
    connection: Connection
    now: datetime
    complete: frozenset[str]
    moving: frozenset[str] = frozenset()

    @cached_property
    def today(self) -> int:
        """Days since 1970."""
        return int(self.now.timestamp()) // _EPOCH_DAY

    def checks(self, kind: str) -> tuple[Check, ...]:
        """The checks for a kind."""
        return self.catalog.checks_for(self.connection.provider, kind)


async def assess(work: Work, subjects: Sequence[Subject], judge: Judge) -> Assessed:
    """Judge every subject by the checks of its kind."""
    result = Assessed()
    for kind, same in _by_kind(subjects).items():
        checks = judge.checks(kind)
        links = await _read_links(work, same, checks, judge)
        watch = Watch(judge.now)
        for subject in same:
            result.take(subject.id, subject.expected or _judge_one(subject, checks, links, judge, watch))
    return result


def expect_new(candidates: Sequence[Candidate], judge: Judge) -> None:
    """Judge entities as new ones before it is known whether they are; not by links, which only a transaction can tell."""
    alike = _by_kind(candidates)
    for kind, same in alike.items():
        checks, watch = judge.checks(kind), Watch(judge.now)
        if any(check.related for check in checks):
            continue
        for one in same:
            one.expected = _judge_one(Subject(one.id, one.entity, {}, is_new=True), checks, _NO_LINKS, judge, watch)


def subjects_of(compared: Comparison) -> list[Subject]:
    """What must be judged of entities just read: those that are new, changed or due."""
    candidates = [*compared.to_write, *compared.unchanged]
    return [
        Subject(
            one.id, one.entity, known.outcomes, known.judge_at, new := known.hash is None, one.expected if new else None
        )
        for one in candidates
        if (known := compared.known.get(one.id))
    ]


def refused_and_due(made: Transformed, known: Mapping[UUID, Known], now: datetime) -> set[UUID]:
    """Entities that are to be judged by now, but of which a page had nothing but records that were refused."""
    refused = {one.id for one in made.refusals if one.id} - made.candidates.keys() - made.same
    return {one for one in refused if (at := known[one].judge_at) and at <= now}


async def reassess(
    work: Work, targets: Sequence[tuple[str, UUID]], judge: Judge, *, due: Collection[UUID] = ()
) -> Assessed:
    """Judge the stored entities that links lead to or that are due, and store their outcomes; `targets` are (link field, entity)."""
    wanted = sorted({*_judged_by_links(targets, judge), *due})
    stored = await entity_store.read_present(work, connection_id=judge.connection.id, ids=wanted, limit=len(wanted))
    return await assess_stored(work, stored, judge)


async def assess_stored(work: Work, stored: Sequence[StoredEntity], judge: Judge) -> Assessed:
    """Judge stored entities and store the outcomes that moved."""
    subjects = [
        Subject(to_uuid(one.id, "ent"), read_entity(one.kind, one.data), one.outcomes, one.judge_at, is_read=False)
        for one in stored
    ]
    assessed = await assess(work, subjects, judge)
    await keep_outcomes(work, assessed, subjects)
    return assessed


async def keep_outcomes(work: Work, assessed: Assessed, subjects: Sequence[Subject]) -> None:
    """Store what moved of entities that are not written otherwise."""
    await entity_store.write_outcomes(work, [assessed.row(one.id) for one in subjects if assessed.moved(one)])


def read_entity(kind: str, data: dict[str, Any]) -> Entity:
    """Stored fields as the entity that they were; lax, because moments are stored as text."""
    return KINDS[kind].model_validate(data, strict=False)


async def move_findings(
    work: Work, answers: Sequence[Answer], *, connection: Connection, run_id: str, now: datetime
) -> dict[str, list[Finding]]:
    """Open, reopen and resolve findings; those moved, by `opened`, `reopened` and `resolved`."""
    turned = [one for one in answers if one.outcome not in (one.before, "unknown")]
    touched = [one for one in turned if one.outcome == "fail" or one.before is not None]
    standing = await store.find_of_entities(work, list({one.subject.id for one in touched if not one.subject.is_new}))
    opened, reopened, resolved = [], [], []
    for one in touched:
        finding = standing.get((one.subject.id, one.check.id))
        if one.outcome == "fail" and finding is None:
            opened.append(_new_finding(one, connection, now))
        elif one.outcome == "fail" and finding and finding.status == "resolved":
            reopened.append((finding, one))
        elif one.outcome != "fail" and finding and finding.status != "resolved":
            resolved.append(finding)
    await _open(work, opened, run_id=run_id, now=now)
    await _reopen(work, reopened, run_id=run_id, now=now)
    await resolve(work, resolved, run_id=run_id, now=now)
    return {"opened": opened, "reopened": [finding for finding, _ in reopened], "resolved": resolved}


async def resolve_removed(work: Work, removed: Sequence[UUID], *, run_id: str, now: datetime) -> list[Finding]:
    """Resolve the findings of entities that a complete run no longer saw."""
    standing = await store.find_of_entities(work, removed)
    open_ones = [one for one in standing.values() if one.status != "resolved"]
    await resolve(work, open_ones, run_id=run_id, now=now, note="no longer present at the provider")
    return open_ones


async def resolve(
    work: Work, found: Sequence[Finding], *, run_id: str | None, now: datetime, note: str | None = None
) -> None:
    """Mark findings as resolved."""
    ids = [one.id for one in found]
    closed = {"muted_reason": None, "muted_until": None, "resolved_at": now, "changed_at": now}
    await store.change_findings(work, ids, status="resolved", **closed)
    await store.add_events(work, [(one, "resolved", {}) for one in ids], at=now, run_id=run_id, note=note)


def _judge_one(subject: Subject, checks: Sequence[Check], links: _Links, judge: Judge, watch: Watch) -> Judged:
    outcomes: Outcomes = {}
    answers: list[Answer] = []
    watch.until = None
    for check in checks:
        standing = subject.outcomes.get(check.id)
        if standing is None and not check.may_apply(subject.entity):
            continue
        before = standing[0] if standing else None
        due = subject.is_read and standing is not None and standing[1] <= judge.today - FRESH_FOR.days
        about: dict[str, Any] = {"now": watch.present, "related": links.to(subject.id, check)}
        if (
            standing and not due and check.answer(subject.entity, **about) == before
        ):  # why is asked only when there is news
            outcomes[check.id] = standing
            continue
        judgement = check.judge(subject.entity, **about)
        if judgement and judgement.outcome == "fail" != before and _must_wait(subject, check, judge):
            judgement = judgement._replace(outcome="unknown")
        outcome = judgement.outcome if judgement else None
        if outcome == before and standing and not due:
            outcomes[check.id] = standing
        elif outcome is not None:
            outcomes[check.id] = [outcome, judge.today]
        if outcome != before or due:
            answers.append(Answer(subject, check, judgement, before))
    return Judged(answers, outcomes, _holds_until(outcomes, watch.until))


def _holds_until(outcomes: Outcomes, moves_at: datetime | None) -> datetime | None:
    """When an entity must be judged anew though nothing changes: time moves an answer, or the oldest one is no longer fresh."""
    if not outcomes:
        return moves_at
    stale_at = _stale_from(min([day for _, day in outcomes.values()]))
    return stale_at if moves_at is None else min(moves_at, stale_at)


@cache
def _stale_from(day: int) -> datetime:
    """When an answer that was attested on a day, as days since 1970, is no longer fresh."""
    return _EPOCH + timedelta(days=day) + FRESH_FOR


def _must_wait(subject: Subject, check: Check, judge: Judge) -> bool:
    """Whether a failure rests on links that are being read: who has just left was in groups when those were last read."""
    if not any(kind in judge.moving for kind, _ in check.related.values()):
        return False
    nothing: dict[str, Related[Any]] = {name: Related((), complete=False) for name in check.related}
    without = check.judge(subject.entity, now=judge.now, related=nothing)
    return without is None or without.outcome != "fail"


@dataclass(frozen=True)
class _Links:
    """The entities that link to those under judgement, by kind and link field."""

    found: dict[tuple[str, str], dict[UUID, list[Entity]]]
    complete: frozenset[str]

    def to(self, target: UUID, check: Check) -> dict[str, Related[Any]]:
        """What a check asks for, by parameter."""
        if not check.related:
            return {}
        return {
            name: Related(self.found[kind, link].get(target, ()), kind in self.complete)
            for name, (kind, link) in check.related.items()
        }


_NO_LINKS = _Links({}, frozenset())


def _by_kind(them: Iterable[S]) -> dict[str, list[S]]:
    alike: dict[str, list[S]] = {}
    for one in them:
        alike.setdefault(one.entity.kind, []).append(one)
    return alike


async def _read_links(work: Work, subjects: Sequence[Subject], checks: Sequence[Check], judge: Judge) -> _Links:
    wanted = {pair for check in checks for pair in check.related.values()}
    targets = [one.id for one in subjects]
    found = {(kind, link): await _linking(work, targets, kind, link) for kind, link in sorted(wanted)}
    return _Links(found, judge.complete)


async def _linking(work: Work, targets: Sequence[UUID], kind: str, link: str) -> dict[UUID, list[Entity]]:
    grouped: dict[UUID, list[Entity]] = {}
    for target, data in await entity_store.linking_to(work, targets, kind=kind, field=link):
        grouped.setdefault(target, []).append(read_entity(kind, data))
    return grouped


def _judged_by_links(targets: Sequence[tuple[str, UUID]], judge: Judge) -> set[UUID]:
    """Of the entities that links lead to, those that some check judges by what links to them."""
    fields = {
        link
        for check in judge.catalog.checks
        if check.provider in {None, judge.connection.provider}
        for _, link in check.related.values()
    }
    return {target for field, target in targets if field in fields}


def _new_finding(answer: Answer, connection: Connection, now: datetime) -> Finding:
    entity, check = answer.subject.entity, answer.check
    return Finding(
        id=new_id("find"),
        org_id=connection.org_id,
        connection_id=connection.id,
        provider=connection.provider,
        entity_id=from_uuid("ent", answer.subject.id),
        kind=entity.kind,
        external_id=entity.external_id,
        subject=label_of(entity),
        check_id=check.id,
        title=check.title,
        severity=check.severity,
        status="open",
        values=answer.judgement.values if answer.judgement else {},
        opened_at=now,
        changed_at=now,
    )


async def _open(work: Work, found: Sequence[Finding], *, run_id: str, now: datetime) -> None:
    rows = [
        (
            to_uuid(one.id, "find"), to_uuid(one.org_id, "org"), to_uuid(one.connection_id, "conn"), one.provider,
            to_uuid(one.entity_id, "ent"), one.kind, one.external_id, one.subject, one.check_id, one.title,
            one.severity, one.status, without_nul(orjson.dumps(one.values)), one.opened_at, one.changed_at,
        )
        for one in found
    ]  # fmt: skip
    await store.add_findings(work, rows)
    await store.add_events(work, [(one.id, "opened", one.values) for one in found], at=now, run_id=run_id)


async def _reopen(work: Work, found: Sequence[tuple[Finding, Answer]], *, run_id: str, now: datetime) -> None:
    for finding, answer in found:
        values = answer.judgement.values if answer.judgement else {}
        again: dict[str, Any] = {"status": "open", "values": values, "resolved_at": None, "changed_at": now}
        again |= {"subject": label_of(answer.subject.entity), "reopened": finding.reopened + 1}
        again |= {"title": answer.check.title, "severity": answer.check.severity}
        await store.change_findings(work, [finding.id], **again)
        await store.add_events(work, [(finding.id, "reopened", values)], at=now, run_id=run_id)
