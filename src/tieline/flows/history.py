"""History: what an entity was at some time, what became of it since and by which run, and how long that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline.errors import Invalid
from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow, entity_row, moment
from tieline.sdk.entities import KINDS
from tieline.store.db import Work
from tieline.store.entity_versions import Former, lay_over, list_former, prune_versions
from tieline.store.listing import Listing, Paging
from tieline.store.past_entities import THE_PRESENT, PastEntity, find_past, list_past

BATCH = 5_000
_MOST_BATCHES = 40
"""Of one kind in one round of upkeep; the next round goes on."""


class NotKept(Invalid):
    """It is known that the entity was something else then, but what is no longer kept."""

    slug = "not-kept"
    advice = "Ask for a later time. TIELINE_HISTORY_DAYS says for how long former states are kept."


@dataclass(frozen=True)
class Change:
    """A field that differs between two states; `None` where it was not told."""

    field: str
    before: Any
    after: Any

    @property
    def sign(self) -> str:
        """`+` for a field that came, `-` for one that went, `~` for one that is another."""
        return "+" if self.before is None else "-" if self.after is None else "~"


@dataclass(frozen=True)
class Version:
    """What an entity was for some time. `what` made it so: `created`, `changed`, `removed`, `returned`, or `unknown`.

    It is `unknown`, and `changes` are `None`, for the oldest version that is kept if others were before. `until` is `None` for the
    present, `run_id` where it is not known which run it was.
    """

    what: str
    since: datetime
    until: datetime | None
    run_id: str | None
    status: str
    changes: list[Change] | None


@dataclass(frozen=True)
class Difference:
    """An entity at two times, `None` where it had not been read by then, and the fields that differ, in their order."""

    before: PastEntity | None
    after: PastEntity | None
    changes: list[Change]

    @property
    def presence(self) -> tuple[str, str]:
        """Whether it was `there`, `gone` or `not read yet`, at each of the two."""
        before, after = (
            "not read yet" if one is None else "gone" if one.entity.removed_at else "there"
            for one in (self.before, self.after)
        )
        return before, after


async def see_past(work: Work, entity_id: str, at: datetime, *, now: datetime) -> PastEntity:
    """An entity as it was. Raises `NotFound` if it had not been read by then, `NotKept` if what it was is gone."""
    _refuse_future(at, now)
    return _kept(await find_past(work, entity_id, at), at)


async def list_as_of(
    work: Work, paging: Paging, at: datetime, *, now: datetime, verdict: str | None = None, **wanted: Any
) -> Listing[PastEntity]:
    """Entities as they were, filtered by what they were then; raises `NotKept` if one of the page may be a wrong answer."""
    _refuse_future(at, now)
    if verdict:
        raise Invalid(
            "What checks said is not kept with what entities were", advice="Evidence tells it, with its dates."
        )
    found = await list_past(work, at, paging, **wanted)
    return replace(found, items=[_kept(one, at) for one in found.items])


async def list_versions(work: Work, entity_id: str, paging: Paging) -> Listing[Version]:
    """What an entity was, newest first; raises `NotFound`."""
    cursor = _read_cursor(paging.cursor)
    newest = await find_past(work, entity_id, cursor or THE_PRESENT)
    rows = await list_former(work, entity_id, upto=newest.entity.since, limit=paging.limit + 1)
    versions = _versions(newest, rows)[1 if cursor else 0 :]  # the cursor's own was the last of the page before
    shown = versions[: paging.limit]
    return Listing(shown, moment(shown[-1].since) if len(versions) > paging.limit else None)


async def compare_times(
    work: Work, entity_id: str, since: datetime | None, until: datetime | None, *, now: datetime
) -> Difference:
    """An entity at two times, side by side: when it was first read, and now, if none is told. Raises `NotFound`, and `NotKept`."""
    newest = (await find_past(work, entity_id, THE_PRESENT)).entity
    first, times = newest.first_seen_at, (since or newest.first_seen_at, until or now)
    _refuse_future(max(times), now)
    before, after = [_kept(await find_past(work, entity_id, at), at) if at >= first else None for at in times]
    order = KINDS[newest.kind].model_fields if newest.kind in KINDS else ()
    return Difference(before, after, differing(_data(before), _data(after), order))


def differing(before: Mapping[str, Any], after: Mapping[str, Any], order: Iterable[str] = ()) -> list[Change]:
    """The fields that differ, first those of `order`."""
    names = list(dict.fromkeys([*order, *sorted(before.keys() | after.keys())]))
    changes = [Change(name, before.get(name), after.get(name)) for name in names]
    return [one for one in changes if one.before != one.after]


async def prune_history(parts: Parts) -> int:
    """Delete what ended longer ago than it is kept, kind by kind, over all organizations; how many versions there were."""
    pruned = 0
    for kind, days in sorted(parts.history_days.items()):
        before = parts.clock.now() - timedelta(days=days)
        for _ in range(_MOST_BATCHES):
            async with parts.db.system() as work:
                count = await prune_versions(work, kind, before=before, limit=BATCH)
            pruned += count
            if count < BATCH:
                break
    return pruned


def past_row(past: PastEntity) -> JsonRow:
    """An entity as it was: like any other, but that no answers of checks are told (evidence does)."""
    return entity_row(past.entity) | {"run_id": past.run_id, "answers": None}


def version_row(version: Version) -> JsonRow:
    """A version of an entity, with what made it differ from the one before."""
    changes = version.changes
    return {
        "what": version.what,
        "since": moment(version.since),
        "until": moment(version.until),
        "run_id": version.run_id,
        "status": version.status,
        "changes": None if changes is None else [_change_row(one) for one in changes],
    }


def difference_row(found: Difference) -> JsonRow:
    """An entity at two times, and the fields that differ."""
    before, after = (one and past_row(one) for one in (found.before, found.after))
    return {"before": before, "after": after, "changes": [_change_row(one) for one in found.changes]}


def _change_row(change: Change) -> JsonRow:
    return {"field": change.field, "before": change.before, "after": change.after}


@dataclass(frozen=True)
class _State:
    data: Mapping[str, Any]
    since: datetime
    until: datetime | None
    removed: bool
    first_run: str | None

    def before(self, former: Former) -> _State:
        return _State(
            lay_over(self.data, former.fields), former.since, former.until, former.removed, former.first_run_id
        )

    def version(self, former: Former | None, first_seen: datetime) -> Version:
        """The state, told by the one before it, or as the oldest that there is."""
        status = self.data.get("status") or "present"
        if former is None:
            created = self.since == first_seen
            what = "created" if created else "unknown"
            return Version(what, self.since, self.until, self.first_run, status, [] if created else None)
        what = "removed" if self.removed else "returned" if former.removed else "changed"
        changes = [Change(name, was, self.data.get(name)) for name, was in sorted(former.fields.items())]
        return Version(what, self.since, self.until, former.run_id, status, changes)


def _versions(newest: PastEntity, rows: Sequence[Former]) -> list[Version]:
    """The versions from `newest` back through the rows before it."""
    entity = newest.entity
    state = _State(entity.data, entity.since, newest.until, entity.removed_at is not None, newest.run_id)
    found = []
    for former in rows:
        found.append(state.version(former, entity.first_seen_at))
        state = state.before(former)
    return [*found, state.version(None, entity.first_seen_at)]


def _refuse_future(at: datetime, now: datetime) -> None:
    if at > now:
        raise Invalid("That time is yet to come", advice="Ask for a time that has been.")


def _kept(past: PastEntity, at: datetime) -> PastEntity:
    if past.kept:
        return past
    known = f"{past.entity.since:%Y-%m-%d %H:%M:%S} UTC"
    raise NotKept(
        f"What {past.entity.id} was on {at:%Y-%m-%d} is no longer kept",
        advice=f"It is known since {known}. TIELINE_HISTORY_DAYS says for how long former states are kept.",
    )


def _data(past: PastEntity | None) -> dict[str, Any]:
    return past.entity.data if past else {}


def _read_cursor(cursor: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(cursor).astimezone(UTC) if cursor else None
    except (ValueError, OverflowError):
        raise Invalid("That is no cursor of a history", advice="Give the `next` of the page before.") from None
